"""Packing a run and opening what a stranger packed; runs that older versions stored still load."""

import io
import json
import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from fdr_bench import packing
from fdr_bench.answered_sets import read_plan
from fdr_bench.cli import cli
from fdr_bench.errors import RunError
from fdr_bench.packing import opened, pack, unpack
from fdr_bench.plan import Asked
from fdr_bench.scoring import score_run
from fdr_bench.session import run as start
from fdr_bench.store import SCHEMA, read_json, read_manifest, read_scores
from leaderboards.load import load_runs
from leaderboards.site import build
from tests.pictures import make_folders
from tests.runs import make_run

STORED = sorted((Path(__file__).parent / "stored_runs").glob("schema-*.zip"))
PLUGIN = f"{Path(__file__).parent / 'brightness.py'}:Brightness"


class Silent:
    def start(self, *_): ...
    def advance(self, *_): ...
    def finish(self, *_): ...


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = make_run(tmp_path_factory.mktemp("runs") / "monday", 40, models=("npr@scenes", "constant"))
    score_run(root, resamples=100)
    return root


@pytest.fixture(scope="module")
def packed(run, tmp_path_factory):
    return pack(run, tmp_path_factory.mktemp("packed") / "monday.zip")


def test_what_was_packed_unpacks_as_it_was(run, packed, tmp_path):
    folder = unpack(packed, tmp_path / "back")
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == names | {
        "pack.json"
    }
    for name in names - {"run.json", "spec.json"}:
        assert (folder / name).read_bytes() == (run / name).read_bytes()
    assert read_manifest(folder) == read_manifest(run)
    assert score_run(folder, resamples=100) == score_run(run, resamples=100)


def test_a_judges_answers_and_marks_and_the_curves_go_along(run, tmp_path):
    judged = tmp_path / "judged"
    shutil.copytree(run, judged)
    mine = judged / "judges" / "reference.v1+a-judge"
    (mine / "npr@scenes").mkdir(parents=True)
    written = {"judge.json": "{}", "answers.jsonl": "{}\n", "npr@scenes/set.jsonl": "{}\n"}
    for name, content in written.items():
        (mine / name).write_text(content)
    (mine / "lock").write_text("")  # nobody else's business
    for name in ("curves.json", "robustness.json"):
        (judged / name).write_text('{"schema": 1, "curves": []}')
    folder = unpack(pack(judged, tmp_path / "judged.zip"), tmp_path / "back")
    back = folder / "judges" / mine.name
    assert {name: (back / name).read_text() for name in written} == written
    assert not (back / "lock").exists() and (folder / "curves.json").exists()
    assert (folder / "robustness.json").exists()


def test_equal_runs_pack_to_equal_bytes_without_boards_locks_or_images(run, packed, tmp_path):
    shutil.copytree(run, tmp_path / "monday")
    for name in ("index.html", ".lock", "photo.jpg", "exports/all.csv"):
        (tmp_path / "monday" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "monday" / name).write_bytes(b"not for others")
    assert pack(tmp_path / "monday", tmp_path / "again.zip").read_bytes() == packed.read_bytes()


def test_a_board_is_made_of_packed_runs(run, packed, tmp_path, monkeypatch, capsys):
    other = make_run(tmp_path / "tuesday", 40, models=("univfd@scenes",))
    score_run(other, resamples=100)
    pack(other, tmp_path / "tuesday.zip")
    monkeypatch.chdir(tmp_path)
    cli.main(["report", str(packed), "tuesday.zip"], standalone_mode=False)
    page = (tmp_path / "leaderboard" / "index.html").read_text(encoding="utf-8")
    assert "npr@scenes" in page and "univfd@scenes" in page
    assert capsys.readouterr().out.strip() == (tmp_path / "leaderboard" / "index.html").as_uri()
    build([run, other], tmp_path / "by-folders")
    assert (tmp_path / "by-folders" / "index.html").read_text(encoding="utf-8") == page


def test_the_folder_that_the_run_was_started_from_stays_at_home(tmp_path):
    data = make_folders(tmp_path / "pictures", n=2)
    asked = Asked(models=(), plugins=(PLUGIN,), data=(f"folders:{data}",), folder=str(tmp_path))
    finished = start(asked, out=tmp_path / "run", workers=1, progress=Silent())
    score_run(finished.run, resamples=100)
    folder = unpack(pack(finished.run, tmp_path / "run.zip"), tmp_path / "back")
    assert read_json(folder / "run.json")["spec"]["asked"]["folder"] == "."
    assert read_json(folder / "spec.json")["asked"]["folder"] == "."


def test_images_are_packed_when_asked_for_and_must_be_those_that_the_run_saw(tmp_path):
    data = make_folders(tmp_path / "pictures", n=2)
    asked = Asked(models=(), plugins=(PLUGIN,), data=(f"folders:{data}",), folder=str(tmp_path))
    finished = start(asked, out=tmp_path / "run", workers=1, progress=Silent())
    score_run(finished.run, resamples=100)
    folder = unpack(pack(finished.run, tmp_path / "with.zip", images=True), tmp_path / "back")
    originals = {path.read_bytes() for path in data.rglob("*.png")}
    assert {path.read_bytes() for path in (folder / "images").iterdir()} == originals
    assert not (unpack(pack(finished.run, tmp_path / "bare.zip"), tmp_path / "bare") / "images").exists()
    next(data.rglob("*.png")).write_bytes(b"another picture")
    with pytest.raises(RunError, match="is not what the run saw"):
        pack(finished.run, tmp_path / "late.zip", images=True)
    assert not (tmp_path / "late.zip").exists() and not list(tmp_path.glob(".late*"))


def test_an_unfinished_or_unscored_run_is_not_packed(tmp_path):
    root = make_run(tmp_path / "run", 20, finished=False)
    with pytest.raises(RunError, match="fdr-bench resume"):
        pack(root, tmp_path / "run.zip")
    with pytest.raises(RunError, match="fdr-bench score"):
        pack(make_run(tmp_path / "other", 20), tmp_path / "run.zip")


# ---------------------------------------------------------------- hostile files


def rewritten(packed, target, *, add=(), drop=(), change=None):
    """Copy a packed run with entries added, dropped or changed; the list of files is left as it was."""
    with zipfile.ZipFile(packed) as source, zipfile.ZipFile(target, "w") as archive:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename in drop:
                continue
            archive.writestr(entry.filename, change(entry.filename, content) if change else content)
        for entry, content in add:
            archive.writestr(entry, content)
    return target


def link(name):
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    "entry",
    [
        "../outside.json",
        "/etc/cron.d/job",
        "datasets/../../samples.jsonl",
        "datasets/../samples.jsonl",
        "datasets/./samples.jsonl",
        "../datasets/predictions.jsonl",
        "datasets\\..\\..\\samples.jsonl",
        "C:/x/predictions.jsonl",
        "C:evil/x/predictions.jsonl",
        "datasets/x\x01/samples.jsonl",
        "a/b/c/predictions.jsonl",
        " /x/predictions.jsonl",
        "x./y/predictions.jsonl",
        "index.html",
        ".bashrc",
        "images/../../x",
        "images/photo.jpg",
        "datasets/",
        "npr/set/",
    ],
)
def test_a_name_that_no_run_has_is_refused_and_nothing_is_written(packed, tmp_path, entry):
    bad = rewritten(packed, tmp_path / "bad.zip", add=[(entry, b"x")])
    with pytest.raises(RunError, match="no file of a run"):
        unpack(bad, tmp_path / "inside" / "run")
    assert list((tmp_path / "inside").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.zip", "inside"]


def test_a_link_is_refused(packed, tmp_path):
    bad = rewritten(packed, tmp_path / "bad.zip", add=[(link("evil/x/predictions.jsonl"), b"/etc/passwd")])
    with pytest.raises(RunError, match="no file of a run"):
        unpack(bad, tmp_path / "run")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["run.json", "NPR@scenes/fdr-scenes-test/predictions.jsonl"])
def test_a_name_twice_is_refused_whatever_its_case(packed, tmp_path, name):
    bad = rewritten(packed, tmp_path / "bad.zip", add=[(name, b"{}")])
    with pytest.raises(RunError, match="stands in it twice"):
        unpack(bad, tmp_path / "run")


def test_a_small_file_that_unpacks_to_a_huge_one_is_stopped_on_the_way(packed, tmp_path, monkeypatch):
    bad = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/y/predictions.jsonl", b"\0" * 50_000_000)
    assert bad.stat().st_size < 100_000
    written = []
    copy = packing._copy
    monkeypatch.setattr(packing, "_copy", lambda *words: written.append(copy(*words)) or written[-1])
    with pytest.raises(RunError, match="holds more than 1,000,000 bytes"):
        unpack(bad, tmp_path / "run", largest=1_000_000)
    assert written[0][1] <= 1_000_000 + (1 << 20)
    assert not (tmp_path / "run").exists()


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "MOST", 5)
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(6):
            archive.writestr(f"m{number}/s/predictions.jsonl", b"")
    with pytest.raises(RunError, match="at most 5"):
        unpack(tmp_path / "many.zip", tmp_path / "run")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(packed, tmp_path, share):
    whole = packed.read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(RunError, match="no whole packed run"):
        unpack(tmp_path / "cut.zip", tmp_path / "run")


def test_a_flipped_byte_is_found_wherever_it_is(packed, tmp_path):
    whole = packed.read_bytes()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        end_of_contents = archive.start_dir
    for place in range(60, end_of_contents, end_of_contents // 40):
        (tmp_path / "bad.zip").write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            folder = unpack(tmp_path / "bad.zip", tmp_path / str(place))
        except RunError:
            continue
        # What a zip's own headers say beside the contents may be damaged without any content being so.
        assert score_run(folder, resamples=0)


def test_contents_changed_after_packing_are_found(packed, tmp_path):
    def change(name, content):
        return content.replace(b'"real"', b'"fake"') if name.endswith("samples.jsonl") else content

    bad = rewritten(packed, tmp_path / "bad.zip", change=change)
    with pytest.raises(RunError, match=r"not as it was packed: datasets/fdr-scenes-test/samples\.jsonl"):
        unpack(bad, tmp_path / "run")
    with pytest.raises(RunError, match=r"not as it was packed: scores\.json"):
        unpack(rewritten(packed, tmp_path / "less.zip", drop=["scores.json"]), tmp_path / "run")
    with pytest.raises(RunError, match=r"lacks pack\.json"):
        unpack(rewritten(packed, tmp_path / "none.zip", drop=["pack.json"]), tmp_path / "run")


@pytest.mark.parametrize("schema", [2, "1", None])
def test_a_newer_packing_is_refused(packed, tmp_path, schema):
    def change(name, content):
        return json.dumps(json.loads(content) | {"schema": schema}).encode() if name == "pack.json" else content

    with pytest.raises(RunError, match="this fdr-bench reads up to 1"):
        unpack(rewritten(packed, tmp_path / "new.zip", change=change), tmp_path / "run")


def test_a_folder_that_is_there_is_not_written_into(packed, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(RunError, match="exists already"):
        unpack(packed, tmp_path / "run")


def test_a_file_that_is_no_zip_is_told(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(RunError, match="no whole packed run"), opened(tmp_path / "notes.txt"):
        pass


# ---------------------------------------------------------------- what older versions stored


def test_a_run_of_every_format_is_stored_here():
    assert [path.stem for path in STORED] == [f"schema-{number}" for number in range(1, SCHEMA + 1)]


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_a_stored_run_still_loads_and_scores_to_the_numbers_it_had(path, tmp_path):
    folder = unpack(path, tmp_path / "run")
    before = {(row["model"], row["dataset"], row["slice"], row["metric"]): row for row in read_scores(folder)}
    assert read_plan(folder).finished
    assert len(load_runs([folder])[0].scores) == len(before)
    after = {(score.model, score.dataset, score.slice, score.metric): score for score in score_run(folder)}
    assert len(before) > 100
    for key, row in before.items():
        assert after[key].value == (None if row["value"] is None else pytest.approx(row["value"], abs=1e-12)), key
        assert (after[key].n, after[key].n_missing) == (row["n"], row["n_missing"]), key
    assert build([folder], tmp_path / "board").is_file()
