"""What stands where in pictures of FDR-Scenes, from their scene graphs, for the tower that learns words."""

from __future__ import annotations

from functools import partial

from fakereasoning.places import Place, Shown
from fakereasoning.scene_questions import middle
from fakereasoning.scene_views import Drawn, View, of_each_scene
from fdr_bench.data.scenes.language import sun_side
from fdr_bench.data.scenes.phrases import NOUNS
from fdr_bench.data.scenes.scene import Scene, Solid
from fdr_bench.data.scenes.striking import VISIBLE_SHADOW, shadow_reach, striking
from fdr_bench.types import Dataset


def scenes_shown(dataset: Dataset, *, touched: bool = False) -> dict[str, Shown]:
    """Return what each picture shows by its location.

    Of a solid that a violation touched it is said only where `touched`, and then as of any other: violations change
    none of a solid's names, but what they show may be another shadow.
    """
    return {sample.image.location: shown for sample, shown in of_each_scene(dataset, partial(_shown, touched=touched))}


def _shown(drawn: Drawn, *, touched: bool) -> Shown:
    view = drawn.view()
    return Shown(places_of(view, touched=touched), behind(view.scene))


def behind(scene: Scene) -> tuple[str, ...]:
    """Return the words of the ground, the sky and the light, and the side that this comes from."""
    ground = () if scene.ground == "plain" else (scene.ground,)
    sky = "cloudy" if scene.clouds > 0.3 else "clear"
    return (*ground, scene.ground_colour, sky, scene.warmth, sun_side(scene)[0])


def places_of(view: View, *, touched: bool = False) -> list[Place]:
    """Return the solids of a view as places."""
    scene = view.scene
    largest = striking(scene)["Semantic Rationality"].solid
    return [
        _place(scene, solid, _words(scene, solid, largest) if touched or number in view.intact else ())
        for number, solid in sorted(enumerate(scene.solids), key=lambda one: -one[1].z)
    ]


def _words(scene: Scene, solid: Solid, largest: Solid) -> tuple[str, ...]:
    shadow = "far" if shadow_reach(scene, solid) >= VISIBLE_SHADOW else "little"
    name = (*solid.colours, solid.material, solid.size, *NOUNS[solid.shape])
    return (*name, sun_side(scene)[0], shadow, *(("largest",) if solid is largest else ()))


def _place(scene: Scene, solid: Solid, words: tuple[str, ...]) -> Place:
    across, down, scale = middle(scene, solid)
    return Place(
        across=across,
        down=down,
        half_width=solid.radius * scale,
        half_height=solid.height / 2 * scale,
        words=words,
    )
