"""Reasoning metrics of a run folder: values against naive twins, both readings, slices, and what stands beside them."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from fdr_bench.errors import RunError, WeightsError
from fdr_bench.metrics import METRICS
from fdr_bench.metrics.blind import TEXT_BASELINES
from fdr_bench.metrics.claims import annotated, claims
from fdr_bench.metrics.grounding import ground, truth
from fdr_bench.metrics.reasoning import bleu1_scores, css_scores, rouge_l_scores
from fdr_bench.metrics.text_metrics import TEXT_METRICS
from fdr_bench.scoring import score_run
from tests.runs import GENERATORS, make_run, read_lines, write_lines
from tests.scene_texts import MODEL, SET, StubEncoder, make_reasoning_run

OVERLAP = ("bleu1@nltk-split", "rougeL@stem", "css@minilm-l6")
ATTRIBUTES = tuple(f"attribute_{kind}@phrase+minilm-l6" for kind in ("precision", "recall", "f1"))


@pytest.fixture(autouse=True)
def stub_encoder(monkeypatch):
    encoder = StubEncoder()
    monkeypatch.setattr("fdr_bench.metrics.sentences.minilm", lambda: encoder)
    return encoder


def found(scores, part="all", model=MODEL):
    return {score.metric: score for score in scores if (score.slice, score.model) == (part, model)}


def mixed(number, told):
    """Every seventh text is missing, every eleventh has no answer beside it, every fifth tells of the next image."""
    if number % 7 == 0:
        return {"reasoning": None}
    if number % 11 == 0:
        return {"reasoning": told.retold, "score": None, "verdict": None}
    return {"reasoning": "The light is odd. " + told.retold if number % 5 == 0 else told.retold}


def usable(n):
    return np.array([number % 7 != 0 and number % 11 != 0 for number in range(n)])


def texts(told):
    return [mixed(number, each)["reasoning"] or "" for number, each in enumerate(told)]


def test_overlap_is_the_mean_over_samples_in_both_readings_on_every_slice(tmp_path):
    run, told = make_reasoning_run(tmp_path / "run", 120, say=mixed)
    scores = score_run(run, resamples=10)
    samples = read_lines(run / "datasets" / SET / "samples.jsonl")
    references = [each.reference for each in told]
    each = dict(zip(OVERLAP, (bleu1_scores(references, texts(told)), rouge_l_scores(references, texts(told)),
                              css_scores(references, texts(told), StubEncoder())), strict=True))  # fmt: skip
    for part in ("all", *(f"generator:{name}" for name in GENERATORS)):
        inside = np.array([part == "all" or row["generator"] in (None, part[10:]) for row in samples])
        kept = inside & usable(120)
        these = found(scores, part)
        for name, values in each.items():
            assert these[name].value == pytest.approx(values[kept].mean())
            assert these[f"{name}@strict"].value == pytest.approx(np.where(usable(120), values, 0.0)[inside].mean())
            assert (these[name].n, these[name].n_missing) == (kept.sum(), (inside & ~kept).sum())
            assert (these[f"{name}@strict"].n, these[f"{name}@strict"].n_missing) == (
                inside.sum(),
                (inside & ~kept).sum(),
            )
        assert these["reasoning_failure_rate"].value == pytest.approx((inside & ~kept).sum() / inside.sum())
    macro, ones = found(scores, "macro"), [found(scores, f"generator:{name}") for name in GENERATORS]
    for name in TEXT_METRICS:
        assert macro[name].value == pytest.approx(np.mean([one[name].value for one in ones]))


def test_attributes_are_counted_over_all_samples_together(tmp_path):
    run, told = make_reasoning_run(tmp_path / "run", 80, say=mixed)
    these = found(score_run(run, resamples=0))
    right = said = true = true_of_all = 0
    for number, (each, text) in enumerate(zip(told, texts(told), strict=True)):
        known, claimed = (
            set(annotated(each.attributes)),
            {claim.attribute for claim in claims([text], StubEncoder())[0]},
        )
        true_of_all += len(known)
        if usable(80)[number]:
            right, said, true = right + len(known & claimed), said + len(claimed), true + len(known)
    values = [these[name].value for name in (*ATTRIBUTES, f"{ATTRIBUTES[2]}@strict")]
    assert values == pytest.approx(
        [right / said, right / true, 2 * right / (said + true), 2 * right / (said + true_of_all)]
    )
    assert said > right  # the odd light was counted


def test_grounding_is_counted_over_all_claims_together(tmp_path):
    run, told = make_reasoning_run(tmp_path / "run", 80, say=mixed)
    these = found(score_run(run, resamples=0))
    sums = np.zeros(11)
    for number, (each, text) in enumerate(zip(told, texts(told), strict=True)):
        scene = truth(each.attributes, each.caption, fake=each.fake)
        if usable(80)[number]:
            sums += np.array(ground(claims([text])[0], scene))
    stated, against, solid, solids, side, sides, place, places, grounded, without, missed = sums
    assert these["solid_grounding@scenes"].value == pytest.approx(solid / solids)
    assert these["side_grounding@scenes"].value == pytest.approx(side / sides)
    assert these["place_grounding@scenes"].value == pytest.approx(place / places)
    assert these["hallucination@scenes"].value == pytest.approx(against / stated)
    assert these["grounded_f1@scenes"].value == pytest.approx(2 * grounded / (2 * grounded + without + missed))


def test_a_text_agrees_with_a_verdict_where_it_leans_the_same_way(tmp_path):
    said = ["The light is inconsistent.", "The edges are clean.", "The light is inconsistent. The edges are clean.", ""]
    run, _ = make_reasoning_run(
        tmp_path / "run", 40, say=lambda number, told: {"reasoning": said[number % 4], "verdict": "fake", "score": None}
    )
    these = found(score_run(run, resamples=0))
    # One text in four leans to fake as called, one to real, one to both alike, one says nothing: 1 of 2.
    assert these["verdict_agreement"].value == 0.5


def test_texts_that_no_image_went_into_stand_beside_the_models(tmp_path):
    run, told = make_reasoning_run(tmp_path / "run", 120)
    scores = score_run(run, resamples=20)
    assert {score.model for score in scores} == {MODEL, *TEXT_BASELINES}
    references = [each.reference for each in told]
    longer = sorted(len(text.split()) for text in references)
    these = found(scores, model="blind:length-matched")
    assert these["bleu1@nltk-split"].n == 120 and longer[0] < longer[-1]
    assert found(scores, model="ceiling:layout")[ATTRIBUTES[2]].value == pytest.approx(1.0)
    assert found(scores, model="ceiling:layout")["hallucination@scenes"].value == 0.0
    constant = [
        bleu1_scores(references, [one] * 120).mean() for one in references
    ]  # the baseline is one of these, near the top
    value = found(scores, model="blind:constant")["bleu1@nltk-split"].value
    assert any(value == pytest.approx(other) for other in constant) and value > np.median(constant)
    mine = found(scores)
    for name in OVERLAP:
        blind = max(
            found(scores, model=f"blind:{each}")[name].value for each in ("constant", "shuffled", "length-matched")
        )
        assert mine[f"{name}@above-blind"].value == pytest.approx(mine[name].value - blind)
        assert mine[f"{name}@above-blind"].interval is not None
    assert "acc" not in found(scores, model="blind:shuffled")


def test_a_text_of_another_image_is_not_above_the_blind_ones(tmp_path):
    kept = []

    def previous(number, told):
        kept.append(told.reference)
        return {"reasoning": kept[number - 1] if number else told.reference}

    run, _ = make_reasoning_run(tmp_path / "run", 120, say=previous)
    these = found(score_run(run, resamples=200))
    assert these["rougeL@stem@above-blind"].interval.low < 0.03


def test_intervals_hold_their_values_and_do_not_depend_on_threads_or_other_models(tmp_path):
    run, _ = make_reasoning_run(tmp_path / "run", 80, say=mixed)
    first = score_run(run, resamples=50, threads=1)
    assert score_run(run, resamples=50, threads=2) == first
    beside, _ = make_reasoning_run(tmp_path / "beside", 80, say=mixed, models=(MODEL, "npr@scenes"))
    assert found(score_run(beside, resamples=50)) == found(first)
    for score in found(first).values():
        if score.metric in TEXT_METRICS and score.value is not None:
            assert score.interval is not None, score
            assert score.interval.low - 1e-9 <= score.value <= score.interval.high + 1e-9, score


def test_where_verdicts_are_stated_a_text_without_one_is_a_failure_whatever_its_score(tmp_path):
    def state(number, told):
        return {"reasoning": told.retold, "verdict": None if number % 4 == 0 else "fake"}

    run, _ = make_reasoning_run(tmp_path / "run", 40, say=state, reasons=(MODEL,))
    these = found(score_run(run, resamples=0))
    assert (these["bleu1@nltk-split"].n, these["bleu1@nltk-split"].n_missing) == (30, 10)
    assert these["reasoning_failure_rate"].value == these["failure_rate"].value == 0.25


def test_a_model_without_reasoning_beside_one_has_no_reasoning_scores(tmp_path):
    run, _ = make_reasoning_run(tmp_path / "run", 40, models=(MODEL, "npr@scenes"))
    scores = score_run(run, resamples=0)
    assert set(found(scores, model="npr@scenes")) == set(METRICS)
    assert set(found(scores)) == {*METRICS, *TEXT_METRICS}


def test_a_model_that_says_it_reasons_and_never_does_scores_0_strictly(tmp_path):
    run = make_run(tmp_path / "run", 40, (MODEL,), failures=0.0, reasons=(MODEL,))
    these = found(score_run(run, resamples=0))
    # The fakes of that run have references, its 20 reals none.
    assert (these["bleu1@nltk-split@strict"].value, these["bleu1@nltk-split@strict"].n) == (0.0, 20)
    assert these["bleu1@nltk-split"].reason == "no usable reasoning: none of 20 images has a text and an answer"
    assert these["reasoning_failure_rate"].value == 1.0
    assert these["hallucination@scenes"].reason.startswith("the set gives no captions of scenes")


def test_a_set_without_references_leaves_only_what_needs_none(tmp_path):
    run, _ = make_reasoning_run(tmp_path / "run", 40)
    path = run / "datasets" / SET / "samples.jsonl"
    write_lines(path, [{key: row[key] for key in ("id", "label", "generator")} for row in read_lines(path)])
    scores = score_run(run, resamples=10)
    these = found(scores)
    assert {score.model for score in scores} == {MODEL}
    assert {name for name in TEXT_METRICS if these[name].value is not None} == {
        "verdict_agreement", "reasoning_failure_rate",
    }  # fmt: skip
    assert these["bleu1@nltk-split"].reason == "the set gives no reference reasoning here"


def test_an_unfinished_run_counts_what_it_lacks_as_missing(tmp_path):
    run, _ = make_reasoning_run(tmp_path / "run", 40, finished=False)
    these = found(score_run(run, resamples=10))
    # The first half of the rows are there: the reals.
    assert (these["bleu1@nltk-split@strict"].n, these["bleu1@nltk-split@strict"].n_missing) == (20, 20)
    assert these["reasoning_failure_rate"].value == 0.0


def test_without_the_encoder_only_what_needs_it_is_undefined(tmp_path, monkeypatch):
    def missing():
        raise WeightsError("the sentence encoder is missing")

    monkeypatch.setattr("fdr_bench.metrics.sentences.minilm", missing)
    run, _ = make_reasoning_run(tmp_path / "run", 40)
    these = found(score_run(run, resamples=10))
    for name, metric in TEXT_METRICS.items():
        assert (these[name].reason == "the sentence encoder is missing") == metric.encoder, name
        assert (these[name].value is None) == metric.encoder, name


def test_each_distinct_text_is_embedded_once(tmp_path, stub_encoder):
    run, told = make_reasoning_run(tmp_path / "run", 60)
    score_run(run, resamples=0)
    for scene in told:
        assert stub_encoder.seen.count(scene.reference) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reasoning": 3}, "line 2: reasoning is 3, not a text"),
        ({"caption": ["a"]}, "line 2: caption is"),
        ({"attributes": "texture"}, "line 2: attributes is 'texture', not an object of texts"),
        ({"attributes": {"texture": 1}}, "line 2: attributes is"),
    ],
)
def test_a_reference_that_is_none_is_refused_by_file_and_line(tmp_path, change, message):
    run, _ = make_reasoning_run(tmp_path / "run", 20)
    path = run / "datasets" / SET / "samples.jsonl"
    rows = read_lines(path)
    write_lines(path, [rows[0], rows[1] | change, *rows[2:]])
    with pytest.raises(RunError, match=message):
        score_run(run, resamples=0)


def test_a_reasoning_that_is_no_text_is_refused_by_file_and_line(tmp_path):
    run, _ = make_reasoning_run(tmp_path / "run", 20, say=lambda number, told: {"reasoning": number or "fine"})
    with pytest.raises(RunError, match=r"predictions.jsonl, line 2: reasoning is 1, not a text"):
        score_run(run, resamples=0)


def test_scores_are_written_as_they_are_returned(tmp_path):
    run, _ = make_reasoning_run(tmp_path / "run", 40, say=mixed)
    scores = score_run(run, resamples=10)
    written = json.loads((run / "scores.json").read_bytes())["scores"]
    assert [(row["model"], row["metric"], row["value"]) for row in written] == [
        (score.model, score.metric, score.value) for score in scores
    ]


def test_a_run_without_reasoning_imports_no_text_library(tmp_path):
    run = make_run(tmp_path / "run", 20, (MODEL,))
    program = (
        f"import sys, pathlib; from fdr_bench.scoring import score_run; score_run(pathlib.Path({str(run)!r}))\n"
        "heavy = ('nltk', 'rapidfuzz', 'torch', 'transformers', 'tokenizers', 'fdr_bench.scored_texts')\n"
        "print(*(name for name in heavy if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
