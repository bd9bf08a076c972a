"""The ranks on a board: in its overview, on the models' pages and in every file, with ties told in words."""

from __future__ import annotations

import csv
import json

import pytest

from fdr_bench.scoring import score_run
from leaderboards import site
from leaderboards.load import load_runs
from leaderboards.ranks import with_ranks
from leaderboards.tables import dataset_boards
from tests.leaderboards.boards import score, write_run
from tests.leaderboards.test_site import KINDS, TAGS, Reader
from tests.runs import make_run, read_lines, renamed, write_lines

SET = "fdr-scenes-test"
RIGHT = {"best@scenes": 196, "near@scenes": 195, "far@scenes": 120, "constant": 100}
"""How many of 200 images each has right; the first two differ in one image."""


def write(root):
    run = make_run(root, 200, models=tuple(RIGHT), failures=0.0)
    for model, right in RIGHT.items():
        path = run / model / SET / "predictions.jsonl"
        rows = read_lines(path)
        for place, row in enumerate(rows):
            fake = "1_fake" in str(row["id"])
            row["score"] = 0.9 if fake == (place < right) else 0.1
        write_lines(path, rows)
    score_run(run, resamples=5)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write(tmp_path_factory.mktemp("runs") / "monday")


@pytest.fixture(scope="module")
def built(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("board")
    site.build([run], out)
    return out


def test_detectors_that_chance_could_make_differ_share_a_rank_and_baselines_have_none(run):
    loaded = load_runs([run])
    board = with_ranks(dataset_boards(loaded)[0], loaded)
    found = {row.model.name: row.standing for row in board.overview.detectors}
    assert {name: each.place for name, each in found.items()} == {"best@scenes": 1, "near@scenes": 1, "far@scenes": 3}
    assert found["best@scenes"].shared == ("near@scenes",) and found["far@scenes"].shared == ()
    assert found["near@scenes"].sentence == (
        "rank 1 of 3 by ACC strict, shared with best@scenes, by McNemar's exact test, Holm over 3 pairs, α = 0.05"
    )
    assert [row.standing for row in board.overview.baselines] == [None]


def test_one_detector_in_two_runs_is_named_with_its_run(run, tmp_path):
    loaded = load_runs([run, write(tmp_path / "tuesday")])
    board = with_ranks(dataset_boards(loaded)[0], loaded)
    first = board.overview.detectors[0]
    assert (first.model.name, first.standing.place, first.standing.of) == ("best@scenes", 1, 6)
    assert set(first.standing.shared) == {
        "best@scenes in tuesday",
        "near@scenes in monday",
        "near@scenes in tuesday",
    }


def test_the_page_says_a_tie_in_words(built):
    written = (built / "index.html").read_text(encoding="utf-8")
    page = Reader(written)
    ranks = [attributes for tag, attributes in page.tags if tag == "td" and attributes.get("class") == "rank"]
    assert [each["data-value"] for each in ranks] == ["1", "1", "3", ""]
    assert "shared with near@scenes" in (ranks[0]["title"] or "")
    assert written.count(">tied<") == 3  # two cells and the key below
    heads = [attributes for tag, attributes in page.tags if tag == "th" and "aria-sort" in attributes]
    assert heads[0]["data-key"] == "rank"
    card = Reader((built / "model-near-scenes.html").read_text(encoding="utf-8"))
    assert "Rank 1 of 3 by ACC strict, shared with best@scenes" in card.text


def test_every_file_has_the_ranks(built):
    with open(built / "exports" / f"{SET}-overview.csv", encoding="utf-8") as file:
        rows = [(row["model"], row["rank"], row["rank shared"]) for row in csv.DictReader(file)]
    assert rows == [
        ("best@scenes", "1", "near@scenes"),
        ("near@scenes", "1", "best@scenes"),
        ("far@scenes", "3", ""),
        ("constant", "", ""),
    ]
    told = json.loads((built / "exports" / f"{SET}-overview.json").read_text(encoding="utf-8"))["rows"]
    assert told[0]["rank"] == {"place": 1, "of": 3, "shared": ["near@scenes"], "alike": []}
    assert told[3]["rank"] is None
    lines = (built / "exports" / f"{SET}-overview.md").read_text(encoding="utf-8").splitlines()
    assert [line.split(" | ")[0] for line in lines[4:8]] == ["| 1=", "| 1=", "| 3", "| "]
    assert {line.count("|") for line in lines[2:8]} == {lines[2].count("|")}
    tex = (built / "exports" / f"{SET}-overview.tex").read_text(encoding="utf-8")
    assert "    1= & best@scenes & " in tex and "     & \\textit{constant} & " in tex
    assert "Holm over all pairs" in tex
    by_generator = (built / "exports" / f"{SET}-generators-acc.csv").read_text(encoding="utf-8")
    assert "rank" not in by_generator


def test_without_stored_answers_there_is_no_column_of_ranks(tmp_path):
    site.build([write_run(tmp_path / "run", [score("a", "acc", 0.9), score("b", "acc", 0.8)])], tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'data-key="rank"' not in page and "<dt>Rank</dt>" not in page


@pytest.mark.parametrize("hostile", ['"><script>window.hit=1', "' onmouseover='alert(1)", "{{ 7*7 }}--><img src=x>"])
def test_a_name_among_the_ranks_and_the_commands_becomes_no_markup(run, tmp_path, hostile):
    other = renamed(run, tmp_path / "run", "best@scenes", hostile)
    site.build([other], tmp_path / "out")
    reader = Reader((tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    assert {tag for tag, _ in reader.tags} <= TAGS | {"select", "option"}
    assert [attributes.get("type") for tag, attributes in reader.tags if tag == "script"] == KINDS
    for _, attributes in reader.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "autofocus", "src")]
    titles = [attributes.get("title") or "" for tag, attributes in reader.tags if tag == "td"]
    assert any(f"shared with {hostile}" in title for title in titles)
    assert hostile in [attributes.get("data-value") for tag, attributes in reader.tags if tag == "th"]
