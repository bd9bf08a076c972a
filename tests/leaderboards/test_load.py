"""Run folders are read with suspicion: what is missing, damaged or hostile becomes a message or plain text."""

from __future__ import annotations

import json

import pytest

from fdr_bench.errors import RunError, UsageError
from leaderboards.load import load_runs, text
from leaderboards.site import build
from tests.leaderboards.boards import score, write_run


def test_a_board_of_no_runs_is_a_usage_error():
    with pytest.raises(UsageError, match="at least one"):
        load_runs([])


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(RunError, match=r"nothing.*is missing"):
        load_runs([tmp_path / "nothing"])


def test_a_run_without_scores_says_to_score_it(tmp_path):
    run = write_run(tmp_path / "run", [])
    (run / "scores.json").unlink()
    with pytest.raises(RunError, match=r"fdr-bench score"):
        load_runs([run])


@pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"scores": 3}', '{"scores": [{}]}', '{"scores": [7]}'])
def test_damaged_scores_are_a_message(tmp_path, damage):
    run = write_run(tmp_path / "run", [])
    (run / "scores.json").write_text(damage)
    with pytest.raises(RunError, match="scores"):
        load_runs([run])


def test_a_run_of_a_newer_format_is_refused(tmp_path):
    run = write_run(tmp_path / "run", [], schema=99)
    with pytest.raises(RunError, match="format 99"):
        load_runs([run])


def test_an_unfinished_run_is_read_from_its_plan_and_says_so(tmp_path):
    (run,) = load_runs([write_run(tmp_path / "run", [score("a", "acc", 0.5)], finished=False)])
    assert run.unfinished
    assert run.scores[0].value == 0.5


def test_a_number_that_is_none_or_not_finite_is_undefined_with_a_reason(tmp_path):
    rows = [score("a", "ap", float("nan")), score("a", "acc", None, reason="one class only")]
    (run,) = load_runs([write_run(tmp_path / "run", rows)])
    assert [(row.value, row.reason) for row in run.scores] == [
        (None, "the run gives no reason"),
        (None, "one class only"),
    ]


def test_a_folder_named_twice_counts_once_and_equal_ids_are_told_apart(tmp_path):
    one = write_run(tmp_path / "x" / "run", [score("a", "acc", 0.5)])
    other = write_run(tmp_path / "y" / "run", [score("a", "acc", 0.6)])
    assert [run.name for run in load_runs([one, one, other])] == ["run", "run (2)"]


def test_facts_of_a_strange_type_become_absent_not_an_exception(tmp_path):
    strange = {"a": {"parameters": "many", "threshold": [1], "trained_on": 7, "paper": {"x": 1}, "seconds": True}}
    (run,) = load_runs([write_run(tmp_path / "run", [], models=strange, skipped="no", failures=[1], packages=3)])
    model = run.models["a"]
    assert (model.parameters, model.threshold, model.trained_on, model.seconds) == (None, None, None, None)
    assert model.paper == '{"x": 1}'


def test_problems_of_texts_and_what_a_judge_marked_are_told_in_words(tmp_path):
    problems = {"m@staged/set": {"truncated": 2, "refused": 1200, "off-format": 0}, "n/set": {}, "o/set": "many"}
    folder = write_run(tmp_path / "run", [score("m@staged", "acc", 0.5)], problems=problems)
    record = folder / "judges" / "reference.v1+j" / "judge.json"
    record.parent.mkdir(parents=True)
    cell = {"model": "m@staged", "dataset": "set", "texts": 9, "marked": 6, "missing": {"refused": 1, "timeout": 2}}
    record.write_text(json.dumps({"cells": [cell, 7]}), encoding="utf-8")
    (run,) = load_runs([folder])
    assert run.problems == (("m@staged/set", "1,200 refused, 2 truncated"),)
    assert run.judged == (("reference.v1+j on m@staged/set", "6 of 9 texts marked (2 timeout, 1 refused)"),)
    page = build([folder], tmp_path / "out").read_text(encoding="utf-8")
    assert "1,200 refused, 2 truncated" in page and "6 of 9 texts marked" in page
    (plain,) = load_runs([write_run(tmp_path / "plain", [score("m", "acc", 0.5)])])
    assert (plain.problems, plain.judged) == ((), ())
    assert "Faulty texts" not in build([tmp_path / "plain"], tmp_path / "out").read_text(encoding="utf-8")


def test_marks_that_turn_the_reading_direction_and_control_characters_are_made_visible():
    assert text("a\u202eb\x00c\x1b[0m") == "a\ufffdb\ufffdc\ufffd[0m"
    assert text("line\r\nnext\tcell") == "line\nnext\tcell"


def test_a_lone_surrogate_can_be_written_afterwards(tmp_path):
    run = write_run(tmp_path / "run", [])
    content = json.loads((run / "run.json").read_text()) | {"device": "cpu\ud800"}
    (run / "run.json").write_text(json.dumps(content))
    (loaded,) = load_runs([run])
    assert dict(loaded.facts)["Device"].encode() == "cpu\ufffd".encode()
