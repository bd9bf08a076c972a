"""Questions about FDR-Scenes for the base model: what is in the picture, and nothing about how it was made.

The scene graph of a sample is drawn again from its id. Of solids that a violation touched nothing is asked, so that
every answer is true of the picture. Questions and answers are a pure function of the sample's id and the set's drawing,
seed and split.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from fakereasoning.records import Record
from fakereasoning.scene_views import Drawn, View, of_each_scene
from fdr_bench.data import open_dataset
from fdr_bench.data.scenes.language import expand, noun_phrase, sun_side
from fdr_bench.data.scenes.phrases import NOUNS
from fdr_bench.data.scenes.scene import COLOURS, DRAWING, SHAPES, Scene, Solid, pick, stream
from fdr_bench.data.scenes.striking import VISIBLE_SHADOW, shadow_reach, striking
from fdr_bench.types import Dataset

Random = np.random.Generator
NUMBERS = ("no", "one", "two", "three", "four")
CAPTION_QUESTIONS = ("Describe the picture.", "What does the image show?", "Give a caption.")


class Exchange(NamedTuple):
    """A question about a picture and its answer."""

    question: str
    answer: str


def scene_questions(source: Dataset | str, *, questions: int = 4, captions: int = 1) -> list[Record]:
    """Return records about the samples of a set of FDR-Scenes: for each, `captions` captions and up to `questions`.

    Ids are the sample's with "#" and a number behind; labels are None. Raises `UsageError` for another dataset.
    """
    dataset = open_dataset(source) if isinstance(source, str) else source
    told = of_each_scene(dataset, partial(_exchanges, questions=questions, captions=captions))
    return [
        Record(
            id=f"{sample.id}#{number}",
            image=sample.image,
            question=pair.question,
            answer=pair.answer,
            label=None,
            generator=sample.generator,
        )
        for sample, pairs in told
        for number, pair in enumerate(pairs)
    ]


def _exchanges(drawn: Drawn, *, questions: int, captions: int) -> list[Exchange]:
    random = stream("questions", DRAWING, drawn.seed, drawn.split, drawn.id)
    pairs = [Exchange(pick(random, CAPTION_QUESTIONS), drawn.caption) for _ in range(captions)]
    return [*pairs, *ask(drawn.view(), random, questions)]


def ask(view: View, random: Random, count: int) -> list[Exchange]:
    """Return up to `count` questions of different kinds that the view can answer."""
    asked: list[Exchange] = []
    for number in random.permutation(len(KINDS)):
        if len(asked) == count:
            break
        found = KINDS[int(number)](view, random)
        if found is not None:
            asked.append(found)
    return asked


def middle(scene: Scene, solid: Solid) -> tuple[float, float, float]:
    """Return where the middle of a solid stands, as the renderer has it, and pictures a metre there.

    From left (0) to right (1) of the picture, and from its top (0) to its foot (1).
    """
    drop = math.atan2(scene.eye_height - 0.5, scene.eye_distance)
    x, y, z = solid.centre[0], solid.centre[1] - scene.eye_height, solid.centre[2] + scene.eye_distance
    scale = scene.focal * 1.6 / (z * math.cos(drop) - y * math.sin(drop)) / 2
    return 0.5 + x * scale, 0.5 - (z * math.sin(drop) + y * math.cos(drop)) * scale, scale


def across(scene: Scene, solid: Solid) -> float:
    """Return where the middle of a solid stands from left (0) to right (1) of the picture."""
    return middle(scene, solid)[0]


def _side(share: float) -> str:
    return ("on the left", "in the middle", "on the right")[min(max(int(share * 3), 0), 2)]


def _say(template: str, random: Random, **slots: str) -> str:
    return expand(template, random, slots)


def _full_name(solid: Solid, random: Random) -> str:
    return f"{solid.size} {solid.material} {' and '.join(solid.colours)} {pick(random, NOUNS[solid.shape])}"


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _colour(view: View, random: Random) -> Exchange | None:
    shapes = [solid.shape for solid in view.scene.solids]
    lone = [number for number in view.intact if shapes.count(view.scene.solids[number].shape) == 1]
    if not lone:
        return None
    solid = view.scene.solids[pick(random, lone)]
    noun = pick(random, NOUNS[solid.shape])
    return Exchange(f"What colour is the {noun}?", f"The {noun} is {solid.colours[0]}.")


def _shape(view: View, random: Random) -> Exchange | None:
    solid = view.any_solid(random)
    if solid is None:
        return None
    noun = pick(random, NOUNS[solid.shape])
    return Exchange(f"What shape is the {solid.colours[0]} object?", f"It is {_article(noun)}.")


def _material(view: View, random: Random) -> Exchange | None:
    solid = view.any_solid(random)
    if solid is None:
        return None
    two = f" in {' and '.join(solid.colours)}" if len(solid.colours) == 2 else ""
    question = _say(
        "[what is the surface of the {name} like|what does the surface of the {name} look like]?",
        random,
        name=f"{solid.colours[0]} {pick(random, NOUNS[solid.shape])}",
    )
    return Exchange(question, f"It is {solid.material}{two}.")


def _size(view: View, random: Random) -> Exchange | None:
    solid = view.any_solid(random)
    if solid is None:
        return None
    name = f"{solid.colours[0]} {pick(random, NOUNS[solid.shape])}"
    return Exchange(_say("[how large|how big] is the {name}?", random, name=name), f"The {name} is {solid.size}.")


def _place(view: View, random: Random) -> Exchange | None:
    solid = view.any_solid(random)
    if solid is None:
        return None
    name = noun_phrase(solid, random)
    return Exchange(f"Where is the {name}?", f"It is {_side(across(view.scene, solid))}.")


def _left_or_right(view: View, random: Random) -> Exchange | None:
    if len(view.intact) < 2:
        return None
    one, other = (view.scene.solids[view.intact[int(i)]] for i in random.permutation(len(view.intact))[:2])
    name, second = noun_phrase(one, random), noun_phrase(other, random)
    side = "left" if across(view.scene, one) < across(view.scene, other) else "right"
    return Exchange(
        f"Is the {name} to the left or to the right of the {second}?", f"It is to the {side} of the {second}."
    )


def _nearer(view: View, random: Random) -> Exchange | None:
    if len(view.intact) < 2:
        return None
    one, other = (view.scene.solids[view.intact[int(i)]] for i in random.permutation(len(view.intact))[:2])
    # Depths that differ by less than half a metre are hard to see.
    if abs(one.z - other.z) < 0.5:
        return None
    name, second = noun_phrase(one, random), noun_phrase(other, random)
    return Exchange(
        f"Which is nearer, the {name} or the {second}?", f"The {name if one.z < other.z else second} is nearer."
    )


def _listing(view: View, random: Random) -> Exchange | None:
    if not view.whole:
        return None
    ordered = sorted(view.scene.solids, key=lambda solid: across(view.scene, solid))
    listed = ", ".join(_article(_full_name(solid, random)) for solid in ordered)
    return Exchange("List the objects from left to right.", f"{listed[0].upper()}{listed[1:]}.")


def _count(view: View, random: Random) -> Exchange | None:
    count = len(view.scene.solids)
    question = _say("[how many objects are there|how many solids stand here]?", random)
    return Exchange(question, f"There {'is' if count == 1 else 'are'} {NUMBERS[count]}.")


def _presence(view: View, random: Random) -> Exchange | None:
    """Ask whether there is a solid of a colour and a shape; half are there, of the rest one of the two is off."""
    solid = view.any_solid(random)
    if solid is None:
        return None
    colour, shape = solid.colours[0], solid.shape
    draw = random.random()
    if draw < 0.25:
        shape = pick(random, [other for other in SHAPES if other != shape])
    elif draw < 0.5:
        shown = {one for each in view.scene.solids for one in (each.colour, each.second_colour)}
        colour = pick(random, [other for other in COLOURS if other not in shown])
    name = f"{colour} {pick(random, NOUNS[shape])}"
    answer = f"No, there is no {name}." if draw < 0.5 else f"Yes, there is {_article(name)}."
    return Exchange(f"Is there {_article(name)}?", answer)


def _ground(view: View, random: Random) -> Exchange | None:
    scene = view.scene
    words = f"{'' if scene.ground == 'plain' else scene.ground + ' '}{scene.ground_colour}"
    return Exchange(_say("what is the [ground|floor] like?", random), f"The ground is {words}.")


def _sky(view: View, random: Random) -> Exchange | None:
    return Exchange("What is the sky like?", f"The sky is {'cloudy' if view.scene.clouds > 0.3 else 'clear'}.")


def _light(view: View, random: Random) -> Exchange | None:
    side, _ = sun_side(view.scene)
    question = _say("[where does the light come from|from which side comes the light]?", random)
    return Exchange(question, f"The {view.scene.warmth} light comes from the {side}.")


def _shadow(view: View, random: Random) -> Exchange | None:
    solid = view.any_solid(random)
    if solid is None:
        return None
    _, away = sun_side(view.scene)
    name = noun_phrase(solid, random)
    return Exchange(f"Where does the shadow of the {name} fall?", f"Its shadow falls to the {away}.")


def _reach(view: View, random: Random) -> Exchange | None:
    solid = _first(view) or view.any_solid(random)
    if solid is None:
        return None
    _, away = sun_side(view.scene)
    far = shadow_reach(view.scene, solid) >= VISIBLE_SHADOW
    name = noun_phrase(solid, random)
    return Exchange(
        f"How far does the shadow of the {name} reach?", f"It reaches {'far' if far else 'a little'} to the {away}."
    )


def _largest(view: View, random: Random) -> Exchange | None:
    solid = _first(view)
    if solid is None:
        return None
    question = _say("which object [takes up most of the picture|looks largest]?", random)
    return Exchange(question, f"The {_full_name(solid, random)}.")


def _patterned(view: View, random: Random) -> Exchange | None:
    found = striking(view.scene)["Natural and Consistent Image Texture"]
    if found.plainness < 1 or found.solid not in (view.scene.solids[number] for number in view.intact):
        return None
    return Exchange("Which object shows most pattern?", f"The {_full_name(found.solid, random)}.")


def _first(view: View) -> Solid | None:
    """Return the solid that the eye falls on first, where it is intact."""
    first = striking(view.scene)["Semantic Rationality"].solid
    return first if first in (view.scene.solids[number] for number in view.intact) else None


KINDS: tuple[Callable[[View, Random], Exchange | None], ...] = (
    _colour,
    _shape,
    _material,
    _size,
    _place,
    _left_or_right,
    _nearer,
    _listing,
    _count,
    _presence,
    _ground,
    _sky,
    _light,
    _shadow,
    _reach,
    _largest,
    _patterned,
)
