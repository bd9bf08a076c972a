"""A board and its comparisons: those that were made are linked, and the command that makes one is offered."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from fdr_bench.cli import cli
from fdr_bench.cli_comparing import Named, called, named
from fdr_bench.errors import UsageError
from fdr_bench.scoring import score_run
from leaderboards import site
from leaderboards.comparisons import made, offer
from leaderboards.load import load_runs
from leaderboards.ranks import with_ranks
from leaderboards.tables import dataset_boards
from tests.leaderboards.boards import score, write_run
from tests.leaderboards.test_site import Reader
from tests.runs import make_run, renamed

MODELS = ("npr@scenes", "univfd@scenes", "constant")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("runs") / "monday", 60, models=MODELS)
    score_run(run, resamples=2)
    return run


def offered(*runs):
    loaded = load_runs(runs)
    return offer(loaded, [with_ranks(board, loaded) for board in dataset_boards(loaded)])


def links(page):
    return [a["href"] for tag, a in Reader(page.read_text(encoding="utf-8")).tags if tag == "a"]


def test_the_command_makes_the_page_and_the_board_links_to_it(run, tmp_path):
    copy = tmp_path / "monday"
    shutil.copytree(run, copy)
    said = CliRunner().invoke(cli, ["report", str(copy), "--compare", *MODELS[:2]], catch_exceptions=False)
    assert said.exit_code == 0
    page = "comparison-npr-scenes-and-univfd-scenes.html"
    assert page in links(copy / "index.html")
    assert "npr@scenes and univfd@scenes" in Reader((copy / "index.html").read_text(encoding="utf-8")).text
    assert "index.html" in links(copy / page)
    again = CliRunner().invoke(cli, ["report", str(copy)], catch_exceptions=False)
    assert again.exit_code == 0 and page in links(copy / "index.html")


def test_what_is_no_comparison_is_not_linked(run, tmp_path):
    for name, content in (
        ("comparison-a.html", "<title>A &amp; &lt;b&gt; and B · FDR-Bench</title>"),
        ("comparison-b.html", "<p>something else</p>"),
        ("comparison c.html", "<title>x · FDR-Bench</title>"),
        ("index.html", "<title>x · FDR-Bench</title>"),
    ):
        (tmp_path / name).write_text(content, encoding="utf-8")
    (tmp_path / "comparison-folder.html").mkdir()
    assert made(tmp_path) == (("comparison-a.html", "A & <b> and B"),)
    site.build([run], tmp_path)
    assert "A &amp; &lt;b&gt; and B</bdi>" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_the_best_two_are_offered_and_the_words_are_those_of_a_shell(run, tmp_path):
    found = offered(run)
    assert shlex.split(found.command) == ["fdr-bench", "report", "runs/monday", "--compare"]
    assert {choice.shown for choice in found.choices} == set(MODELS[:2])
    hostile = "x; rm -rf $HOME '`id`'"
    other = renamed(run, tmp_path / "other run", MODELS[0], hostile)
    found = offered(run, other)
    assert shlex.split(found.command) == ["fdr-bench", "report", "runs/monday", "runs/monday (2)", "--compare"]
    words = [shlex.split(choice.word) for choice in found.choices]
    assert [f"runs/monday (2)::{hostile}"] in words and all(len(each) == 1 for each in words)


def test_without_two_detectors_with_stored_answers_nothing_is_offered(run, tmp_path):
    assert offered(write_run(tmp_path / "run", [score("a", "acc", 0.9), score("b", "acc", 0.8)])) is None
    site.build([tmp_path / "run"], tmp_path)
    assert 'id="compared"' not in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_a_word_names_a_run_a_model_of_it_or_of_the_only_run(run):
    assert named(str(run)) == (run, None)
    assert named(f"{run}::npr@scenes") == (run, "npr@scenes")
    assert named("npr@scenes", [run]) == (run, "npr@scenes")
    for word, runs in ((f"{run}::", [run]), ("npr@scenes", []), ("npr@scenes", [run, run]), ("gone::npr", [run])):
        with pytest.raises(UsageError):
            named(word, runs)


def test_a_page_is_called_by_what_differs():
    monday, tuesday, zipped = Path("a/monday"), Path("a/tuesday"), Path("b/monday.zip")
    assert called(Named(monday, None), Named(tuesday, None)) == ("monday", "tuesday")
    assert called(Named(monday, "x"), Named(tuesday, None)) == ("monday", "tuesday")
    assert called(Named(monday, "x"), Named(monday, "y")) == ("x", "y")
    assert called(Named(monday, "x"), Named(tuesday, "y")) == ("x in monday", "y in tuesday")
    assert called(Named(monday, "x"), Named(zipped, "x")) == ("a/monday", "b/monday.zip")
