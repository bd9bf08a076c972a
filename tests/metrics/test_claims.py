"""Which attribute a sentence claims: all of FDR-Scenes' grammar, MMFR's printed annotations, and awkward wordings."""

from __future__ import annotations

import numpy as np
import pytest

from fdr_bench.data.scenes.language import AUTHENTICITY, FORGERY, expand
from fdr_bench.data.scenes.phrases import AUTHENTIC, FORGED, TEXTURES
from fdr_bench.data.scenes.violations import KINDS
from fdr_bench.metrics.claims import ATTRIBUTES, Attribute, annotated, by_phrase, claims, staged_sentences
from tests.scene_texts import StubEncoder, scene_text

NAMES = ("red ball", "small blue drum", "glossy pink cone", "matte grey conical solid", "grainy green block")
ATTRIBUTE_OF = {kind: attribute for attribute, kinds in KINDS.items() for kind in kinds}
TEMPLATES = [
    *((ATTRIBUTE_OF[kind], template) for kind, templates in FORGED.items() for template in templates),
    *((attribute, template) for attribute, templates in AUTHENTIC.items() for template in templates),
]


def said(random, template):
    sides = ("left", "right") if random.random() < 0.5 else ("right", "left")
    first, second, place = (str(random.choice(words)) for words in (NAMES, NAMES, ("upper left", "centre", "right")))
    slots = {"name": first, "other": second, "side": sides[0], "away": sides[1], "place": place, "first": "red"}
    texture = TEXTURES[str(random.choice(list(TEXTURES)))]
    return expand(template, random, slots | {"second": "blue", "ground": "sandy ground", "texture": texture})


def only(text, encoder=None):
    """The attribute of a text's only claim, None where it claims nothing."""
    found = claims([text], encoder)[0]
    assert len(found) <= 1
    return found[0].attribute if found else None


def test_the_ten_attributes_are_those_of_the_scenes():
    assert {name for name, each in ATTRIBUTES.items() if each.forged} == set(FORGERY)
    assert {name for name, each in ATTRIBUTES.items() if not each.forged} == set(AUTHENTICITY)
    assert len(set(ATTRIBUTES.values())) == 10


@pytest.mark.parametrize(("attribute", "template"), TEMPLATES)
def test_every_sentence_of_the_scenes_grammar_is_placed_with_and_without_its_heading(attribute, template):
    random = np.random.default_rng(0)
    for _ in range(8):
        sentence = said(random, template)
        level = "high-level" if attribute.startswith("Semantic") else "low-level"
        assert by_phrase(sentence) == ATTRIBUTES[attribute], sentence
        assert by_phrase(sentence, level) == ATTRIBUTES[attribute], sentence


def test_a_retold_reference_claims_its_attributes_and_nothing_else():
    random = np.random.default_rng(1)
    for number in range(60):
        told = scene_text(random, number % 2 == 0)
        assert {claim.attribute for claim in claims([told.retold])[0]} == set(annotated(told.attributes)), told.retold


# From MMFR's printed annotations and FakeReasoning's printed answers (figures and project page).
@pytest.mark.parametrize(
    ("sentence", "attribute"),
    [
        (
            "The lighting on the face does not match the lighting on the background.",
            "Inconsistent Lighting and Shadows",
        ),
        ("The skin has a computer-generated texture rather than a realistic one.", "Anomalous Image Texture"),
        ("A fish is floating in the air next to a street lamp, which is unrealistic.", "Semantic Irrationality"),
        ("The lighting falls naturally across the scene, with appropriate shadows.", "Consistent Lighting and Shadows"),
        ("The edges of the subjects are smooth, with no unnatural transitions.", "Smooth and Natural Image Edges"),
        (
            "The image quality is high, with clear details and no signs of distortion or artifacts.",
            "High Image Quality",
        ),
        ("The texture of clothing appears consistent and realistic.", "Natural and Consistent Image Texture"),
        ("The individuals are posed naturally, a common and logical scene.", "Semantic Rationality"),
        ("The boundaries between the fields and the trees are unclear.", "Irregular Image Edges"),
        ("Parts of the picture are blurred and lack detail.", "Low Image Quality"),
    ],
)
def test_sentences_as_annotators_and_models_write_them_are_placed(sentence, attribute):
    assert by_phrase(sentence) == ATTRIBUTES[attribute]


@pytest.mark.parametrize(
    ("sentence", "forged"),
    [
        ("The texture is not natural.", True),
        ("The texture shows no artificial repetition.", False),
        ("The texture lacks realistic variation.", True),
        ("The edges are smooth, without any noticeable artifacts.", False),
        ("No edge is jagged or doubled.", False),
    ],
)
def test_a_negated_fault_is_praise_and_negated_praise_a_fault(sentence, forged):
    found = by_phrase(sentence)
    assert found is not None and found.forged is forged


@pytest.mark.parametrize(
    "text",
    ["", "  ", "Therefore, this image is fake.", "This image is real.",
     "Nothing stands out in light, edges or texture.",
     "What is shown adds nothing to this.", "The arrangement gives no further evidence.", "A dog sits on a beach."],
)  # fmt: skip
def test_a_verdict_or_a_filler_claims_nothing(text):
    assert claims([text]) == [[]]


def test_sentences_stand_under_the_heading_before_them():
    text = "First. From low-level perspective: The light is odd! Is it?\nFrom a high level perspective, all is well."
    assert staged_sentences(text) == [
        ("First.", None), ("The light is odd!", "low-level"), ("Is it?", "low-level"), ("all is well.", "high-level"),
    ]  # fmt: skip


def test_the_heading_decides_between_the_levels():
    sentence = "The light on the scene makes no sense."
    assert by_phrase(sentence, "high-level") == Attribute("semantics", True)
    assert by_phrase(sentence, "low-level") == Attribute("lighting", True)


def test_a_sentence_without_key_phrases_goes_to_the_nearest_description():
    # All its words but one are those of "The contour melts into the background."
    sentence = "The rim melts into the background."
    assert only("Colourless ideas sleep.", StubEncoder()) is None
    assert only("Contour this into the background.", StubEncoder()) == Attribute("edges", True)
    assert only(sentence, StubEncoder()) == Attribute("edges", True)


def test_the_encoder_sees_only_what_key_phrases_leave_open():
    encoder = StubEncoder()
    claims(["The texture looks unnatural. Colourless green ideas.", "Therefore, this image is fake."], encoder)
    assert "Colourless green ideas." in encoder.seen
    assert not any("unnatural" in text or "Therefore" in text for text in encoder.seen)


def test_annotations_of_other_names_are_left_out():
    assert annotated({"Low Image Quality": "Blurred.", "Irregular Image Edges": None, "Other": "Odd."}) == {
        Attribute("quality", True): "Blurred."
    }
    assert annotated(None) == {}
