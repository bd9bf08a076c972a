"""Every case of the figures that the official evaluation gave (PRIS-CV/FakeReasoning at c1aec51)."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from fdr_bench.data.mmfr import join_attributes
from fdr_bench.metrics.detection import accuracy, fake_accuracy, real_accuracy
from fdr_bench.metrics.reasoning import bleu1_scores, official_answer, rouge_l_scores

GOLDENS = Path(__file__).parents[1] / "goldens"
FOLDERS = [GOLDENS, *(Path(name) for name in [os.environ.get("FDR_BENCH_GOLDENS")] if name)]
PLACES = [path for folder in FOLDERS if (path := folder / "fakereasoning_metrics.json").is_file()]
FIGURES = [json.loads(path.read_text()) for path in PLACES]
REAL_FAKE_ALL = (real_accuracy, fake_accuracy, accuracy)

pytestmark = pytest.mark.goldens


def cases(section):
    return [pytest.param(figures, case, id=case["name"]) for figures in FIGURES for case in figures[section]]


def number(value):
    """A figure; None where the official code gave nan."""
    return None if value == "nan" else value


def mean(values):
    return float(np.mean(values)) if len(values) else None


def defined(value):
    return None if value is None or math.isnan(value) else value


@pytest.mark.parametrize(("figures", "case"), cases("pairs"))
def test_a_pair_of_texts(figures, case):
    texts = [case["reference"]], [case["hypothesis"]]
    assert bleu1_scores(*texts)[0] == pytest.approx(case["bleu1"]["value"], abs=1e-9)
    assert rouge_l_scores(*texts)[0] == pytest.approx(case["rouge_l"]["value"], abs=1e-9)


@pytest.mark.parametrize(("figures", "case"), cases("parse"))
def test_reading_an_answer(figures, case):
    answer = official_answer(case["output"])
    assert (answer is not None) == case["parsed"]
    if answer is not None:
        assert (int(answer.fake), answer.reasoning) == (case["prediction"], case["reasoning"])
        texts = [case["ground_truth"]], [answer.reasoning]
        assert bleu1_scores(*texts)[0] == pytest.approx(case["bleu1"], abs=1e-9)
        assert rouge_l_scores(*texts)[0] == pytest.approx(case["rouge_l"], abs=1e-9)


@pytest.mark.parametrize(("figures", "case"), cases("accuracy"))
def test_accuracies_from_scores(figures, case):
    """Where the official one gives nan or raises there is no number here either."""
    labels, scores = np.array(case["labels"]), np.array([np.nan if s == "nan" else s for s in case["scores"]], float)
    if case["name"] == "label_two":
        return  # a label is real or fake: a third one cannot be recorded here
    fake, called = labels == 1, scores > case["threshold"]
    if "exception" in case["result"]:
        with pytest.raises((IndexError, ValueError)):
            accuracy(fake, called)
        return
    ours = [defined(function(fake, called)) for function in REAL_FAKE_ALL]
    assert ours == pytest.approx([number(value) for value in case["result"]["value"]], abs=1e-9)


@pytest.mark.parametrize(("figures", "case"), cases("validate_runs"))
def test_a_whole_evaluation(figures, case):
    """The official reading: unreadable answers leave every mean, and their share is the last number."""
    known = {each["name"]: each for each in figures["parse"]}
    items = [known[name] for name in case["items"]]
    answers = [official_answer(each["output"]) for each in items]
    read = [(each, answer) for each, answer in zip(items, answers, strict=True) if answer is not None]
    fake = np.array([each["label"] == 1 for each, _ in read], dtype=bool)
    called = np.array([answer.fake for _, answer in read], dtype=bool)
    texts = [each["ground_truth"] for each, _ in read], [answer.reasoning for _, answer in read]
    ours = [
        *(defined(function(fake, called)) for function in REAL_FAKE_ALL),
        mean(bleu1_scores(*texts)),
        mean(rouge_l_scores(*texts)),
        mean([len(text.split()) / 100 for text in texts[1]]),  # the fixture's stand-in for CLIP's similarity
        1 - len(read) / len(items) if items else None,
    ]
    if "exception" in case["result"]:  # an empty loader divides by zero
        assert ours == [None] * 7
        return
    expected = [number(value) for value in case["result"]["value"]]
    assert [value is None for value in ours] == [value is None for value in expected]
    assert [v for v in ours if v is not None] == pytest.approx([v for v in expected if v is not None], abs=1e-9)


@pytest.mark.parametrize(("figures", "case"), cases("dataset"))
def test_the_reference_is_the_sentences_in_sorted_order(figures, case):
    if "exception" in case["result"]:
        return  # how images are chosen and paired is the data reader's; see tests/data/test_mmfr.py
    texts = {Path(path).parts[-2:]: text for path, text, _ in case["result"]["value"]}
    for name, attributes in case["json"].items():
        if Path(name).parts[-2:] in texts:
            # Where every sentence is absent the official text is empty; here there is none, and nothing to measure.
            assert (join_attributes(attributes) or "") == texts[Path(name).parts[-2:]]
