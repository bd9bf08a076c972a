"""Running: one decode an image, exact resumption, failures recorded, limits even."""

import collections
import json
import os
import shutil
from pathlib import Path

import pytest

from fdr_bench import session
from fdr_bench.data import open_dataset
from fdr_bench.data.sampling import sample_evenly
from fdr_bench.engines import local
from fdr_bench.errors import FDRBenchError, RunError
from fdr_bench.plan import Asked
from fdr_bench.scoring import score_run
from fdr_bench.store import read_rows
from tests.pictures import make_folders

PLUGIN = str(Path(__file__).parent / "brightness.py")


class Quiet:
    """Progress that remembers what it was told."""

    def __init__(self):
        self.told = []

    def start(self, dataset, models, total, done):
        self.told.append(("start", total, done))

    def advance(self, dataset, samples, failures, seconds):
        self.told.append(("advance", samples, failures))

    def finish(self, dataset):
        self.told.append(("finish",))


def run(data, out, *classes, workers=1, progress=None, **options):
    plugins = tuple(f"{PLUGIN}:{name}" for name in classes or ("Brightness",))
    options = {"batch": 8, **options}
    retry = options.pop("retry_failures", False)
    asked = Asked(models=options.pop("models", ()), data=(f"folders:{data}",), plugins=plugins, **options)
    return session.run(asked, out=out, workers=workers, progress=progress or Quiet(), retry_failures=retry)


def predictions(out, model="brightness"):
    (path,) = out.glob(f"{model}/*/predictions.jsonl")
    return path


@pytest.fixture
def pictures(tmp_path):
    return make_folders(tmp_path / "pictures", n=10)  # 2 generators x 2 classes x 10 = 40 samples


def test_every_sample_gets_one_row_in_the_order_of_the_samples(pictures, tmp_path):
    run(pictures, tmp_path / "run")
    ids = [row["id"] for row in read_rows(predictions(tmp_path / "run"))]
    assert ids == [sample.id for sample in open_dataset(f"folders:{pictures}").samples]
    assert len(ids) == 40


def test_each_image_is_decoded_once_however_many_models_see_it(pictures, tmp_path, monkeypatch):
    counted = collections.Counter()
    decode = local.decode
    monkeypatch.setattr(local, "decode", lambda payload, place: counted.update([place]) or decode(payload, place))
    run(pictures, tmp_path / "run", "Brightness", "Clumsy", models=("constant", "file-metadata"))
    assert len(counted) == 40
    assert set(counted.values()) == {1}


def test_several_workers_write_the_same_bytes_as_one(pictures, tmp_path):
    run(pictures, tmp_path / "one", workers=1)
    run(pictures, tmp_path / "two", workers=2)
    assert predictions(tmp_path / "one").read_bytes() == predictions(tmp_path / "two").read_bytes()


@pytest.mark.parametrize("kept_bytes", [0, 1, 150, 151, 900, 3000, 5500])
def test_a_run_cut_off_at_any_byte_is_completed_to_the_same_bytes(pictures, tmp_path, kept_bytes):
    run(pictures, tmp_path / "whole")
    run(pictures, tmp_path / "cut")
    path = predictions(tmp_path / "cut")
    with open(path, "r+b") as file:
        file.truncate(kept_bytes)
    (tmp_path / "cut" / "run.json").unlink()
    progress = Quiet()
    run(pictures, tmp_path / "cut", progress=progress)
    assert path.read_bytes() == predictions(tmp_path / "whole").read_bytes()
    rows_kept = path.read_bytes()[:kept_bytes].count(b"\n")
    # whole batches of 8 that were recorded are not computed again
    assert sum(told[1] for told in progress.told if told[0] == "advance") == 40 - rows_kept // 8 * 8


@pytest.mark.parametrize("damage", [lambda line: line[:9], lambda line: line[: len(line) // 2] + b"}"])
def test_a_line_damaged_in_the_middle_costs_that_sample_alone(pictures, tmp_path, damage):
    """What the message says is done: the line goes, and the resumed run ends with the bytes that it had."""
    run(pictures, tmp_path / "run")
    path = predictions(tmp_path / "run")
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    lines[20] = damage(lines[20]) + b"\n"
    path.write_bytes(b"".join(lines[:-1]))
    (tmp_path / "run" / "run.json").unlink()
    with pytest.raises(RunError, match=r"predictions\.jsonl, line 21: .* remove this line and resume the run"):
        session.resume(tmp_path / "run", workers=1, progress=Quiet())
        score_run(tmp_path / "run", resamples=0)  # what is behind the id is parsed here alone
    kept = path.read_bytes().splitlines(keepends=True)
    assert kept[: len(lines) - 1] == lines[:-1]
    path.write_bytes(b"".join(kept[:20] + kept[21:]))
    session.resume(tmp_path / "run", workers=1, progress=Quiet())
    assert path.read_bytes() == whole


def test_resuming_a_finished_run_computes_nothing(pictures, tmp_path, monkeypatch):
    run(pictures, tmp_path / "run")
    before = predictions(tmp_path / "run").read_bytes()
    monkeypatch.setattr(local, "decode", None)  # would raise if called
    finished = session.resume(tmp_path / "run", workers=1, progress=Quiet())
    assert finished.manifest["failures"] == {"brightness/pictures": 0}
    assert predictions(tmp_path / "run").read_bytes() == before


def test_a_run_of_another_plan_is_not_mixed_into_a_folder(pictures, tmp_path):
    run(pictures, tmp_path / "run")
    with pytest.raises(RunError, match="a run of another plan"):
        run(pictures, tmp_path / "run", limit=10)


def test_a_folder_that_holds_other_things_is_left_alone(pictures, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("do not lose me")
    with pytest.raises(RunError, match="not empty and not a run folder"):
        run(pictures, tmp_path / "thesis")


def test_a_run_killed_before_its_plan_was_written_begins_anew(pictures, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").write_text("process 1 on elsewhere")
    (tmp_path / "run" / ".spec.json.1.tmp").write_text('{"schema"')
    run(pictures, tmp_path / "run")
    assert len(list(read_rows(predictions(tmp_path / "run")))) == 40


def test_an_image_that_changed_since_the_run_saw_it_stops_the_resumption(pictures, tmp_path):
    run(pictures, tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    path = predictions(tmp_path / "run")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:20]))
    old, other = pictures / "alpha/0_real/0000.png", pictures / "beta/1_fake/0000.png"
    content = bytearray(old.read_bytes())
    content[-1] ^= 1  # the same size, so the listing's fingerprint does not tell
    old.write_bytes(content)
    later = (tmp_path / "run" / "spec.json").stat().st_mtime + 5
    os.utime(old, (later, later))
    os.utime(other, (later, later))  # touched, but with the same bytes: fine
    with pytest.raises(RunError, match=r"alpha/0_real/0000\.png has changed"):
        run(pictures, tmp_path / "run")


def test_a_changed_set_of_files_is_not_resumed(pictures, tmp_path):
    run(pictures, tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    shutil.copy(pictures / "alpha/0_real/0000.png", pictures / "alpha/0_real/new.png")
    with pytest.raises(RunError, match="not as they were when this run began: the dataset pictures"):
        session.resume(tmp_path / "run", workers=1, progress=Quiet())


def test_a_detector_that_fails_on_some_images_fails_on_those_alone(tmp_path):
    data = make_folders(tmp_path / "tall", n=3, generators=("g",), size=(20, 24))
    make_folders(data / "h", n=3, generators=("square",), size=(20, 20))
    make_folders(data / "h", n=3, generators=("wide",), size=(30, 20))
    finished = run(data, tmp_path / "run", "Clumsy", batch=4)
    rows = {row["id"]: row for row in read_rows(predictions(tmp_path / "run", "clumsy"))}
    kinds = collections.Counter((id.split("/")[-3], row.get("error", "scored")) for id, row in rows.items())
    assert kinds == {
        ("g", "the detector gave the score 7.0, which is not within [0, 1]"): 6,
        ("square", "the detector raised ValueError: no squares, please"): 6,
        ("wide", "scored"): 6,
    }
    assert finished.manifest["failures"] == {"clumsy/tall": 12}
    assert finished.failures_above("12") == []
    assert finished.failures_above("50%") == ["clumsy/tall: 12 of 18"]


def test_failures_are_tried_again_on_request_and_only_those(tmp_path):
    data = make_folders(tmp_path / "mixed", n=2, generators=("g",))
    broken = data / "g/1_fake/0001.png"
    content = broken.read_bytes()
    broken.write_bytes(content[:40] + b"\0" * (len(content) - 40))
    os.utime(broken, (1, 1))
    out = tmp_path / "run"
    assert run(data, out).manifest["failures"] == {"brightness/mixed": 1}
    broken.write_bytes(content)
    os.utime(broken, (1, 1))
    finished = session.resume(out, workers=1, progress=Quiet(), retry_failures=True)
    assert finished.manifest["failures"] == {"brightness/mixed": 0}
    fresh = tmp_path / "fresh"
    run(data, fresh)
    assert predictions(out).read_bytes() == predictions(fresh).read_bytes()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_detector_that_cannot_be_loaded_is_skipped_with_its_reason_and_hides_no_other(pictures, tmp_path, workers):
    finished = run(pictures, tmp_path / "run", "Brightness", "Unloadable", workers=workers)
    reason = "loading it raised RuntimeError: the moon is in the wrong house"
    assert finished.manifest["skipped"] == [{"model": "unloadable", "dataset": None, "reason": reason}]
    assert list(finished.manifest["models"]) == ["brightness"]
    assert not list((tmp_path / "run").glob("unloadable/**/*.jsonl"))


def test_nothing_to_run_is_an_error_that_says_why(pictures, tmp_path):
    with pytest.raises(FDRBenchError, match="no model can run"):
        session.run(
            Asked(models=("npr@official",), data=(f"folders:{pictures}",)), out=None, workers=1, progress=Quiet()
        )


def test_equal_runs_give_equal_predictions_and_only_the_manifest_tells_time(pictures, tmp_path):
    run(pictures, tmp_path / "a", "Brightness")
    run(pictures, tmp_path / "b", "Brightness")
    for path in sorted((tmp_path / "a").rglob("*.json*")):
        twin = tmp_path / "b" / path.relative_to(tmp_path / "a")
        if path.name != "run.json":
            assert path.read_bytes() == twin.read_bytes(), path
    manifest = json.loads((tmp_path / "a" / "run.json").read_bytes())
    assert manifest["datasets"]["pictures"]["generators"] == ["alpha", "beta"]


def test_a_limit_takes_evenly_from_generators_and_classes_and_smaller_limits_are_subsets(pictures):
    samples = open_dataset(f"folders:{pictures}").samples
    for limit in (1, 4, 10, 39):
        chosen = sample_evenly(samples, limit)
        sizes = collections.Counter((sample.generator, sample.label) for sample in chosen)
        assert sum(sizes.values()) == limit
        assert max(sizes.values()) - min(sizes.get(key, 0) for key in sizes) <= 1
        assert {sample.id for sample in chosen} <= {sample.id for sample in sample_evenly(samples, limit + 1)}
    # 10 of 4 strata: 3, 3, 2, 2; and not the first by name
    names = [sample.id.rpartition("/")[2] for sample in sample_evenly(samples, 10)]
    assert names != sorted(names)[: len(names)] and {name[:4] for name in names} != {"0000", "0001", "0002"}
