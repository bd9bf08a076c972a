"""Have a run's texts marked: ask what is not answered yet, keep every answer, write down marks and what has none."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

from fdr_bench.answered_sets import AnsweredSet, Plan, read_plan, read_set
from fdr_bench.answered_texts import read_references
from fdr_bench.errors import RunError, RunStopped, UsageError, nearest
from fdr_bench.journal import ANSWERS, Journal, usage
from fdr_bench.judge.marks import FOLDER, NO_TEXT, RECORD, text_digest
from fdr_bench.judge.options import Judge
from fdr_bench.judge.reading import read_marks
from fdr_bench.runner import Progress
from fdr_bench.scored_slices import View
from fdr_bench.scored_texts import written_texts
from fdr_bench.served.asking import Asking, Question
from fdr_bench.served.completion import read_completion
from fdr_bench.served.http import Server, Trouble
from fdr_bench.store import Lock, Row, read_json, write_json, write_rows

SCHEMA = 1


class Wanted(NamedTuple):
    """One text to be marked; `messages` is None where there is no usable text."""

    id: str
    text: str
    messages: list[dict[str, str]] | None


class Asked(NamedTuple):
    """A question under way: the key of its answer in the journal, and what will come of it."""

    key: str
    future: Future[Any]


class Cell(NamedTuple):
    """All texts of one model on one set that are to be marked; `left_out` others are not, for --limit."""

    model: str
    dataset: str
    wanted: Sequence[Wanted]
    left_out: int


class Judged(NamedTuple):
    """What a session came to: a row a model and set with counts, and the sums of what the answers took.

    Of each row, `texts` + "no text" are the samples asked for; `missing` counts by reason those without marks.
    """

    folder: Path
    cells: list[Row]
    usage: Row


def judge_run(
    run: Path,
    judge: Judge,
    *,
    progress: Progress,
    models: Sequence[str] = (),
    limit: int | None = None,
) -> Judged:
    """Have the reasoning of a run's models marked (all that give any, or those named) and store all that comes of it.

    What an earlier session was answered is not asked again; what it was not is. `limit` takes that many samples a set,
    the same ones for every model. Raises `RunError` where the run has nothing to mark or another judge of the same name
    stands in it, `RunStopped` where the budget is spent or the server is gone: what was answered is kept and marked.
    """
    plan = read_plan(run)
    with Lock(run):
        cells = _cells(run, plan, judge, models, limit)
        folder = run / FOLDER / judge.label
        _agree(folder, judge)
        asking = Asking(
            judge.limits, judge.model, about="texts", again="the same command asks again for what is missing"
        )
        server = Server(
            judge.limits.base_url,
            key=judge.limits.key,
            key_variable=judge.limits.key_variable,
            timeout=judge.limits.timeout,
        )
        asking.keep(Journal(folder / ANSWERS))
        stopped: RunStopped | None = None
        rows = []
        try:
            asked = [[_ask(asking, server, judge, wanted) for wanted in cell.wanted] for cell in cells]
            for cell, questions in zip(cells, asked, strict=True):
                marked, stop = _collect(cell, questions, judge, progress)
                stopped = stopped or stop
                write_rows(folder / cell.model / f"{cell.dataset}.jsonl", marked)
                rows.append(_counts(cell, marked))
        finally:
            asking.close()
        used = usage(folder) or {}
        named = {(row["model"], row["dataset"]) for row in rows}
        earlier = [
            row for row in read_json(folder / RECORD).get("cells", ()) if (row["model"], row["dataset"]) not in named
        ]
        write_json(folder / RECORD, {**_identity(judge), "usage": used, "cells": [*earlier, *rows]})
    if stopped is not None:
        raise RunStopped(
            f"{stopped}\nWhat was answered is marked; the same command goes on from there, with a larger budget where "
            "that is what stopped it."
        )
    return Judged(folder, rows, used)


def _cells(run: Path, plan: Plan, judge: Judge, models: Sequence[str], limit: int | None) -> list[Cell]:
    for model in models:
        if model not in plan.thresholds:
            raise UsageError(f"the run has no model '{model}'.{nearest(model, plan.thresholds)}")
    cells: list[Cell] = []
    with_texts: set[str] = set()
    for dataset in plan.fingerprints:
        present = [name for name in plan.thresholds if not plan.skipped & {(name, None), (name, dataset)}]
        present = [name for name in present if not models or name in models]
        if not present:
            continue
        this = read_set(run, plan, dataset, present)
        for model in present:
            gives = this.answers[model].reasoning is not None
            with_texts |= {model} if gives else set()
            if gives or model in plan.reasoning or models:
                cells.append(_cell(this, plan, judge, model, limit))
    cells = [cell for cell in cells if any(each.messages for each in cell.wanted)]
    if not cells:
        why = (
            f"no sample with both reasoning and a reference, which the rubric {judge.rubric.name} compares it with: "
            "try --rubric standalone"
            if with_texts and judge.rubric.needs_reference
            else "none of the models gave reasoning beside an answer"
        )
        raise RunError(f"{run} has nothing to judge: {why}.")
    return cells


def _cell(this: AnsweredSet, plan: Plan, judge: Judge, model: str, limit: int | None) -> Cell:
    view = View.of(this, model, plan.thresholds[model], "")
    texts, references = written_texts(view), read_references(this.samples, this.order.tolist())
    ids, rubric = references.ids, judge.rubric
    members = [n for n, reference in enumerate(references.reasoning) if reference.strip() or not rubric.needs_reference]
    # By a hash of the id: the same samples for every model and on every machine, whatever the order.
    kept = sorted(members, key=lambda n: hashlib.sha256(ids[n].encode()).digest())[:limit]
    wanted = []
    for n in sorted(n for n in kept if view.reached[n]):
        text, verdict = texts.written[n], "fake" if view.called[n] else "real"
        ask = bool(texts.usable[n]) and bool(text.strip())
        messages = rubric.messages(reasoning=text, reference=references.reasoning[n], verdict=verdict) if ask else None
        wanted.append(Wanted(ids[n], text, messages))
    return Cell(model, this.dataset, wanted, len(members) - len(kept))


def _identity(judge: Judge) -> dict[str, Any]:
    return {"schema": SCHEMA, "judge": judge.label, **judge.identity(), "base_url": judge.limits.base_url}


def _agree(folder: Path, judge: Judge) -> None:
    """Write the judge's record, or compare it with the one that is there."""
    path, now = folder / RECORD, _identity(judge)
    if not path.exists():
        write_json(path, now)
        return
    before = read_json(path)
    differing = [name for name in judge.identity() if before.get(name) != now[name]]
    if differing:
        raise RunError(
            f"{folder} holds marks by another judge of this name (differing: {', '.join(differing)}). Marks are never "
            "mixed: give the rubric another version, or this judge another --name."
        )


def _ask(asking: Asking, server: Server, judge: Judge, wanted: Wanted) -> Asked | None:
    if wanted.messages is None:
        return None
    body = judge.body(wanted.messages)
    key = hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace")).hexdigest()
    # What is sent is ready: nothing is left to be encoded.
    question = Question(key[:32], str, lambda _: read_completion(server.post(body)))
    return Asked(question.key, asking.ask(question))


def _collect(
    cell: Cell, asked: Sequence[Asked | None], judge: Judge, progress: Progress
) -> tuple[list[Row], RunStopped | None]:
    """Wait for a cell's answers; return a row for each text that was asked about or is missing, and what stopped it."""
    name, stopped = f"{cell.model} on {cell.dataset}", None
    progress.start(name, [judge.model], len(asked), 0)
    rows: list[Row] = []
    for wanted, question in zip(cell.wanted, asked, strict=True):
        row: Row = {"id": wanted.id, "text": text_digest(wanted.text)}
        try:
            outcome = {"problem": NO_TEXT} if question is None else _outcome(question, judge)
        except RunStopped as error:
            stopped = error
            row |= {"problem": "not asked", "reason": "stopped before its turn"}
        else:
            row |= outcome
        rows.append(row)
        progress.advance(name, 1, int("problem" in row and row["problem"] != NO_TEXT), {})
    progress.finish(name)
    return rows, stopped


def _outcome(asked: Asked, judge: Judge) -> Row:
    outcome: Mapping[str, Any] | Trouble = asked.future.result()
    if isinstance(outcome, Trouble):
        return {"problem": outcome.kind, "reason": outcome.reason}
    reading = read_marks(
        outcome["text"], judge.rubric, truncated=bool(outcome["truncated"]), refused=bool(outcome["refused"])
    )
    if reading.marks is None:
        return {"answer": asked.key, "problem": reading.problem, "reason": reading.reason}
    return {"answer": asked.key, "marks": reading.marks}


def _counts(cell: Cell, rows: Sequence[Row]) -> Row:
    problems = Counter(str(row["problem"]) for row in rows if "problem" in row)
    without = problems.pop(NO_TEXT, 0)
    return {
        "model": cell.model,
        "dataset": cell.dataset,
        "texts": len(rows) - without,
        "marked": sum("marks" in row for row in rows),
        "missing": dict(sorted(problems.items())),
        "no_text": without,
        "left_out": cell.left_out,
    }
