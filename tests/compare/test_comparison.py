"""Two runs, or two models, image by image."""

import json
import shutil

import numpy as np
import pytest

from fdr_bench.cli import cli
from fdr_bench.compare.comparison import Side, compare
from fdr_bench.errors import ComparisonError
from fdr_bench.metrics.statistics import holm, paired_bootstrap
from fdr_bench.scored_slices import Settings
from fdr_bench.scoring import score_run
from tests.guarded_runs import DATASET, MODEL, changed, flipped, jittered, one_model
from tests.runs import make_run, read_lines, write_lines
from tests.scene_texts import StubEncoder, make_reasoning_run

QUICK = Settings(200, 0.95, 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return one_model(tmp_path_factory.mktemp("runs") / "a", n=240)


def row_of(compared, metric, slice="all"):
    (row,) = [row for row in compared.rows if (row.metric, row.slice) == (metric, slice)]
    return row


def test_flipped_samples_are_counted_and_named(run, tmp_path):
    other = changed(run, tmp_path / "b", flipped(9, 3))
    (found,) = compare(Side(run), Side(other), settings=QUICK)
    row = row_of(found, "acc")
    assert (row.only_first, row.only_second, row.n) == (9, 3, 240)
    assert row.difference == pytest.approx(-6 / 240)
    # binomial: 2 · (C(12,0) + C(12,1) + C(12,2) + C(12,3)) / 2^12 = 2 · 299 / 4096
    assert row.p_value == pytest.approx(598 / 4096)
    assert [flip.first_right for flip in found.flips].count(True) == 9 and len(found.flips) == 12
    before = {row["id"]: row["score"] for row in read_lines(run / MODEL / DATASET / "predictions.jsonl")}
    assert all(flip.first_score == before[flip.id] for flip in found.flips)
    assert all(flip.second_score == pytest.approx(1 - before[flip.id]) for flip in found.flips)


def test_values_are_those_of_scores_json_and_the_difference_is_b_less_a(run, tmp_path):
    other = changed(run, tmp_path / "b", jittered(1.0, 0))
    (found,) = compare(Side(run), Side(other), settings=QUICK)
    scores = [
        {(score.slice, score.metric): score.value for score in score_run(each, resamples=0)} for each in (run, other)
    ]
    compared = [row for row in found.rows if row.first is not None]
    assert {row.slice for row in compared} >= {"all", "macro", "generator:affine"}
    for row in compared:
        assert row.first == pytest.approx(scores[0][row.slice, row.metric], abs=1e-12)
        assert row.second == pytest.approx(scores[1][row.slice, row.metric], abs=1e-12)
        assert row.difference == row.second - row.first


@pytest.mark.parametrize("metric", ["ap", "auroc", "brier"])
def test_intervals_are_those_of_the_paired_bootstrap_on_the_same_draws(run, tmp_path, metric):
    other = changed(run, tmp_path / "b", jittered(1.0, 0))
    (found,) = compare(Side(run), Side(other), settings=QUICK)
    samples = read_lines(run / "datasets" / DATASET / "samples.jsonl")
    names = sorted({sample["generator"] for sample in samples if sample["generator"]})
    scores = [
        np.array([row["score"] for row in read_lines(each / MODEL / DATASET / "predictions.jsonl")])
        for each in (run, other)
    ]
    expected = paired_bootstrap(
        np.array([sample["label"] == "fake" for sample in samples]),
        scores[1],
        scores[0],
        metric=metric,
        generator=np.array([names.index(sample["generator"]) if sample["generator"] else -1 for sample in samples]),
        resamples=200,
    )
    row = row_of(found, metric)
    assert row.difference == pytest.approx(expected.value, abs=1e-12)
    assert row.interval[:2] == pytest.approx(expected.interval[:2], abs=1e-12)
    assert (row.p_value < 0.05) == (expected.p_value < 0.05)


def test_generators_are_corrected_for_their_number_by_holm(run, tmp_path):
    other = changed(run, tmp_path / "b", flipped(30, 0))
    (found,) = compare(Side(run), Side(other), settings=QUICK)
    ones = [row for row in found.rows if row.metric == "acc@strict" and row.slice.startswith("generator:")]
    assert len(ones) == 4
    expected = holm(np.array([row.p_value for row in ones]))
    assert [found.adjusted[row.slice] for row in ones] == pytest.approx(expected.tolist())
    assert all(found.adjusted[row.slice] >= row.p_value for row in ones)


def test_images_with_the_same_bytes_are_one_observation(run, tmp_path):
    def copies(rows, samples):
        first = {}
        for row, sample in zip(rows, samples, strict=True):
            kept = first.setdefault((sample["label"], sample["generator"]), row)
            row["image"], row["score"] = kept["image"], kept["score"]
        return rows

    one = changed(run, tmp_path / "a", copies)
    other = changed(one, tmp_path / "b", lambda rows, samples: [row | {"score": 1 - row["score"]} for row in rows])
    (found,) = compare(Side(one), Side(other), settings=QUICK)
    row = row_of(found, "acc")
    assert row.n == 240
    assert row.only_first + row.only_second == 5  # the reals' image and one of each of four generators


def test_two_models_of_one_run_can_be_compared(tmp_path):
    root = make_run(tmp_path / "run", 240, models=("npr@scenes", "univfd@scenes"), failures=0.0)
    (found,) = compare(Side(root, "npr@scenes"), Side(root, "univfd@scenes"), settings=QUICK)
    assert (found.first, found.second, found.n) == ("npr@scenes", "univfd@scenes", 240)
    both = compare(Side(root), Side(root), settings=QUICK)
    assert [each.first for each in both] == ["npr@scenes", "univfd@scenes"]
    assert all(row.difference in (0.0, None) for each in both for row in each.rows)
    assert all(not each.flips for each in both)


def test_what_only_one_run_has_is_left_out_and_counted(run, tmp_path):
    shutil.copytree(run, tmp_path / "part")
    for path in (f"datasets/{DATASET}/samples.jsonl", f"{MODEL}/{DATASET}/predictions.jsonl"):
        kept = [row for row in read_lines(tmp_path / "part" / path) if not str(row["id"]).startswith("drift/")]
        write_lines(tmp_path / "part" / path, kept)
    (found,) = compare(Side(run), Side(tmp_path / "part"), settings=QUICK)
    assert (found.n, found.n_only_first_run, found.n_only_second_run) == (210, 30, 0)
    assert all(row.difference in (0.0, None) for row in found.rows)
    (back,) = compare(Side(tmp_path / "part"), Side(run), settings=QUICK)
    assert (back.n_only_first_run, back.n_only_second_run) == (0, 30)


def test_an_image_that_failed_is_wrong_strictly_and_left_out_officially(run, tmp_path):
    def fail(rows, samples):
        wrong = [(row["score"] > 0.5) != (of["label"] == "fake") for row, of in zip(rows, samples, strict=True)]
        place = wrong.index(False)
        del rows[place]["score"]
        rows[place]["error"] = "the image cannot be decoded"
        return rows

    (found,) = compare(Side(run), Side(changed(run, tmp_path / "b", fail)), settings=QUICK)
    assert row_of(found, "acc").n == 239 and row_of(found, "acc").only_first == 0
    assert row_of(found, "acc@strict").n == 240 and row_of(found, "acc@strict").only_first == 1
    (flip,) = found.flips
    assert (flip.first_right, flip.second_score) == (True, None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows, samples: [row | {"image": "0" * 31 + str(n % 10)} for n, row in enumerate(rows)], "other bytes"),
    ],
)
def test_other_images_under_the_same_names_are_refused(run, tmp_path, change, said):
    with pytest.raises(ComparisonError, match=said):
        compare(Side(run), Side(changed(run, tmp_path / "b", change)), settings=QUICK)


def test_runs_with_nothing_in_common_are_refused(run, tmp_path):
    others = make_run(tmp_path / "b", 20, datasets=("photos",), models=(MODEL,))
    with pytest.raises(ComparisonError, match="no dataset in common"):
        compare(Side(run), Side(others), settings=QUICK)
    others = make_run(tmp_path / "c", 20, models=("univfd@scenes",))
    with pytest.raises(ComparisonError, match="no model in common"):
        compare(Side(run), Side(others), settings=QUICK)
    with pytest.raises(ComparisonError, match="Did you mean 'npr@scenes'"):
        compare(Side(run, "nrp@scenes"), Side(run), settings=QUICK)


def test_models_that_a_run_skipped_are_no_comparison_of_nothing(run, tmp_path):
    other = tmp_path / "b"
    shutil.copytree(run, other)
    manifest = json.loads((other / "run.json").read_text())
    row = {"model": MODEL, "dataset": DATASET, "reason": "no weights"}
    (other / "run.json").write_text(json.dumps(manifest | {"skipped": [row]}))
    with pytest.raises(ComparisonError, match=f"skipped each model in common .{MODEL}. on each dataset"):
        compare(Side(run), Side(other), settings=QUICK)


def test_without_resamples_there_are_differences_and_no_intervals(tmp_path, monkeypatch):
    monkeypatch.setattr("fdr_bench.metrics.sentences.minilm", StubEncoder)
    first, _ = make_reasoning_run(tmp_path / "a", 24)
    second, _ = make_reasoning_run(tmp_path / "b", 24, say=lambda number, told: {"reasoning": "The light falls twice."})
    (found,) = compare(Side(first), Side(second), settings=Settings(0, 0.95, 0))
    row = row_of(found, "bleu1@nltk-split@strict")
    assert row.difference < 0 and (row.interval, row.p_value) == (None, None)
    (sure,) = compare(Side(first), Side(second), settings=QUICK)
    assert row_of(sure, row.metric).difference == row.difference and row_of(sure, row.metric).interval.high < 0


def test_the_command_prints_tables_and_json(run, tmp_path, capsys):
    other = changed(run, tmp_path / "b", flipped(9, 3))
    words = ["compare", str(run), str(other), "--resamples", "100"]
    cli.main([*words, "--flips", "4"], standalone_mode=False)
    said = capsys.readouterr().out
    assert "flipped: 9 only A has right, 3 only B has right" in said
    assert (
        said.count("only A right") == 2 + 2 and said.count("only B right") == 2 + 2
    )  # two tables' heads, two samples each
    cli.main([*words, "--json"], standalone_mode=False)
    (found,) = json.loads(capsys.readouterr().out)
    assert len(found["flips"]) == 12 and found["n"] == 240
    assert set(found["adjusted"]) == {f"generator:{name}" for name in ("affine", "bloom", "cascade", "drift")}
