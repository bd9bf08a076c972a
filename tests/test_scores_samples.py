"""Results that a third party states beside its per-image scores, recomputed through a run folder.

dusy4/local-ai-image-detector-bounty at 8d82a74 (MIT); the files are read where they lie and are not part of this
repository.
"""

import json
from pathlib import Path

import pytest

from fdr_bench.scoring import score_run
from tests.runs import digest, write_lines

SAMPLES = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "scores_samples"
# The areas under the curve are the README's, by scikit-learn, to four digits.
STATED = {
    "aigibench-baseline-300-rows": 0.5818,
    "openfake-baseline-200-rows": 0.8309,
    "safe-openfake-200": 0.6014,
    "transforms-baseline-250": 0.6151,
}

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"{SAMPLES} with the stated results is missing")


def scores_of(name, folder, threshold):
    """Score one file as a run, each of its sources being a generator."""
    stated = json.loads((SAMPLES / f"{name}.json").read_bytes())
    labels, answers = [], []
    for number, row in enumerate(stated["rows"]):
        key = f"{number:04d} {row.get('path') or row['file']}"
        label = "fake" if row["truth"] else "real"
        labels.append({"id": key, "label": label, "generator": row.get("source"), "size": 1})
        answers.append({"id": key, "key": "k", "image": digest(key), "score": row["score"]})
    write_lines(folder / "datasets" / name / "samples.jsonl", labels)
    write_lines(folder / "model" / name / "predictions.jsonl", answers)
    plan = {"run": "stated", "models": {"model": {"threshold": threshold}}, "datasets": {name: {"fingerprint": "f"}}}
    (folder / "run.json").write_text(json.dumps(plan))
    return stated, {(score.slice, score.metric): score for score in score_run(folder, resamples=100)}


@pytest.mark.parametrize("name", [name for name in STATED if name != "safe-openfake-200"])
def test_stated_results_are_met_exactly(name, tmp_path):
    stated, scores = scores_of(name, tmp_path, 0.65)
    assert scores["all", "fake_acc"].value == pytest.approx(stated["tpr"], abs=1e-12)
    assert scores["all", "real_acc"].value == pytest.approx(stated["tnr"], abs=1e-12)
    assert scores["all", "balanced_acc"].value == pytest.approx(stated["balancedAccuracy"], abs=1e-12)
    assert round(scores["all", "auroc"].value, 4) == STATED[name]
    assert scores["all", "acc"].n == stated["images"] and scores["all", "acc"].n_missing == 0
    for source, result in stated["bySource"].items():
        score = scores[f"generator:{source}", "acc"]
        assert (score.value, score.n) == (pytest.approx(result["accuracy"], abs=1e-12), result["n"])


@pytest.mark.parametrize("name", [name for name in STATED if name != "safe-openfake-200"])
def test_a_source_of_one_class_has_no_ap_and_says_why(name, tmp_path):
    stated, scores = scores_of(name, tmp_path, 0.65)
    real = {row["source"] for row in stated["rows"] if not row["truth"]}
    for source, result in stated["bySource"].items():
        count = f"{result['n']} real, 0 fake" if source in real else f"0 real, {result['n']} fake"
        for metric in ("ap", "auroc", "eer", "tpr@fpr1", "balanced_acc"):
            score = scores[f"generator:{source}", metric]
            assert (score.value, score.interval) == (None, None)
            assert score.reason == f"one class only: {count}"
        absent = "fake" if source in real else "real"
        assert scores[f"generator:{source}", f"{absent}_acc"].reason == f"no {absent} images in this slice"


@pytest.mark.parametrize("reading", ["at0.5", "at0.65", "bestInSample"])
def test_a_detector_can_rank_well_and_find_nothing(reading, tmp_path):
    threshold = json.loads((SAMPLES / "safe-openfake-200.json").read_bytes())[reading]["threshold"]
    stated, scores = scores_of("safe-openfake-200", tmp_path, threshold)
    # The best threshold in the file is one of its scores, and counts what lies at it as fake; ours only what is above.
    slack = 0.011 if reading == "bestInSample" else 1e-12
    assert scores["all", "fake_acc"].value == pytest.approx(stated[reading]["tpr"], abs=slack)
    assert scores["all", "real_acc"].value == pytest.approx(stated[reading]["tnr"], abs=1e-12)
    assert round(scores["all", "auroc"].value, 4) == STATED["safe-openfake-200"]
    assert scores["all", "ap"].interval is not None
