"""The marks that a run's folder holds, as terms of metrics beside those of reasoning."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdr_bench.errors import RunError, UsageError
from fdr_bench.judge.reading import mark_on_scale
from fdr_bench.judge.rubrics import Rubric, checked, metric_name
from fdr_bench.store import Row, read_json, read_rows
from fdr_bench.text_terms import Terms, Texts

FOLDER = "judges"
RECORD = "judge.json"
NO_TEXT = "no text"
"""The problem of a sample that the model gave no usable text for: nobody was asked about it."""


class StoredJudge(NamedTuple):
    """A judge whose marks stand in a run."""

    label: str
    rubric: Rubric
    folder: Path


def text_digest(text: str) -> str:
    """Return 32 hex digits of a text: marks of another text than the present one do not count."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


def stored_judges(run: Path) -> list[StoredJudge]:
    """Return the judges of a run, by label. Raises `RunError` where one's record is damaged."""
    found = []
    for path in sorted((run / FOLDER).glob(f"*/{RECORD}")):
        fields = read_json(path).get("rubric")
        try:
            rubric = checked(fields if isinstance(fields, Mapping) else {}, str(path))
        except UsageError as error:
            raise RunError(f"{error}. Restore the file, or remove {path.parent}.") from None
        found.append(StoredJudge(path.parent.name, rubric, path.parent))
    return found


def judged_terms(
    judges: Sequence[StoredJudge], dataset: str, model: str, ids: Sequence[str], texts: Texts, given: NDArray[np.bool_]
) -> dict[str, Terms]:
    """Return for one model's texts the terms of every criterion of every judge that was asked about the model.

    A mark m on a scale from a to b counts (m - a) / (b - a). In the *official* reading, samples without a mark are left
    out; in the *strict* one a sample that had no text to be marked counts as the lowest, but one that the judge failed
    at is missing there too. `ids` are the N samples' in the order of the texts; `given` says which have a reference.
    """
    found: dict[str, Terms] = {}
    for judge in judges:
        path = judge.folder / model / f"{dataset}.jsonl"
        if not path.is_file():
            continue
        rows = {str(row.get("id")): row for row in read_rows(path)}
        mine = [rows.get(id) for id in ids]
        relevant = given if judge.rubric.needs_reference else np.ones(len(ids), dtype=np.bool_)
        current = np.array(
            [
                row is not None and "marks" in row and row.get("text") == text_digest(text)
                for row, text in zip(mine, texts.written, strict=True)
            ],
            dtype=np.bool_,
        )
        marked = relevant & texts.usable & current
        lacked = np.array([row is not None and row.get("problem") == NO_TEXT for row in mine], dtype=np.bool_)
        empty = np.array([not text.strip() for text in texts.written], dtype=np.bool_)
        strict = marked | (relevant & texts.reached & empty & lacked)
        for criterion in judge.rubric.criteria:
            name = metric_name(criterion, judge.label)
            values = np.array(
                [_value(row, criterion, judge.rubric, path) if use else 0.0
                 for row, use in zip(mine, marked.tolist(), strict=True)]
            )  # fmt: skip
            found[name] = Terms(values, marked.astype(np.float64), relevant, marked, marked)
            found[f"{name}@strict"] = Terms(values, strict.astype(np.float64), relevant, strict, marked)
    return found


def _value(row: Row | None, criterion: str, rubric: Rubric, path: Path) -> float:
    marks = row.get("marks") if row else None
    mark = mark_on_scale(marks.get(criterion), rubric) if isinstance(marks, Mapping) else None
    if mark is None:
        raise RunError(f"{path}: sample {row and row.get('id')} has no mark for {criterion} on the rubric's scale")
    return (mark - rubric.lowest) / (rubric.highest - rubric.lowest)
