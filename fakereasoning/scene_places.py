"""What stands where in pictures of FDR-Scenes, from their scene graphs, for the tower that learns words."""

from __future__ import annotations

from fakereasoning.places import Place, Shown
from fakereasoning.scene_questions import middle
from fakereasoning.scene_views import Drawn, View, of_each_scene
from fdr_bench.data.scenes.language import sun_side
from fdr_bench.data.scenes.phrases import NOUNS
from fdr_bench.data.scenes.scene import Scene, Solid
from fdr_bench.types import Dataset


def scenes_shown(dataset: Dataset) -> dict[str, Shown]:
    """Return what each picture shows by its location; a touched solid has no words."""
    return {sample.image.location: shown for sample, shown in of_each_scene(dataset, _shown)}


def _shown(drawn: Drawn) -> Shown:
    view = drawn.view()
    return Shown(places_of(view), behind(view.scene))


def behind(scene: Scene) -> tuple[str, ...]:
    """Return the words of the ground, the sky and the light, and the side that this comes from."""
    ground = () if scene.ground == "plain" else (scene.ground,)
    sky = "cloudy" if scene.clouds > 0.3 else "clear"
    return (*ground, scene.ground_colour, sky, scene.warmth, sun_side(scene)[0])


def places_of(view: View) -> list[Place]:
    """Return the solids of a view as places."""
    numbers = sorted(range(len(view.scene.solids)), key=lambda number: -view.scene.solids[number].z)
    return [_place(view.scene, view.scene.solids[number], number in view.intact) for number in numbers]


def _place(scene: Scene, solid: Solid, intact: bool) -> Place:
    across, down, scale = middle(scene, solid)
    words = (*solid.colours, solid.material, solid.size, *NOUNS[solid.shape], sun_side(scene)[0])
    return Place(
        across=across,
        down=down,
        half_width=solid.radius * scale,
        half_height=solid.height / 2 * scale,
        words=words if intact else (),
    )
