"""What stands where in pictures of FDR-Scenes, from their scene graphs, for the tower that learns words."""

from __future__ import annotations

from fakereasoning.places import Place
from fakereasoning.scene_questions import View, middle, scene_views
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
    across, down, scale = middle(scene, solid)
    colours = (solid.colour, *((solid.second_colour,) if solid.material in ("striped", "checked") else ()))
    words = (*colours, solid.material, solid.size, *NOUNS[solid.shape])
    return Place(
        across=across,
        down=down,
        half_width=solid.radius * scale,
        half_height=solid.height / 2 * scale,
        words=words if intact else (),
    )
