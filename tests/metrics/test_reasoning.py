"""BLEU-1, ROUGE-L and CSS against nltk and rouge-score on any text, and the official reading of an answer."""

from __future__ import annotations

import numpy as np
import pytest

from fdr_bench.metrics.blind import BLIND, blind_sources, in_layout
from fdr_bench.metrics.reasoning import bleu1_scores, css_scores, official_answer, rouge_l_scores
from tests.scene_texts import StubEncoder
from tests.speed.texts import by_libraries, measure, pairs

ODD = [
    "",
    "   ",
    "fake",
    "Fake.",
    "the the the cat",
    "Fur looks natural, its texture even.",
    "光影 不 一致",
    "naïve café",
]


def test_both_agree_with_the_libraries_on_every_pair_of_odd_texts():
    for reference in ODD:
        for hypothesis in ODD:
            ours = bleu1_scores([reference], [hypothesis])[0], rouge_l_scores([reference], [hypothesis])[0]
            assert ours == pytest.approx(by_libraries(reference, hypothesis), abs=1e-12), (reference, hypothesis)


def test_both_agree_with_the_libraries_on_long_texts():
    references, hypotheses = pairs(20)
    expected = np.array([by_libraries(r, h) for r, h in zip(references, hypotheses, strict=True)])
    assert bleu1_scores(references, hypotheses) == pytest.approx(expected[:, 0], abs=1e-12)
    assert rouge_l_scores(references, hypotheses) == pytest.approx(expected[:, 1], abs=1e-12)


def test_more_words_than_the_memory_for_stems_holds_change_nothing(monkeypatch):
    monkeypatch.setattr("fdr_bench.metrics.reasoning.REMEMBERED", 50)
    references, hypotheses = pairs(5, seed=1)
    expected = [by_libraries(r, h)[1] for r, h in zip(references, hypotheses, strict=True)]
    assert rouge_l_scores(references, hypotheses) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("scores", [bleu1_scores, rouge_l_scores, lambda r, h: css_scores(r, h, StubEncoder())])
def test_texts_that_do_not_pair_up_are_refused_and_no_text_gives_no_score(scores):
    with pytest.raises(ValueError, match=r"shorter|references"):
        scores(["one", "two"], ["one"])
    assert scores([], []).shape == (0,)


def test_css_is_the_cosine_of_the_embeddings_and_0_for_a_blank_text():
    # Of two words each one is common: (1, 1)·(1, 1) over √2·√2, half of it.
    scores = css_scores(["one two", "one two", "one", ""], ["one two", "one three", "  ", ""], StubEncoder())
    assert scores == pytest.approx([1.0, 0.5, 0.0, 0.0])


@pytest.mark.slow
def test_the_pair_is_thirty_times_as_fast_as_the_libraries():
    assert measure(4000, 100).ratio > 30


# ---------------------------------------------------------------- reading an answer


@pytest.mark.parametrize(
    ("conclusion", "fake"),
    [("This image is fake.", True), ("This image is real.", False), ("This image is real. This image is fake.", True)],
)
def test_the_official_reading_takes_the_sentence_letter_by_letter(conclusion, fake):
    answer = official_answer(f"<REASONING>\n why </REASONING> <CONCLUSION>{conclusion}</CONCLUSION>")
    assert answer == (fake, "why")


@pytest.mark.parametrize("conclusion", ["this image is fake.", "This image is fake", "This image is not real.", ""])
def test_the_official_reading_gives_other_conclusions_up(conclusion):
    assert official_answer(f"<REASONING>why</REASONING><CONCLUSION>{conclusion}</CONCLUSION>") is None


# ---------------------------------------------------------------- texts that no image went into

TEXTS = [f"word {'again ' * n}end{n}" for n in range(20)]
FAKE = np.arange(20) % 3 == 0


def test_nobody_is_given_its_own_reference_but_by_the_constant():
    sources = blind_sources(TEXTS, FAKE, seed=0)
    for name in ("blind:shuffled", "blind:length-matched", "blind:same-label"):
        assert (sources[name] != np.arange(20)).all() and (sources[name] >= 0).all(), name
    assert (FAKE[sources["blind:same-label"]] == FAKE).all()
    assert len(set(sources["blind:constant"].tolist())) == 1


def test_the_length_matched_text_is_the_next_longer_one():
    sources = blind_sources(TEXTS, FAKE, seed=0)["blind:length-matched"]
    assert sources.tolist() == [*range(1, 20), 18]


def test_the_constant_is_the_text_nearest_to_all():
    texts = ["a b c d", "a b x y", "c d z w", "a b c d e", "p q r s"]
    value = [
        np.mean([sum(by_libraries(other, text)) for k, other in enumerate(texts) if k != n])
        for n, text in enumerate(texts)
    ]
    assert blind_sources(texts, np.zeros(5, bool), seed=3)["blind:constant"][0] == int(np.argmax(value))


def test_the_draws_depend_on_the_seed_alone():
    first, again, other = (blind_sources(TEXTS, FAKE, seed=seed)["blind:shuffled"].tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_one_image_alone_has_no_other_text():
    sources = blind_sources(["only"], np.array([True]), seed=0)
    assert {name: int(found[0]) for name, found in sources.items() if name != "blind:constant"} == {
        "blind:shuffled": -1, "blind:length-matched": -1, "blind:same-label": -1,
    }  # fmt: skip
    assert all(len(found) == 0 for found in blind_sources([], np.zeros(0, bool), seed=0).values())
    assert set(BLIND) < set(sources)


def test_the_layout_puts_the_low_level_before_the_high_and_leaves_an_empty_one_out():
    attributes = {
        "Semantic Irrationality": "It floats.",
        "Low Image Quality": "It is blurred.",
        "Edges": None,
        "A": "Z.",
    }
    assert in_layout(attributes) == (
        "From low-level perspective: Z. It is blurred. From high-level perspective: It floats."
    )
    assert in_layout({"Semantic Rationality": "Fine."}) == "From high-level perspective: Fine."
    assert in_layout({"A": None}) == ""
