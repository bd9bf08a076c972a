"""Questions about scenes: true of the picture, the same every time, and silent on how it was made."""

import re
from collections import Counter

import numpy as np
import pytest

from fakereasoning.scene_places import behind, places_of
from fakereasoning.scene_questions import KINDS, across, ask, scene_questions
from fakereasoning.scene_views import View, view_of
from fdr_bench.data import open_dataset
from fdr_bench.data.scenes.language import caption
from fdr_bench.data.scenes.phrases import NOUNS
from fdr_bench.data.scenes.render import render
from fdr_bench.data.scenes.scene import random_scene, stream
from fdr_bench.data.scenes.striking import striking
from fdr_bench.errors import UsageError
from fdr_bench.verdicts import read_verdict
from tests.data.trees import grow

SCENES = "scenes:train?size=32&n=12"
SHAPE = {noun: shape for shape, nouns in NOUNS.items() for noun in nouns}


def view(number: int) -> View:
    scene = random_scene(stream("scene", number))
    return View(scene=scene, intact=tuple(range(len(scene.solids))))


def exchanges(number: int):
    return ask(view(number), stream("questions", number), len(KINDS))


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FDR_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield scene_questions(SCENES)


# ---------------------------------------------------------------- truth


@pytest.mark.parametrize("number", range(6))
def test_the_place_of_a_solid_is_where_the_renderer_shows_it(number):
    scene = view(number).scene
    shown = render(scene, 96, antialias=False).solid
    for index, solid in enumerate(scene.solids):
        pixels = np.flatnonzero((shown == index).any(axis=0))
        if len(pixels) == 0:
            continue
        # The middle of its columns; another solid in front may hide a part, the picture's edge another.
        assert across(scene, solid) == pytest.approx((pixels.min() + pixels.max() + 1) / 2 / 96, abs=0.08)


@pytest.mark.parametrize("number", range(6))
def test_a_solid_stands_within_the_ellipse_that_is_told_of_it(number):
    scene = view(number).scene
    shown = render(scene, 96, antialias=False).solid
    places = {place.words[0]: place for place in places_of(view(number))}
    depths = [next(s.z for s in scene.solids if s.colours[0] == place.words[0]) for place in places_of(view(number))]
    assert depths == sorted(depths, reverse=True)
    for index, solid in enumerate(scene.solids):
        rows, columns = np.nonzero(shown == index)
        if len(rows) < 20:
            continue
        place = places[solid.colours[0]]
        assert place.across == across(scene, solid)
        across_, down = ((columns + 0.5) / 96 - place.across), ((rows + 0.5) / 96 - place.down)
        inside = np.hypot(across_ / place.half_width, down / place.half_height)
        # Corners of a box and the foot of a cone stick out.
        assert np.quantile(inside, 0.9) < 1.6
        assert NOUNS[solid.shape][0] in place.words and solid.size in place.words


def test_of_a_touched_solid_only_the_place_is_told():
    whole = view(3)
    touched = View(scene=whole.scene, intact=whole.intact[1:])
    told = places_of(touched)
    assert sorted(bool(place.words) for place in told) == [False, *[True] * (len(whole.intact) - 1)]


@pytest.mark.parametrize("number", range(6))
def test_a_place_says_how_far_its_shadow_reaches_and_whether_it_is_the_largest(number):
    scene = view(number).scene
    found = striking(scene)
    for place in places_of(view(number)):
        solid = next(solid for solid in scene.solids if across(scene, solid) == place.across)
        far = abs(scene.light[0]) / scene.light[1] * solid.height / (2 * solid.radius) >= 0.8
        assert ("far" in place.words, "little" in place.words) == (far, not far)
        assert ("largest" in place.words) == (solid == found["High Image Quality"].solid)


@pytest.mark.parametrize("number", range(6))
def test_every_place_is_told_the_side_of_the_light_that_the_caption_names(number):
    scene = view(number).scene
    side = "right" if scene.light[0] > 0 else "left"
    assert all({"left", "right"} & {*place.words} == {side} for place in places_of(view(number)))
    told = behind(scene)
    assert {"left", "right"} & {*told} == {side} and scene.warmth in told and scene.ground_colour in told
    assert ("cloudy" if scene.clouds > 0.3 else "clear") in told and (scene.ground in told) == (scene.ground != "plain")
    # What is about the whole picture stands in any caption of it, but for the sky, which some leave out.
    said = caption(scene, stream("caption", number)).lower()
    assert all(word in said for word in told if word not in ("cloudy", "clear"))


@pytest.mark.parametrize("number", range(30))
def test_answers_about_one_solid_agree_with_the_scene_graph(number):
    solids = {solid.colours[0]: solid for solid in view(number).scene.solids}
    for question, answer in exchanges(number):
        if match := re.match(r"What colour is the (.+)\?", question):
            colour = answer.split()[-1].rstrip(".")
            assert solids[colour].shape == SHAPE[match.group(1)]
        elif match := re.match(r"What shape is the (\w+) object", question):
            assert SHAPE[re.sub(r"^It is an? |\.$", "", answer)] == solids[match.group(1)].shape
        elif match := re.match(r"How (?:large|big) is the (\w+) ", question):
            assert answer.endswith(f"is {solids[match.group(1)].size}.")
        elif match := re.match(r"Is there an? (\w+) (.+)\?", question):
            colour, shape = match.group(1), SHAPE[match.group(2)]
            there = colour in solids and solids[colour].shape == shape
            assert answer.startswith("Yes" if there else "No")
        elif match := re.match(r"How far does the shadow of the (.+) reach", question):
            scene, solid = view(number).scene, solids[_colour(match.group(1), solids)]
            far = abs(scene.light[0]) / scene.light[1] * solid.height / (2 * solid.radius) >= 0.8
            side = "left" if scene.light[0] > 0 else "right"
            assert answer == f"It reaches {'far' if far else 'a little'} to the {side}."
        elif re.match(r"Which object (takes|looks|shows)", question):
            of = "Natural and Consistent Image Texture" if "pattern" in question else "Smooth and Natural Image Edges"
            assert solids[_colour(answer, solids)] == striking(view(number).scene)[of].solid
        elif question == "List the objects from left to right.":
            places = [across(view(number).scene, solids[_colour(part, solids)]) for part in answer.split(", ")]
            assert places == sorted(places)
            assert len(places) == len(solids)


def _colour(words: str, solids) -> str:
    """Return the solid's first colour: a second one stands behind "and"."""
    return next(word for word in words.split() if word in solids)


def test_both_answers_to_a_question_of_presence_and_of_sides_occur():
    texts = [text for number in range(120) for _, text in exchanges(number)]
    for one, other in (("Yes, there", "No, there"), ("to the left of", "to the right of"), ("reaches far", "a little")):
        counts = [sum(part in text for text in texts) for part in (one, other)]
        assert min(counts) > 0.2 * sum(counts)


def test_every_kind_of_question_is_asked():
    kinds = Counter(kind for number in range(40) for kind in KINDS if kind(view(number), stream("q", number)))
    assert set(kinds) == set(KINDS)


# ---------------------------------------------------------------- violations


def test_nothing_is_asked_of_a_solid_that_a_violation_touched():
    facts = [{"solid": 0, "other": None}, {"solid": 2, "other": 1}]
    touched = view_of("camera/0_real/00007.jpg", seed=0, split="train", facts=facts)
    assert set(touched.intact).isdisjoint({0, 1, 2})
    assert touched.whole is False
    for seed in range(30):
        for question, answer in ask(touched, stream("questions", seed), len(KINDS)):
            for solid in touched.scene.solids[:3]:
                assert not re.search(rf"\b{solid.colours[0]} (?!and\b)", question + answer) or "Is there" in question


def test_a_scene_without_an_intact_solid_still_has_questions():
    bare = View(scene=view(0).scene, intact=())
    questions = {question for question, _ in ask(bare, stream("questions", 0), len(KINDS))}
    assert 3 <= len(questions) <= 5


# ---------------------------------------------------------------- records


def test_records_are_about_the_set_s_own_scenes(records):
    samples = {sample.id: sample for sample in open_dataset(SCENES).samples}
    for one in records:
        sample_id, _, number = one.id.rpartition("#")
        assert one.image == samples[sample_id].image
        if number == "0":
            assert one.answer == samples[sample_id].caption
    drawn = view_of("camera/0_real/00000.jpg", seed=0, split="train", facts=())
    named = [" and ".join(solid.colours) in samples["camera/0_real/00000.jpg"].caption for solid in drawn.scene.solids]
    assert named and all(named)


def test_records_are_the_same_every_time_and_say_nothing_of_forgery(records):
    again = scene_questions(SCENES)
    assert [(one.id, one.question, one.answer) for one in again] == [(r.id, r.question, r.answer) for r in records]
    for one in records:
        assert one.label is None
        assert read_verdict(f"{one.question}\n{one.answer}") is None


def test_as_many_records_are_made_as_asked_for(records):
    counts = Counter(one.id.rpartition("#")[0] for one in records)
    assert len(counts) == 12
    assert max(counts.values()) == 5
    assert {one.id.rpartition("#")[2] for one in scene_questions(SCENES, questions=0, captions=2)} == {"0", "1"}


def test_another_dataset_has_no_scene_graphs(tmp_path):
    grow(tmp_path / "set", ["0_real/1.png", "1_fake/2.png"])
    with pytest.raises(UsageError, match="has no scene graphs: expected FDR-Scenes"):
        scene_questions(f"folders:{tmp_path / 'set'}")
