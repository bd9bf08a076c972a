"""What stands where in pictures of FDR-Scenes, from their scene graphs, for a tower that has to learn to look.

Before anything is known of forgery these are words, of what no violation touched. In tuning it is all that was drawn,
violations included: how a solid is lit, and where its own shadow falls, is what tells an inconsistent one; which
solid strikes the eye by what, and is told of, were it a photograph; and what is wrong with it. That shows elsewhere at
times, as a shadow does, but it is this solid that the text has to name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fakereasoning.places import Place, Shown
from fakereasoning.scene_questions import middle
from fakereasoning.scene_views import Drawn, View, of_each_scene
from fakereasoning.sketches import ASPECTS
from fdr_bench.data.scenes.language import sun_side
from fdr_bench.data.scenes.phrases import NOUNS
from fdr_bench.data.scenes.scene import Scene, Solid
from fdr_bench.data.scenes.striking import VISIBLE_SHADOW, shadow_reach, stated, striking
from fdr_bench.data.scenes.violations import ALTERED, Violation, alter
from fdr_bench.types import Dataset

REACHES = (VISIBLE_SHADOW / 2, VISIBLE_SHADOW, 2 * VISIBLE_SHADOW)
"""Steps in which it is told how far a shadow reaches to a side, in widths of its solid."""


def scenes_shown(dataset: Dataset) -> dict[str, Shown]:
    """Return the words of what each picture shows, by its location; of a solid that a violation touched, none."""
    return {sample.image.location: shown for sample, shown in of_each_scene(dataset, _shown)}


def scenes_drawn(dataset: Dataset) -> dict[str, Shown]:
    """Return what was drawn in each picture, by its location: names, light and shadow of each solid as it stands."""
    return {sample.image.location: shown for sample, shown in of_each_scene(dataset, _drawn)}


def _shown(drawn: Drawn) -> Shown:
    view = drawn.view()
    return Shown(places_of(view), behind(view.scene))


def _drawn(drawn: Drawn) -> Shown:
    scene = altered(drawn.view().scene, drawn.facts)
    places = [
        _place(scene, solid, (*looks(scene, solid), *strikes(scene, solid), *wrong_with(number, drawn.facts)))
        for number, solid in sorted(enumerate(scene.solids), key=lambda one: -one[1].z)
    ]
    return Shown(places, behind(scene))


def altered(scene: Scene, facts: Sequence[Mapping[str, Any]]) -> Scene:
    """Return the scene with the violations that change it; those that retouch the picture leave no trace."""
    for fact in facts:
        if fact["kind"] in ALTERED:
            scene = alter(scene, Violation.from_json(fact))
    return scene


def behind(scene: Scene) -> tuple[str, ...]:
    """Return the words of the ground, the sky and the light, and the side that this comes from."""
    ground = () if scene.ground == "plain" else (scene.ground,)
    sky = "cloudy" if scene.clouds > 0.3 else "clear"
    return (*ground, scene.ground_colour, sky, scene.warmth, sun_side(scene)[0])


def places_of(view: View) -> list[Place]:
    """Return the solids of a view as places."""
    scene = view.scene
    largest = striking(scene)["Semantic Rationality"].solid
    return [
        _place(scene, solid, _words(scene, solid, largest) if number in view.intact else ())
        for number, solid in sorted(enumerate(scene.solids), key=lambda one: -one[1].z)
    ]


def looks(scene: Scene, solid: Solid) -> tuple[str, ...]:
    """Return how a solid looks: its names, the side on which it is lit, and where, and how far, its shadow falls."""
    lit = "right" if (solid.light or scene.light)[0] > 0 else "left"
    names = (*solid.colours, f"called {solid.colours[0]}", solid.material, solid.size, solid.shape)
    told = [*names, f"lit on the {lit}"]
    if solid.casts_shadow:
        sun = solid.shadow_light or scene.light
        reach = shadow_reach(replace(scene, light=sun), solid)
        told.append(f"shadow on the {'left' if sun[0] > 0 else 'right'}")
        told += [f"shadow of {step} widths" for step in REACHES if reach >= step]
    return tuple(told)


def strikes(scene: Scene, solid: Solid) -> list[str]:
    """Return by what a solid strikes the eye, and of what an annotator of a photograph would name it."""
    found = striking(scene)
    by = {"largest": "Semantic Rationality", "patterned": "Natural and Consistent Image Texture"}
    words = [word for word, name in by.items() if found[name].solid is solid]
    told = stated(found)
    shown = {aspect: name for aspect, (name, _) in ASPECTS.items() if name in told}
    return words + [f"told of {aspect}" for aspect, name in shown.items() if found[name].solid is solid]


def wrong_with(number: int, facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the kinds of forgery of the solid with this number, also of one that another has sunk into."""
    return [str(fact["kind"]) for fact in facts if number in (fact["solid"], fact["other"])]


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
