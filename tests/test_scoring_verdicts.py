"""A model that by its card states verdicts is judged by these; a score without one counts among the scores alone."""

import json

import numpy as np
import pytest

from fdr_bench.scoring import score_run
from fdr_bench.store import read_scores
from fdr_bench.terminal import result_tables
from tests.runs import GENERATORS, make_run, read_lines, write_lines

SET = "fdr-scenes-test"
MODEL = "reasoner"
VERDICTS = ("acc", "acc@strict", "real_acc", "fake_acc", "balanced_acc")


def run_saying(root, n, say, *, reasons=(MODEL,), models=(MODEL,)):
    """A run whose first model's rows get what `say(number)` gives. Samples stand reals first."""
    run = make_run(root, n, models, generators=GENERATORS[:1], failures=0.0, reasons=reasons)
    path = run / MODEL / SET / "predictions.jsonl"
    write_lines(path, [row | say(number) for number, row in enumerate(read_lines(path))])
    return run


def one_answered_one_forced(number):
    stated = {"verdict": "real", "score": 0.2, "score_source": "cpm"}
    return {"verdict": None, "score": 0.9, "score_source": "cpm-forced"} if number else stated


def found(scores, part="all", model=MODEL):
    return {score.metric: score for score in scores if (score.slice, score.model) == (part, model)}


def test_a_forced_score_is_a_failure_for_verdicts_and_a_score_for_the_rest(tmp_path):
    run = run_saying(tmp_path / "run", 2, one_answered_one_forced)
    for part in ("all", f"generator:{GENERATORS[0]}"):
        these = found(score_run(run, resamples=20), part)
        # The real image is called real. The fake one has no verdict, and 0.9 read behind an appended conclusion.
        expected = {"acc": 1.0, "acc@strict": 0.5, "real_acc": 1.0, "fake_acc": None, "balanced_acc": None}
        # Scores 0.2 and 0.9 rank rightly; (0.2² + 0.1²) / 2 = 0.025; both bins' gaps: (0.2 + 0.1) / 2 = 0.15.
        expected |= {"ap": 1.0, "auroc": 1.0, "eer": 0.0, "brier": 0.025, "ece": 0.15}
        expected |= {"failure_rate": 0.5, "forced_score_rate": 0.5}
        assert {name: these[name].value for name in expected} == pytest.approx(expected)
        assert (these["acc"].n, these["acc"].n_missing, these["acc@strict"].n) == (1, 1, 2)
        assert (these["ap"].n, these["ap"].n_missing, these["forced_score_rate"].n) == (2, 0, 2)
        assert these["fake_acc"].reason == "no verdicts: the model stated none on 1 fake images"
        assert these["balanced_acc"].reason == "one class only among the answered images: 1 real, 0 fake"


def test_a_model_that_never_states_a_verdict_is_not_judged_by_its_scores(tmp_path):
    run = run_saying(tmp_path / "run", 12, lambda number: {"score_source": "cpm-forced"})
    these = found(score_run(run, resamples=20))
    assert (these["failure_rate"].value, these["forced_score_rate"].value, these["acc@strict"].value) == (1.0, 1.0, 0.0)
    assert {name: these[name].value for name in VERDICTS if name != "acc@strict"} == dict.fromkeys(
        ("acc", "real_acc", "fake_acc", "balanced_acc")
    )
    assert these["acc"].reason == "no verdicts: the model stated none on 12 images"
    assert (these["acc"].n, these["acc"].n_missing, these["ap"].n) == (0, 12, 12)
    for name in ("ap", "auroc", "eer", "brier", "ece", "tpr@fpr1", "tpr@fpr5"):
        assert these[name].value is not None and these[name].interval is not None
    # All 12 alike: (0.05 / 2) ^ (1 / 12).
    assert these["forced_score_rate"].interval[:2] == pytest.approx((0.025 ** (1 / 12), 1.0))


def test_a_model_whose_card_says_nothing_of_verdicts_is_judged_by_its_score_where_it_states_none(tmp_path):
    run = run_saying(tmp_path / "run", 2, one_answered_one_forced, reasons=())
    these = found(score_run(run, resamples=0))
    assert (these["acc"].value, these["acc"].n, these["failure_rate"].value) == (1.0, 2, 0.0)
    assert these["forced_score_rate"].value == 0.5


def test_verdicts_follow_the_images_when_they_are_drawn_again(tmp_path):
    """60 images, every third without a verdict: the interval is that of the accuracy of the 40 others."""
    run = run_saying(tmp_path / "run", 60, lambda n: {"verdict": None if n % 3 == 0 else "real" if n % 4 else "fake"})
    these = found(score_run(run, resamples=200))
    samples = read_lines(run / "datasets" / SET / "samples.jsonl")
    right = [(row["label"] == "real") == bool(n % 4) for n, row in enumerate(samples) if n % 3]
    assert (these["acc"].value, these["acc"].n) == (pytest.approx(np.mean(right)), 40)
    assert these["acc@strict"].value == pytest.approx(sum(right) / 60)
    assert these["failure_rate"].value == pytest.approx(1 / 3)
    low, high = these["acc"].interval[:2]
    assert low < np.mean(right) < high and high - low == pytest.approx(4 * 0.5 / 40**0.5, rel=0.3)
    assert these["failure_rate"].interval.low < 1 / 3 < these["failure_rate"].interval.high


def test_a_score_that_an_error_row_holds_is_no_forced_one(tmp_path):
    run = run_saying(tmp_path / "run", 4, lambda n: {"score_source": "cpm-forced", **({"error": "cut"} if n else {})})
    these = found(score_run(run, resamples=0))
    assert (these["forced_score_rate"].value, these["forced_score_rate"].n) == (1.0, 1)


def test_the_table_of_a_run_shows_forced_scores_where_there_are_any_and_only_there(tmp_path):
    def table(run):
        score_run(run, resamples=0)
        (_, columns, rows), *_ = result_tables(json.loads((run / "run.json").read_bytes()), read_scores(run))
        return [dict(zip(columns, row, strict=True)) for row in rows]

    forced = table(run_saying(tmp_path / "one", 2, one_answered_one_forced, models=(MODEL, "npr@scenes")))
    assert {row["model"]: (row["forced %"], row["failed"], row["n"]) for row in forced} == {
        MODEL: ("50.0", "1", "1"),
        "npr@scenes": ("0.0", "0", "2"),
    }
    unforced = table(run_saying(tmp_path / "two", 2, lambda number: {"verdict": "fake"}))
    assert "forced %" not in unforced[0]
