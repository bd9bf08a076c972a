"""What stands where in pictures of FDR-Scenes, from their scene graphs, for the tower that learns words."""

from __future__ import annotations

import math

from fakereasoning.places import Place
from fakereasoning.scene_questions import View, scene_views
from fdr_bench.data.scenes.phrases import NOUNS
from fdr_bench.data.scenes.scene import Scene, Solid
from fdr_bench.types import Dataset


def scene_places(dataset: Dataset) -> dict[str, list[Place]]:
    """Return the solids of each picture by its location, the farthest first; a touched one has no words."""
    return {sample.image.location: places_of(view) for sample, view in scene_views(dataset)}


def places_of(view: View) -> list[Place]:
    """Return the solids of a view as places."""
    numbers = sorted(range(len(view.scene.solids)), key=lambda number: -view.scene.solids[number].z)
    return [_place(view.scene, view.scene.solids[number], number in view.intact) for number in numbers]


def _place(scene: Scene, solid: Solid, intact: bool) -> Place:
    drop = math.atan2(scene.eye_height - 0.5, scene.eye_distance)
    x, y, z = solid.centre[0], solid.centre[1] - scene.eye_height, solid.centre[2] + scene.eye_distance
    ahead = z * math.cos(drop) - y * math.sin(drop)
    above = z * math.sin(drop) + y * math.cos(drop)
    scale = scene.focal * 1.6 / ahead / 2  # pictures a metre
    colours = (solid.colour, *((solid.second_colour,) if solid.material in ("striped", "checked") else ()))
    words = (*colours, solid.material, solid.size, *NOUNS[solid.shape])
    return Place(
        across=0.5 + x * scale,
        down=0.5 - above * scale,
        half_width=solid.radius * scale,
        half_height=solid.height / 2 * scale,
        words=words if intact else (),
    )
