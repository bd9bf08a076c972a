"""Every case of the figures that the official evaluation gave (PRIS-CV/FakeReasoning at c1aec51)."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from fdr_bench.data import open_dataset
from fdr_bench.errors import DataError
from fdr_bench.metrics.detection import accuracy, fake_accuracy, real_accuracy
from fdr_bench.metrics.reasoning import bleu1_scores, official_answer, rouge_l_scores
from tests.data.test_parquet import write
from tests.data.trees import grow
from tests.goldens import folders

PLACES = [path for folder in folders() if (path := folder / "fakereasoning_metrics.json").is_file()]
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
def test_accuracies_from_scores(figures, case, tmp_path):
    """Where the official one gives nan or raises there is no number here either."""
    labels, scores = np.array(case["labels"]), np.array([np.nan if s == "nan" else s for s in case["scores"]], float)
    if not set(labels) <= {0, 1}:  # the official one calls a third label wrong whatever its score; here there is none
        shard = write(tmp_path / "a.parquet", [int(label) for label in labels], names=("real", "fake"))
        with pytest.raises(DataError, match=f"has the label {max(labels)}, which is none of"):
            open_dataset(f"parquet:{shard}")
        return
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
def test_labels_and_references_of_an_annotated_set(figures, case, tmp_path):
    """The official one takes pairs of a real and a fake image; all are read here, and what it asserts is noted."""
    grow(tmp_path / "sets", case["json"])
    for name in {Path(path).parts[0] for path in case["json"]}:
        own = {path: attributes for path, attributes in case["json"].items() if Path(path).parts[0] == name}
        (tmp_path / "sets" / name / f"{name}_reasoning.json").write_text(json.dumps(own))
    dataset = open_dataset(f"mmfr:{tmp_path / 'sets'}")
    # Where every sentence is absent the official text is empty; here there is none, and nothing to measure.
    found = {sample.id: (sample.reasoning or "", sample.label) for sample in dataset.samples}
    assert found.keys() == case["json"].keys()
    if "exception" not in case["result"]:
        for path, text, label in case["result"]["value"]:
            # The folder in the path is that of the images, and the set's own name stands in the keys.
            (ours,) = (found[key] for key in found if Path(key).parts[-2:] == Path(path).parts[-2:])
            assert ours == (text, ("real", "fake")[label])
    elif case["result"]["exception"] == "AssertionError":
        assert any("the official evaluation wants equally many" in note for note in dataset.notes)
    else:  # a class folder without its number, such as real/, is a class here
        assert all(label == Path(path).parts[-2] for path, (_, label) in found.items())
