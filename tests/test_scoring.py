import json
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as reference

from fdr_bench.errors import RunError, UsageError
from fdr_bench.metrics import METRICS
from fdr_bench.metrics.detection import accuracy_at, best_threshold
from fdr_bench.scoring import score_run
from tests.runs import GENERATORS, make_run, read_lines, write_lines

SET = "fdr-scenes-test"
MODEL = "npr@scenes"


def found(scores, part="all", model=MODEL, dataset=SET):
    """The scores of one model and slice by metric."""
    return {
        score.metric: score for score in scores if (score.slice, score.model, score.dataset) == (part, model, dataset)
    }


def rows(run, model=MODEL):
    folder = run / model / SET
    return read_lines(run / "datasets" / SET / "samples.jsonl"), read_lines(folder / "predictions.jsonl")


def arrays(run):
    samples, predictions = rows(run)
    return np.array([s["label"] == "fake" for s in samples]), np.array([p["score"] for p in predictions])


def rewrite(run, change, model=MODEL):
    """Change the list of a model's prediction rows in place."""
    path = run / model / SET / "predictions.jsonl"
    predictions = read_lines(path)
    change(predictions)
    write_lines(path, predictions)


def test_every_number_agrees_with_scikit_learn(tmp_path):
    run = make_run(tmp_path / "run", 240, (MODEL,), failures=0.1)
    scores = score_run(run, resamples=20)
    samples, predictions = rows(run)
    for part in ("all", *(f"generator:{name}" for name in GENERATORS)):
        inside = [part == "all" or row["generator"] in (None, part.removeprefix("generator:")) for row in samples]
        chosen = [(s["label"] == "fake", p) for s, p, x in zip(samples, predictions, inside, strict=True) if x]
        fake = np.array([label for label, row in chosen if "score" in row])
        score = np.array([row["score"] for _, row in chosen if "score" in row])
        right = int(((score > 0.5) == fake).sum())
        expected = {
            "acc": right / len(fake),
            "acc@strict": right / len(chosen),
            "real_acc": reference.recall_score(~fake, score <= 0.5),
            "fake_acc": reference.recall_score(fake, score > 0.5),
            "balanced_acc": reference.balanced_accuracy_score(fake, score > 0.5),
            "ap": reference.average_precision_score(fake, score),
            "auroc": reference.roc_auc_score(fake, score),
            "brier": reference.brier_score_loss(fake, score),
            "failure_rate": 1 - len(fake) / len(chosen),
        }
        these = found(scores, part)
        assert {name: these[name].value for name in expected} == pytest.approx(expected)
        assert (these["ap"].n, these["ap"].n_missing) == (len(fake), len(chosen) - len(fake))
        assert (these["acc@strict"].n, these["acc@strict"].n_missing) == (len(chosen), len(chosen) - len(fake))
        assert these["real_acc"].n == (~fake).sum() and these["fake_acc"].n == fake.sum()
        for score_ in these.values():
            if score_.interval:
                assert score_.interval.low <= score_.interval.high


def test_the_macro_mean_is_that_of_the_generators(tmp_path):
    scores = score_run(make_run(tmp_path / "run", 120, (MODEL,)), resamples=50)
    macro, ones = found(scores, "macro"), [found(scores, f"generator:{name}") for name in GENERATORS]
    for name in set(METRICS) - {"acc@validation"}:
        assert macro[name].value == pytest.approx(np.mean([one[name].value for one in ones]))
        # A share that is 0 for all has no interval: a mean over generators is no share of independent images.
        assert (macro[name].interval is None) == (name == "forced_score_rate")
    assert macro["ap"].n == found(scores)["ap"].n  # shared reals count once


def test_scores_are_written_as_they_are_returned_and_come_out_the_same_again(tmp_path):
    run = make_run(tmp_path / "run", 80)
    scores = score_run(run, resamples=30, threads=1)
    first = (run / "scores.json").read_bytes()
    written = json.loads(first)
    assert {name: written[name] for name in ("schema", "run", "partial")} == {"schema": 1, "run": "run", "partial": []}
    assert written["settings"] == {"resamples": 30, "level": 0.95, "seed": 0, "validation": None}
    assert len(written["scores"]) == len(scores) == 5 * 6 * len(METRICS)
    for row, score in zip(written["scores"], scores, strict=True):
        interval = row["interval"] and (row["interval"]["low"], row["interval"]["high"])
        assert (row["value"], row["reason"], interval) == (
            score.value,
            score.reason,
            score.interval and score.interval[:2],
        )
        assert (score.value is None) == (score.reason is not None)
    score_run(run, resamples=30, threads=2)
    assert (run / "scores.json").read_bytes() == first
    assert [path.name for path in run.glob("scores*")] == ["scores.json"]


def test_a_models_intervals_do_not_depend_on_the_models_beside_it(tmp_path):
    alone = score_run(make_run(tmp_path / "one", 80, (MODEL,)), resamples=30)
    beside = score_run(make_run(tmp_path / "two", 80, ("cnndetection@scenes", MODEL)), resamples=30)
    assert found(alone) == found(beside)


def test_a_model_of_verdicts_has_accuracy_but_no_ap(tmp_path):
    run = make_run(tmp_path / "run", 120, (MODEL,), verdicts_only=(MODEL,), failures=0.1)
    these = found(score_run(run, resamples=20))
    samples, predictions = rows(run)
    stated = [(s["label"], p["verdict"]) for s, p in zip(samples, predictions, strict=True) if "verdict" in p]
    assert these["acc"].value == pytest.approx(np.mean([label == verdict for label, verdict in stated]))
    assert these["acc"].interval is not None
    assert these["ap"].value is None and these["ap"].reason == "no scores: the model states verdicts only"
    assert (these["ap"].n, these["ap"].n_missing) == (0, 120)


def test_a_stated_verdict_goes_before_the_score(tmp_path):
    run = make_run(tmp_path / "run", 40, (MODEL,), failures=0.0)

    def state(predictions):
        for row in predictions:
            row["verdict"] = "fake"

    rewrite(run, state)
    these = found(score_run(run, resamples=20))
    assert (these["real_acc"].value, these["fake_acc"].value) == (0.0, 1.0) and these["ap"].value is not None


def test_an_unparsed_answer_counts_as_missing_like_an_error(tmp_path):
    run = make_run(tmp_path / "run", 40, (MODEL,), failures=0.0)

    def lose(predictions):
        for name in ("score", "score_source"):
            predictions[0].pop(name)
        predictions[1] |= {"error": "it cannot be decoded"}

    rewrite(run, lose)
    these = found(score_run(run, resamples=0))
    assert (these["acc"].n, these["acc"].n_missing, these["failure_rate"].value) == (38, 2, 0.05)
    assert these["acc"].interval is None  # none was asked for


def test_the_threshold_is_that_of_the_models_card(tmp_path):
    run = make_run(tmp_path / "run", 200, (MODEL,), thresholds={MODEL: 0.8}, failures=0.0)
    fake, score = arrays(run)
    assert found(score_run(run, resamples=0))["acc"].value == reference.accuracy_score(fake, score > 0.8)


def test_an_unfinished_run_is_scored_as_far_as_it_got(tmp_path):
    run = make_run(tmp_path / "run", 80, ("cnndetection@scenes", MODEL), finished=False, failures=0.0)
    with (run / MODEL / SET / "predictions.jsonl").open("a") as lines:
        lines.write('{"id": "0_real/00')
    these = found(score_run(run, resamples=20))
    # The 40 reals stand before the fakes: all answered, none of the 40 fakes reached.
    assert (these["acc"].n, these["acc"].n_missing) == (40, 40)
    assert these["failure_rate"].value == 0.0 and these["acc@strict"].n == 40
    assert these["fake_acc"].reason == "not reached yet: the run has no rows of these fake images"
    assert these["ap"].reason == "one class only among the answered images: 40 real, 0 fake"
    partial = json.loads((run / "scores.json").read_bytes())["partial"]
    assert partial == [{"model": MODEL, "dataset": SET, "rows": 40, "samples": 80}]


def test_a_model_that_was_not_started_is_undefined(tmp_path):
    run = make_run(tmp_path / "run", 20, (MODEL,), finished=False)
    (run / MODEL / SET / "predictions.jsonl").unlink()
    these = found(score_run(run, resamples=20))
    assert {score.reason for score in these.values()} == {
        "not reached yet: the run has no rows of these images",
        "not reached yet: the run has no rows of these real images",
        "not reached yet: the run has no rows of these fake images",
    }


def test_a_skipped_model_has_no_scores(tmp_path):
    run = make_run(tmp_path / "run", 20, ("cnndetection@scenes", MODEL))
    manifest = json.loads((run / "run.json").read_bytes())
    manifest["skipped"] = [{"model": MODEL, "dataset": SET, "reason": "no weights"}]
    (run / "run.json").write_text(json.dumps(manifest))
    assert {score.model for score in score_run(run, resamples=0)} == {"cnndetection@scenes"}


def test_a_threshold_tuned_on_another_set_is_used(tmp_path):
    run = make_run(tmp_path / "run", 200, (MODEL,), failures=0.0, seed=1)
    validation = make_run(tmp_path / "validation", 200, (MODEL,), failures=0.0, seed=2)
    these = found(score_run(run, resamples=20, validation=validation))
    threshold = best_threshold(*arrays(validation))
    assert these["acc@validation"].value == pytest.approx(accuracy_at(*arrays(run), threshold))
    assert these["acc@validation"].interval is not None and these["acc@validation"].value != these["acc"].value


@pytest.mark.parametrize(
    ("validation", "reason"),
    [
        (None, "no validation run was given"),
        ({"seed": 1}, "the validation run holds no other set than the tested one"),
        ({"seed": 2, "models": ("univfd@scenes",)}, "the validation run has no model npr@scenes"),
        ({"seed": 2, "verdicts_only": (MODEL,)}, "the validation run has no scores of this model"),
    ],
)
def test_without_a_proper_validation_run_the_tuned_accuracy_is_undefined(tmp_path, validation, reason):
    run = make_run(tmp_path / "run", 40, (MODEL,), seed=1)
    other = None if validation is None else make_run(tmp_path / "other", 40, **({"models": (MODEL,)} | validation))
    these = found(score_run(run, resamples=0, validation=other))
    assert these["acc@validation"].value is None and these["acc@validation"].reason == reason


@pytest.mark.parametrize("settings", [{"resamples": -1}, {"level": 1.0}])
def test_impossible_settings_are_refused(tmp_path, settings):
    with pytest.raises(UsageError, match="expected"):
        score_run(make_run(tmp_path / "run", 20, (MODEL,)), **settings)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="is no run folder"):
        score_run(Path(tmp_path))
    (tmp_path / "run.json").write_text('{"models": {"a/b": {"threshold": 0.5}}, "datasets": {}}')
    with pytest.raises(RunError, match="'a/b' cannot be a model or dataset"):
        score_run(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunError, match="not the plan of a run"):
        score_run(tmp_path)


def test_a_perfect_accuracy_is_not_certain(tmp_path):
    run = make_run(tmp_path / "run", 40, ("constant",))
    these = found(score_run(run, resamples=20), model="constant")
    # All 20 reals are called real: (0.05 / 2) ^ (1 / 20) = 0.8316.
    assert these["real_acc"].interval[:2] == pytest.approx((0.8316, 1.0), abs=1e-4)
    assert these["real_acc"].interval.method == "exact binomial, 20 images alike"
    assert these["failure_rate"].interval[:2] == pytest.approx((0.0, 1 - 0.025 ** (1 / 40)))
    assert these["acc"].interval[:2] == (0.5, 0.5)  # the mixture is fixed and the answer constant
