"""Read a judge's answer: its marks, or what is wrong with it. Nothing is guessed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from fdr_bench.judge.rubrics import Rubric


class Reading(NamedTuple):
    """What an answer says: `marks` by criterion, or None with the `problem` in a word or two and its `reason`."""

    marks: dict[str, int] | None
    problem: str | None = None
    reason: str | None = None


def read_marks(text: str, rubric: Rubric, *, truncated: bool, refused: bool) -> Reading:
    """Return the marks in an answer: of the one JSON object that names criteria, wherever in the text it stands.

    Every criterion must have a whole number on the rubric's scale; 4.0 is one, "4" and 4.5 are not. What a model thinks
    (<think>…</think>) does not count. Problems: "refused", "truncated" (at the limit of tokens, and without
    an object), "off-format".
    """
    answer = text.rpartition("</think>")[2].partition("<think>")[0]  # one may never come to its end
    objects = [found for found in _objects(answer) if found.keys() & rubric.criteria.keys()]
    if not objects:
        if refused:
            return Reading(None, "refused", "the judge declined")
        if truncated:
            return Reading(None, "truncated", "the answer reached max-tokens before its marks; raise it")
        return Reading(None, "off-format", "no JSON object with the criteria")
    marks = []
    for found in objects:
        read = {name: mark_on_scale(found.get(name), rubric) for name in rubric.criteria}
        for name, mark in read.items():
            if mark is None:
                wanted = f"a whole number from {rubric.lowest} to {rubric.highest}"
                return Reading(None, "off-format", f"{name} is {_shown(found.get(name))}, not {wanted}")
        marks.append({name: mark for name, mark in read.items() if mark is not None})
    if any(each != marks[0] for each in marks):
        return Reading(None, "off-format", "several answers that differ")
    return Reading(marks[0])


def _objects(text: str) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start >= 0:
        try:
            found, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            if isinstance(found, dict):
                yield found
        start = text.find("{", end)


def mark_on_scale(value: object, rubric: Rubric) -> int | None:
    """Return a whole number on the rubric's scale as int; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) > 1000:
        return None
    return int(value) if value == int(value) and rubric.lowest <= value <= rubric.highest else None


def _shown(value: object) -> str:
    return "missing" if value is None else json.dumps(value, ensure_ascii=False)[:40]
