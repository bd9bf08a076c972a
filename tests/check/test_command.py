"""The exit codes of `fdr-bench check`: 0 holds, 1 regressed, 2 cannot be compared, 3 wrong usage."""

import json
import shutil

import pytest

from fdr_bench.check import regression
from fdr_bench.check.guarded import reference_of
from fdr_bench.errors import ComparisonError
from tests.guarded_runs import (
    DATASET,
    MODEL,
    changed,
    check,
    edited,
    exit_code,
    flipped,
    jittered,
    one_model,
    verdicts_only,
)
from tests.runs import make_run, read_lines, write_lines


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return one_model(tmp_path_factory.mktemp("runs") / "before", n=240)


@pytest.fixture(scope="module")
def reference(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("references") / "reference.json"
    assert exit_code("check", run, "--reference", path, "--update") == 0
    return path


@pytest.fixture(scope="module")
def fresh(run, tmp_path_factory):
    """The same run made anew: its scores differ by rounding."""
    return changed(run, tmp_path_factory.mktemp("runs") / "fresh", jittered(1e-7, 0))


# ---------------------------------------------------------------- exit codes


def test_0_where_it_holds(run, fresh, reference, capsys):
    assert check(run, reference) == 0
    assert check(fresh, reference) == 0
    assert f"holds: 9 hold (against {reference})" in capsys.readouterr().out


def test_1_where_it_regressed_and_the_samples_are_named(run, reference, tmp_path, capsys):
    after = changed(run, tmp_path / "after", flipped(40, 0))
    assert check(after, reference) == 1
    said = capsys.readouterr().out
    assert "✗ regressed" in said and "40 now wrong, 0 now right; now wrong: 0_real/" in said


def damage(name, path, target):
    """Return a damaged copy of a reference."""
    if name == "truncated":
        target.write_bytes(path.read_bytes()[:-2000])
        return target

    def edit(content):
        cell, dataset = content["cells"][0], content["datasets"][DATASET]
        match name:
            case "of another dataset version":
                dataset["fingerprint"] = "0" * 64
                dataset["spec"] = "folders:photos"
            case "of another version of FDR-Scenes":
                dataset["notes"] = ["FDR-Scenes version 4, seed 0"]
            case "of other samples":
                dataset["samples"] = "0" * 64
            case "of a model that the run lacks":
                cell["model"] = "npr@official"
            case "of a dataset that the run lacks":
                content["datasets"] = {"photos": dataset}
                cell["dataset"] = "photos"
            case "with a NaN metric":
                cell["values"]["all"]["ap"][0] = float("nan")
            case "with a metric of no value":
                cell["values"]["all"]["ap"][0] = None
            case "with a renamed metric":
                content["metrics"]["average_precision"] = content["metrics"].pop("ap")
                content["guards"] = ["average_precision"]
                for values in cell["values"].values():
                    values["average_precision"] = values.pop("ap")
            case "with another definition":
                content["metrics"]["ap"] = "0" * 16
            case "that guards nothing":
                content["cells"] = []
            case "with an answer too few":
                cell["right"] = cell["right"][1:]
            case "with a score of 2":
                cell["score"][0] = 2.0
            case "of a newer format":
                content["schema"] = 2
            case "that is another file":
                content["format"] = "something"

    return edited(path, target, edit)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("truncated", "is no whole reference"),
        ("of another dataset version", "another version of the dataset: fingerprint"),
        ("of another version of FDR-Scenes", "FDR-Scenes version 4, seed 0 in the reference"),
        ("of other samples", "other samples: 120 real and 120 fake now"),
        ("of a model that the run lacks", "the run has no such model"),
        ("of a dataset that the run lacks", f"the run has no such dataset; it has {DATASET}"),
        ("with a NaN metric", "it holds NaN, which is no measurement"),
        ("with a metric of no value", "input should be a valid number"),
        ("with a renamed metric", "no metric has this name here: it was renamed or removed."),
        ("with another definition", "its definition is another one than when the reference was written"),
        ("that guards nothing", "it guards nothing"),
        ("with an answer too few", "239 answers for 240 samples"),
        ("with a score of 2", "a score lies outside [0, 1]"),
        ("of a newer format", "has the format 2"),
        ("that is another file", "is no reference"),
    ],
)
@pytest.mark.parametrize("kind", ["exact", "statistical"])
def test_2_for_a_reference(run, fresh, reference, tmp_path, capsys, name, said, kind):
    damaged = damage(name, reference, tmp_path / "damaged.json")
    assert check(run if kind == "exact" else fresh, damaged) == 2
    answer = capsys.readouterr()
    assert said in answer.out + answer.err and "Traceback" not in answer.err


def empty(run):
    manifest = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(manifest | {"models": {}}))


def no_images(run):
    write_lines(run / "datasets" / DATASET / "samples.jsonl", [])
    write_lines(run / MODEL / DATASET / "predictions.jsonl", [])


def unfinished(run):
    path = run / MODEL / DATASET / "predictions.jsonl"
    write_lines(path, read_lines(path)[:200])


def without_a_row(run):
    path = run / MODEL / DATASET / "predictions.jsonl"
    path.unlink()


def nan_score(run):
    path = run / MODEL / DATASET / "predictions.jsonl"
    path.write_text(path.read_text().replace('"score": 0.', '"score": NaN, "old": 0.', 1))


def skipped(run):
    manifest = json.loads((run / "run.json").read_text())
    row = {"model": MODEL, "dataset": None, "reason": "weights are missing: get them"}
    (run / "run.json").write_text(json.dumps(manifest | {"skipped": [row]}))


def no_run(run):
    (run / "run.json").unlink()
    (run / "spec.json").unlink()


def newer(run):
    manifest = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(manifest | {"schema": 99}))


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (empty, "the run has no such model"),
        (no_images, "other samples: 0 real and 0 fake now"),
        (unfinished, "40 of 240 images have no row yet"),
        (without_a_row, "240 of 240 images have no row yet"),
        (nan_score, "line 1"),
        (verdicts_only, "it had a value and has none now: no scores: the model states verdicts only"),
        (skipped, "the run skipped this model: weights are missing: get them"),
        (no_run, "is no run folder"),
        (newer, "was written in format 99"),
    ],
)
def test_2_for_a_run(run, reference, tmp_path, capsys, break_it, said):
    shutil.copytree(run, tmp_path / "run")
    break_it(tmp_path / "run")
    assert check(tmp_path / "run", reference) == 2
    answer = capsys.readouterr()
    assert said in answer.out + answer.err and "Traceback" not in answer.err


def test_a_run_that_can_be_compared_in_part_and_regressed_there_ends_in_1(tmp_path, capsys):
    before = make_run(tmp_path / "before", 240, models=(MODEL, "univfd@scenes"), failures=0.0)
    assert exit_code("check", before, "--reference", tmp_path / "r.json", "--update") == 0
    after = changed(before, tmp_path / "after", flipped(40, 0))
    (after / "univfd@scenes" / DATASET / "predictions.jsonl").unlink()
    assert check(after, tmp_path / "r.json") == 1
    assert check(after, tmp_path / "r.json", "--models", "univfd@scenes") == 2
    assert check(before, tmp_path / "r.json", "--models", "univfd@scenes") == 0


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("RUN",),
        ("RUN", "--reference"),
        ("RUN", "--reference", "REFERENCE", "--mode", "lenient"),
        ("RUN", "--reference", "REFERENCE", "--tolerance", "some"),
        ("RUN", "--reference", "REFERENCE", "--tolerance", "ap=nan"),
        ("RUN", "--reference", "REFERENCE", "--level", "2"),
        ("RUN", "--reference", "REFERENCE", "--sharp"),
        ("RUN", "RUN", "--reference", "REFERENCE"),
        ("/nowhere", "--reference", "REFERENCE"),
        ("RUN", "--reference", "/nowhere.json"),
    ],
    ids=" ".join,
)
def test_3_for_wrong_usage(run, reference, words, capsys):
    known = {"RUN": run, "REFERENCE": reference}
    assert exit_code("check", *(known.get(word, word) for word in words)) == 3
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("error", [ZeroDivisionError, MemoryError, KeyError])
def test_its_own_failure_is_neither_0_nor_a_regression(run, reference, monkeypatch, capsys, error):
    def fail(*_):
        raise error("a bug")

    monkeypatch.setattr(regression, "measure", fail)
    assert check(run, reference) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_no_success(run, reference, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert check(run, reference, "--junit", tmp_path / "file" / "check.xml") == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_reference_of_a_model_that_was_skipped_says_whose_predictions_there_are(run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    skipped(other)
    with pytest.raises(ComparisonError, match=f"has no predictions of {MODEL}; it has those of: none"):
        reference_of(other, models=[MODEL])


def test_an_unfinished_run_makes_no_reference_and_an_old_one_stays(run, reference, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    unfinished(tmp_path / "run")
    shutil.copy(reference, tmp_path / "r.json")
    assert exit_code("check", tmp_path / "run", "--reference", tmp_path / "r.json", "--update") == 2
    assert (tmp_path / "r.json").read_bytes() == reference.read_bytes()
