"""A budget stops a judge midway: the command scores what there is, goes on later, and ends as if it had not stopped."""

from __future__ import annotations

import json
import re
import threading

import pytest
from click.testing import CliRunner

from fdr_bench.cli import cli
from fdr_bench.errors import RunStopped
from fdr_bench.scoring import score_run
from fdr_bench.store import read_json, read_rows, read_scores
from tests.runs import read_lines, write_lines
from tests.scene_texts import MODEL, SET, StubEncoder, make_reasoning_run
from tests.served_server import Misbehaving, completion

N = 12
BOTH = (MODEL, "second")
LABEL = "reference.v1+m"
CORRECTNESS = f"judge_correctness@{LABEL}"
ILL = (3, MODEL)
"""The text that the judge fails at while it is ill."""


@pytest.fixture(autouse=True)
def stub_encoder(monkeypatch):
    monkeypatch.setattr("fdr_bench.metrics.sentences.minilm", StubEncoder)


class Marking(Misbehaving):
    """Marks text k of the first model with 1 + k % 5 and each of the second with 5."""

    def __init__(self, *, ill: bool = False) -> None:
        super().__init__()
        self.asked: list[tuple[int, str]] = []
        self.seen = threading.Lock()

        def respond(request):
            found = re.search(r"Explanation: \"Sample (\d+), by (\w+)\.", request["messages"][-1]["content"])
            number, model = int(found[1]), found[2]
            with self.seen:
                self.asked.append((number, model))
            if ill and (number, model) == ILL:
                return 400, {}, {"error": {"message": "no"}}
            mark = 1 + number % 5 if model == MODEL else 5
            return 200, {}, completion(json.dumps({"correctness": mark, "completeness": 1, "specificity": 5}))

        self.respond = respond


def make(place):
    """Write a scored run of two models whose texts name them; the first model's sample 0 has none."""
    run, _ = make_reasoning_run(place, N, models=BOTH, say=lambda number, told: {"reasoning": None})
    for model in BOTH:
        path = run / model / SET / "predictions.jsonl"
        rows = [row | {"reasoning": f"Sample {number}, by {model}."} for number, row in enumerate(read_lines(path))]
        if model == MODEL:
            del rows[0]["reasoning"]
        write_lines(path, rows)
    score_run(run, resamples=40, seed=3)
    return run


def ask(run, server, *words: str):
    """Run the command; return what it came to. `server.asked` then holds what it was asked this time."""
    server.asked.clear()
    with server.running() as url:
        line = ["judge", str(run), "--base-url", url, "--model", "m", "--option", "backoff=0", *words]
        return CliRunner().invoke(cli, line, standalone_mode=False)


def shown(run, metric: str = CORRECTNESS):
    rows = [row for row in read_scores(run) if row["metric"] == metric and row["slice"] == "all"]
    return {row["model"]: (row["value"], row["n"], row["n_missing"]) for row in rows}


def expected(marked, *, strict: bool = False):
    """Work out what the scores are where these texts have marks: a mark m on the scale from 1 to 5 counts (m - 1) / 4.

    Strictly, the first model's sample without a text counts as the lowest; what nobody was asked about never counts.
    """
    found = {}
    for model in BOTH:
        values = [number % 5 / 4 if model == MODEL else 1.0 for number, name in sorted(marked) if name == model]
        missing = N - len(values)
        values += [0.0] if strict and model == MODEL else []
        found[model] = (pytest.approx(sum(values) / len(values)) if values else None, len(values), missing)
    return found


def test_a_budget_stops_the_command_and_larger_ones_bring_it_to_the_end(tmp_path):
    run = make(tmp_path / "run")
    server = Marking(ill=True)
    every = {(number, model) for model in BOTH for number in range(N)} - {(0, MODEL)}
    before = read_json(run / "scores.json")
    marked: set[tuple[int, str]] = set()

    for budget in (5, 5 + N):  # within the first model, and beyond it
        stopped = ask(run, server, "--budget", f"{budget}requests")
        assert isinstance(stopped.exception, RunStopped) and "larger" in str(stopped.exception)
        assert len(server.asked) == len(set(server.asked)) == budget - len(marked)
        assert not marked & set(server.asked)
        marked |= set(server.asked) - {ILL}
        assert shown(run) == expected(marked)
        assert shown(run, f"{CORRECTNESS}@strict") == expected(marked, strict=True)
        assert read_json(run / "scores.json")["settings"] == before["settings"]  # as it was scored before
        assert "Correctness (judge)" in (run / "index.html").read_text(encoding="utf-8")
        for model in BOTH:
            rows = list(read_rows(run / "judges" / LABEL / model / f"{SET}.jsonl"))
            assert len(rows) == N
            assert sum("marks" in row for row in rows) == sum(name == model for _, name in marked)
            failed = (ILL in server.asked) and model == MODEL
            unasked = {name for name in every - marked - ({ILL} if failed else set()) if name[1] == model}
            assert sum(row.get("problem") == "not asked" for row in rows) == len(unasked)

    # What was spent counts: the same budget asks nothing more, and changes no score.
    same = (run / "scores.json").read_bytes()
    again = ask(run, server, "--budget", f"{len(marked)}requests")
    assert isinstance(again.exception, RunStopped) and server.asked == []
    assert (run / "scores.json").read_bytes() == same

    well = Marking()
    last = ask(run, well)
    assert last.exception is None and last.return_value == 0
    assert ILL in well.asked  # what failed is asked about again, what was answered is not
    assert sorted(well.asked) == sorted(every - marked)
    assert shown(run) == expected(every)
    answers = [row["id"] for row in read_rows(run / "judges" / LABEL / "answers.jsonl")]
    assert len(answers) == len(set(answers)) == len(every)

    # As if it had been judged in one go.
    whole = make(tmp_path / "whole")
    assert ask(whole, Marking()).return_value == 0
    assert read_scores(run) == read_scores(whole)
    for model in BOTH:
        places = [each / "judges" / LABEL / model / f"{SET}.jsonl" for each in (run, whole)]
        assert places[0].read_bytes() == places[1].read_bytes()


def test_a_budget_that_is_spent_on_failures_leaves_scores_undefined_with_their_reason(tmp_path):
    run = make(tmp_path / "run")
    server = Marking()
    server.respond = lambda request: (400, {}, {"error": {"message": "no"}})
    done = ask(run, server, "--budget", "2requests")
    assert isinstance(done.exception, RunStopped)
    assert shown(run) == {MODEL: (None, 0, N), "second": (None, 0, N)}
    reasons = {row["reason"] for row in read_scores(run) if (row["metric"], row["slice"]) == (CORRECTNESS, "all")}
    assert reasons == {f"the judge marked none of {N} samples here"}
