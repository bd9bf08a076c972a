"""Solids, sides and places in claims about scenes, against their references and captions."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fdr_bench.data.scenes.language import noun_phrase
from fdr_bench.data.scenes.phrases import NOUNS
from fdr_bench.data.scenes.scene import COLOURS, MATERIALS, SIZES, random_scene
from fdr_bench.metrics import solids
from fdr_bench.metrics.claims import Attribute, Claim, claims
from fdr_bench.metrics.grounding import check, ground, sides, truth
from fdr_bench.metrics.solids import NamedSolid, captioned_solids, named_solids, without_solids
from tests.scene_texts import scene_text

CAPTION = (
    "A small matte red ball and a large striped blue and white box stand on a floor, lit by warm light from the left."
)
FAKE = {
    "Inconsistent Lighting and Shadows": "The red ball has its shadow to the left, though the light is on the left.",
    "Low Image Quality": "The picture is smeared in the upper left, as if wiped.",
    "Semantic Irrationality": "The red ball sinks into the striped blue box.",
    "Irregular Image Edges": None,
    "Anomalous Image Texture": None,
}


def known(fake=True, attributes=FAKE):
    found = truth(
        attributes if fake else {"Semantic Rationality": "The red ball rests on the ground."}, CAPTION, fake=fake
    )
    assert found is not None
    return found


def checked(family, forged, sentence, fake=True):
    return check(Claim(Attribute(family, forged), sentence), known(fake))


# ---------------------------------------------------------------- words


def test_the_words_are_those_of_the_scenes():
    assert {noun: shape for shape, nouns in NOUNS.items() for noun in nouns} == solids.SHAPES
    assert set(solids.COLOURS) == set(COLOURS)
    assert set(solids.QUALIFIERS) == set(SIZES) | set(MATERIALS)


def test_every_noun_phrase_names_its_solid_by_colour_and_shape():
    random = np.random.default_rng(0)
    for _ in range(100):
        for solid in random_scene(random).solids:
            phrase = noun_phrase(solid, random)
            assert named_solids(f"the {phrase} stands") == {NamedSolid(solid.colours[0], solid.shape)}
            assert without_solids(f"The {phrase} stands.") == "The it stands."


def test_of_two_colours_the_first_counts_and_synonyms_are_one():
    assert named_solids("a striped red and blue globe") == {("red", "sphere")} == named_solids("the RED Ball")
    assert named_solids("gray conical solid, teal columns") == {("grey", "cone"), ("teal", "cylinder")}
    assert named_solids("a red sky over a box; blueball") == frozenset()


def test_a_caption_tells_every_name_of_a_solid():
    names = captioned_solids("A large striped red and blue globe and a gray box stand there.")
    assert names == {frozenset({("red", "sphere"), ("blue", "sphere")}), frozenset({("grey", "box")})}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Light comes from the left, yet the ball casts its shadow to the left.",
         {("light", "left"), ("shadow", "left")}),
        ("The ball has its shadow on the left instead of the right.", {("shadow", "left")}),
        ("The shadow falls to the same side as the light on the right.", {("light", "right")}),
        ("The ball is lit on its right side.", {("lit", "right")}),
        ("Everything else is lit from the left.", {("light", "left")}),
        ("Shading suggests a light on the right, but the scene's light is on the left.",
         {("lit", "right"), ("light", "left")}),
        ("Warm sunlight from the Right.", {("light", "right")}),
        ("On the left there is a ball.", set()),
        ("A bright idea.", set()),
    ],
)  # fmt: skip
def test_a_side_is_said_of_the_light_of_a_shadow_or_of_the_lit_side(text, expected):
    assert sides(text) == expected


# ---------------------------------------------------------------- truth


def test_no_scene_no_truth():
    assert truth(FAKE, None, fake=True) is None
    assert truth(FAKE, "Two people on a bus, light from the left.", fake=True) is None
    assert truth(FAKE, "A red ball on a floor.", fake=True) is None


def test_what_the_references_say_in_other_words_is_grounded():
    random = np.random.default_rng(2)
    for number in range(120):
        told = scene_text(random, number % 2 == 0)
        scene = truth(told.attributes, told.caption, fake=told.fake)
        assert scene is not None
        found = ground(claims([told.retold])[0], scene)
        assert (found.contradicted, found.ungrounded, found.missed) == (0, 0, 0), told
        assert found.grounded == sum(sentence is not None for sentence in told.attributes.values())
        assert (found.solids_right, found.sides_right, found.places_right) == (found.solids, found.sides, found.places)


def test_a_swapped_side_place_or_colour_is_always_noticed():
    random = np.random.default_rng(3)
    swapped = {"left": "right", "right": "left", "upper": "lower", "lower": "upper"}
    noticed = 0
    for _ in range(120):
        told = scene_text(random, True)
        scene = truth(told.attributes, told.caption, fake=True)
        assert scene is not None
        for claim in claims([told.retold])[0]:
            found = check(claim, scene)
            if found.side or found.place:
                mirrored = re.sub("left|right|upper|lower", lambda match: swapped[match.group()], claim.sentence)
                if mirrored != claim.sentence:
                    assert check(Claim(claim.attribute, mirrored), scene).contradicted, mirrored
                    noticed += 1
            if found.solid:
                absent = next(iter(set(solids.COLOURS) - {name.colour for names in scene.solids for name in names}))
                (first, *_) = named_solids(claim.sentence)
                painted = claim.sentence.replace(first.colour, absent).replace(first.colour.capitalize(), absent)
                assert check(Claim(claim.attribute, painted), scene).solid is False, painted
                noticed += 1
    assert noticed > 150


# ---------------------------------------------------------------- claims


def test_a_forgery_attribute_holds_where_it_is_annotated():
    assert not checked("texture", True, "The surface of the red ball melts.").holds
    assert checked("semantics", True, "The red globe passes into the blue block.")[:2] == (True, True)
    assert not known(fake=False).sentences.keys() & {Attribute("semantics", True)}
    assert not checked("semantics", True, "The red ball floats.", fake=False).holds


def test_an_authenticity_attribute_holds_but_where_its_counterpart_is_annotated():
    assert checked("edges", False, "The outline of the blue box is clean.")[:2] == (True, True)
    assert not checked("quality", False, "The picture is clear.").holds
    assert checked("quality", False, "The picture is clear.", fake=False).grounded
    assert checked("edges", False, "The outline of the green box is clean.", fake=False).contradicted


def test_a_solid_of_the_scene_that_the_reference_does_not_speak_of_is_wrong():
    assert checked("lighting", True, "The blue box has its shadow to the left.").solid is False
    assert checked("lighting", False, "The shadow of the blue box falls to the right.", fake=False).solid is True


def test_a_solid_of_two_colours_is_named_rightly_by_either():
    for colour, right in (("blue", True), ("white", True), ("blue and white", True), ("red", False)):
        assert checked("lighting", False, f"The {colour} box throws a shadow.", fake=False).solid is right
    for colour, right in (("white", True), ("blue", True), ("green", False)):
        assert checked("semantics", True, f"The {colour} box is stuck in the red ball.").solid is right
    assert checked("semantics", True, "The white ball floats.").solid is False


def test_the_side_of_the_light_is_the_captions_and_shadows_fall_to_the_other():
    assert checked("lighting", False, "Every shadow points to the right.", fake=False).side is True
    assert checked("lighting", False, "Every shadow points to the left.", fake=False).side is False
    assert checked("lighting", True, "The light is on the right.").side is False
    assert checked("lighting", True, "The shadow of the red ball falls to the right.").side is False
    assert checked("semantics", True, "The red ball leans to the right.").side is None


def test_a_place_is_right_only_as_a_whole():
    assert checked("quality", True, "Detail in the upper left is wiped.").place is True
    for place in ("left", "upper right", "lower left", "centre"):
        assert checked("quality", True, f"Detail in the {place} is wiped.").place is False


def test_a_claim_that_does_not_say_what_it_is_about_is_no_hallucination_but_not_grounded():
    vague = checked("quality", True, "Detail is wiped somewhere.")
    assert (vague.contradicted, vague.grounded) == (False, False)


def test_counts_of_a_text():
    text = (
        "The shadow of the red ball falls towards the light on the left. The picture is smeared in the centre. "
        "The surface of the red ball melts like wax."
    )
    found = ground(claims([text])[0], known())
    # Right: the shadow. Wrong: the place, and a texture that is not annotated. Missed: quality, semantics.
    assert found._asdict() == {
        "claims": 3, "contradicted": 2, "solids_right": 1, "solids": 1, "sides_right": 1, "sides": 1,
        "places_right": 0, "places": 1, "grounded": 1, "ungrounded": 2, "missed": 2,
    }  # fmt: skip
    assert ground([], known())._replace(missed=0) == (0,) * 11 and ground([], known()).missed == 3
