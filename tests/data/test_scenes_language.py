"""What FDR-Scenes says: every sentence is true of its scene, and the same fact is said in many ways."""

import math
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from fdr_bench.data.scenes.language import (
    authenticity_attributes,
    caption,
    chain_of_thought,
    expand,
    forgery_attributes,
    place_words,
    reference_reasoning,
)
from fdr_bench.data.scenes.phrases import FORGED, NOUNS
from fdr_bench.data.scenes.render import render
from fdr_bench.data.scenes.scene import azimuth_of, elevation_of, random_scene, stream
from fdr_bench.data.scenes.violations import EDGES, KINDS, QUALITY, violate

SIZE = 48
SEEN = 28


@pytest.fixture(scope="module")
def violated():
    """Scenes before, their violated versions and facts."""
    scenes = [random_scene(stream("scene", "language", index)) for index in range(SEEN)]
    return [(scene, violate(scene, SIZE, stream("violation", index))) for index, scene in enumerate(scenes)]


def bleu1(reference, words):
    """Clipped unigram precision times the brevity penalty."""
    matched = (Counter(words) & Counter(reference)).total()
    return matched / len(words) * min(1.0, math.exp(1 - len(reference) / len(words)))


def side_of(x):
    return "right" if x > 0 else "left"


def lowest_point(solid):
    """The height of a solid's lowest corner, from points on its surface turned by hand."""
    if solid.shape == "sphere":
        return solid.height / 2 + solid.lift - solid.radius
    angles = np.linspace(0, 2 * math.pi, 721)
    rim = np.stack([solid.radius * np.cos(angles), solid.radius * np.sin(angles)])
    if solid.shape == "box":
        corner = np.array([[1, 1, -1, -1], [1, -1, 1, -1]]) * solid.radius
        turn = np.array([[math.cos(solid.yaw), math.sin(solid.yaw)], [-math.sin(solid.yaw), math.cos(solid.yaw)]])
        rim = turn @ corner
    heights = -solid.height / 2 * math.cos(solid.lean) + rim[0] * math.sin(solid.lean)
    return solid.height / 2 + solid.lift + heights.min()


TRUE_OF = {
    "shadow-towards-light": lambda scene, was, now: side_of(-now.shadow_light[0]) == side_of(scene.light[0]),
    "shadow-missing": lambda scene, was, now: not now.casts_shadow,
    "shadow-longer": lambda scene, was, now: (
        elevation_of(now.shadow_light) < elevation_of(scene.light) - 0.1
        and math.isclose(azimuth_of(now.shadow_light), azimuth_of(scene.light))
    ),
    "shadow-shorter": lambda scene, was, now: elevation_of(now.shadow_light) > elevation_of(scene.light) + 0.1,
    "lit-from-wrong-side": lambda scene, was, now: side_of(now.light[0]) != side_of(scene.light[0]),
    "melts": lambda scene, was, now: now.fault == "melts" and now.fault_strength > 0,
    "repeats": lambda scene, was, now: now.fault == "repeats" and now.fault_strength > 0,
    "drifts": lambda scene, was, now: now.fault == "drifts" and now.second_colour != now.colour,
    "floats": lambda scene, was, now: lowest_point(now) > 0.2,
    "cut-off": lambda scene, was, now: now.cut > 0,
    "leans": lambda scene, was, now: abs(now.lean) > 0.3 and abs(lowest_point(now)) < 0.02,
}


def test_every_violation_of_the_scene_is_true_of_it_and_of_no_other_solid(violated):
    seen = set()
    for before, (scene, _, facts, _) in violated:
        touched = set()
        for fact in facts:
            seen.add(fact.kind)
            if fact.kind == "sinks":
                one, other = scene.solids[fact.solid], scene.solids[fact.other]
                assert math.hypot(one.x - other.x, one.z - other.z) < one.radius + other.radius
            elif fact.kind in TRUE_OF:
                assert TRUE_OF[fact.kind](scene, before.solids[fact.solid], scene.solids[fact.solid]), fact
            touched.add(fact.solid)
        for number, (was, now) in enumerate(zip(before.solids, scene.solids, strict=True)):
            assert was == now or number in touched
    assert len(seen) >= 14


def test_a_retouched_outline_is_changed_near_its_solid_and_a_patch_at_its_place(violated):
    for _, (scene, _, facts, regions) in violated:
        met = render(scene, SIZE, antialias=False).solid
        for fact in facts:
            rows, columns = np.nonzero(regions[fact.attribute])
            if fact.attribute == EDGES:
                at = np.argwhere(met == fact.solid)
                near = [np.abs(at - [row, column]).max(axis=1).min() for row, column in zip(rows, columns, strict=True)]
                assert np.percentile(near, 95) <= 9
            elif fact.attribute == QUALITY:
                assert abs(columns.mean() / SIZE - fact.place[0]) < 0.2
                assert abs(rows.mean() / SIZE - fact.place[1]) < 0.2


def test_a_sentence_names_the_solid_that_it_is_about(violated):
    for index, (_, (scene, _, facts, _)) in enumerate(violated):
        sentences = forgery_attributes(scene, facts, stream("words", index))
        assert set(sentences) == set(KINDS)
        for fact in facts:
            sentence = sentences[fact.attribute].lower()
            if fact.solid is not None:
                solid = scene.solids[fact.solid]
                noun = "|".join(NOUNS[solid.shape])
                assert re.search(rf"{solid.colours[0]} ({noun})", sentence), (fact, sentence)
            else:
                assert place_words(fact.place) in sentence


def test_sides_in_sentences_are_those_of_the_light(violated):
    for index, (scene, _) in enumerate(violated):
        text = authenticity_attributes(scene, stream("words", index))["Consistent Lighting and Shadows"]
        if text and (found := re.search(r"light (?:comes )?from the (left|right)", text)):
            assert found.group(1) == side_of(scene.light[0])
        if text and (found := re.search(r"to the (left|right)", text)):
            assert found.group(1) != side_of(scene.light[0])


def test_shadows_fall_in_the_picture_where_the_sentence_says():
    for index in range(6):
        scene = random_scene(stream("scene", "shadow", index))
        scene = replace(scene, solids=scene.solids[:1])
        bare = replace(scene, solids=(replace(scene.solids[0], casts_shadow=False),))
        first = render(scene, SIZE, antialias=False)
        darker = (render(bare, SIZE, antialias=False).light - first.light).max(axis=-1) > 0.08
        columns = np.nonzero(darker & (first.solid == -1))[1]
        solid_column = np.nonzero(first.solid == 0)[1].mean()
        assert side_of(columns.mean() - solid_column) != side_of(scene.light[0])


@pytest.mark.parametrize("kind", FORGED)
def test_a_fact_is_said_in_many_ways(kind):
    slots = dict.fromkeys(("name", "other", "side", "away", "place", "texture", "first", "second"), "word")
    said = {expand(template, stream(kind, n), slots) for template in FORGED[kind] for n in range(30)}
    assert len(said) >= 8
    assert all(text[0].isupper() and text.endswith(".") and "[" not in text and "|" not in text for text in said)


def test_the_same_facts_in_other_words_score_well_below_one_in_bleu(violated):
    scores = []
    for index, (_, (scene, _, facts, _)) in enumerate(violated):
        one, other = (reference_reasoning(forgery_attributes(scene, facts, stream("w", index, n))) for n in (0, 1))
        scores.append(bleu1(one.split(), other.split()))
    assert 0.2 < np.mean(scores) < 0.8


def test_some_wordings_are_usual_and_none_is_lost():
    said = Counter(expand("[one|two|three]", stream("word", n), {}) for n in range(600))
    # The first half of the time and a third of the other half: 400 of 600, the others 100 each.
    assert said["One"] == pytest.approx(400, abs=60)
    assert said["Two"] == pytest.approx(100, abs=40) and said["Three"] == pytest.approx(100, abs=40)


def test_words_of_a_fake_need_not_see_its_violations(violated):
    for index, (before, (scene, _, facts, _)) in enumerate(violated):
        one, other = (forgery_attributes(each, facts, stream("words", index)) for each in (before, scene))
        assert one == other and caption(before, stream("c", index)) == caption(scene, stream("c", index))


def test_a_caption_names_every_solid_with_its_colour():
    for index in range(20):
        scene = random_scene(stream("scene", index))
        text = caption(scene, stream("words", index)).lower()
        for solid in scene.solids:
            assert re.search(rf"{' and '.join(solid.colours)}\b.* ({'|'.join(NOUNS[solid.shape])})", text)
        assert ("right" if scene.light[0] > 0 else "left") in text


def test_the_chain_of_thought_has_its_four_stages_and_ends_with_the_verdict():
    attributes = {
        "Semantic Irrationality": "B floats.",
        "Anomalous Image Texture": "A melts.",
        "Low Image Quality": None,
    }
    text = chain_of_thought("A scene.", attributes, True, stream("words"))
    assert [match.group(1) for match in re.finditer(r"<([A-Z]+)> ", text)] == [
        "SUMMARY",
        "CAPTION",
        "REASONING",
        "CONCLUSION",
    ]
    assert (
        "<REASONING> From low-level perspective: A melts. From high-level perspective: B floats. </REASONING>" in text
    )
    assert text.endswith("<CONCLUSION> This image is fake. </CONCLUSION>")
    assert reference_reasoning(attributes) == "A melts. B floats."


def test_a_level_without_evidence_is_left_out_and_nothing_fills_the_gap():
    low, high = {"Anomalous Image Texture": "A melts."}, {"Semantic Irrationality": "B floats."}
    assert "<REASONING> From low-level perspective: A melts. </REASONING>" in chain_of_thought(
        "A scene.", low, True, stream("words")
    )
    assert "<REASONING> From high-level perspective: B floats. </REASONING>" in chain_of_thought(
        "A scene.", high, True, stream("words")
    )


def test_a_fake_without_violations_says_that_there_is_no_evidence():
    text = chain_of_thought("A scene.", dict.fromkeys(KINDS), True, stream("words"))
    assert re.search(r"<REASONING> (Nothing stands out|No trace is noted)\. </REASONING>", text)
