"""A reference: what a run gave, in one small file that is committed beside the code and that later runs must hold.

    {"format": "fdr-bench reference", "schema": 1, "written": {…},
     "metrics":  {"acc": "3f…", …}                     digests of the metrics' definitions
     "datasets": {"fdr-scenes-test": {"fingerprint": …, "samples": …, "n": 600, …}}
     "guards":   ["acc@strict", …]                     the metrics that fresh predictions must hold
     "cells":    [{"model": …, "dataset": …, "predictions": …,        digest of the answers
                   "values": {"all": {"acc": [0.92, 600, 0], …}, …},  value, n, n_missing
                   "right": "1101-…", "score": […], …}]}              one a sample, in the order of samples.jsonl

`right` is 1 or 0, "-" where the model did not answer. With the scores, a later run can be compared image by image.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fdr_bench.errors import ComparisonError
from fdr_bench.store import write_atomically

FORMAT = "fdr-bench reference"
SCHEMA = 1
Value = tuple[float, int, int]
"""A metric's value, the images that it rests on, and those that it lacks."""


@dataclass(frozen=True, kw_only=True)
class GuardedSet:
    """A dataset of a reference. `samples` digests ids, labels and generators; `fingerprint` the stored sizes too."""

    spec: str
    fingerprint: str
    samples: str
    n: int
    n_real: int
    n_fake: int
    generators: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GuardedSums:
    """The per-sample parts of one metric of reasoning, `top` over `bottom` (N each)."""

    top: tuple[float, ...]
    bottom: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One model on one dataset."""

    model: str
    dataset: str
    threshold: float
    predictions: str
    weights_sha256: str | None = None
    values: Mapping[str, Mapping[str, Value]]
    right: str
    score: tuple[float | None, ...] | None = None
    forced: str | None = None
    reasoning: Mapping[str, GuardedSums] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What later runs are held against."""

    written: Mapping[str, str | None]
    metrics: Mapping[str, str]
    datasets: Mapping[str, GuardedSet]
    guards: tuple[str, ...]
    cells: tuple[Cell, ...]
    schema: int = SCHEMA
    format: str = FORMAT


def write_reference(path: Path, reference: Reference) -> None:
    """Write a reference atomically, so laid out that a changed value is a changed line."""
    write_atomically(path, (_laid_out(asdict(reference), 0) + "\n").encode())


def _laid_out(content: Any, depth: int) -> str:
    """Return indented JSON; what lies in a list of plain values, or deeper than a slice's metric, stays on one line."""
    inline = not isinstance(content, dict | list | tuple) or not content
    if not inline and isinstance(content, list | tuple):
        inline = not isinstance(content[0], dict)
    if inline:
        return json.dumps(content, ensure_ascii=False, allow_nan=False)
    pad, end = " " * (depth + 1), " " * depth
    if isinstance(content, dict):
        kept = {key: value for key, value in content.items() if value is not None and value != {}}
        body = ",\n".join(f"{pad}{json.dumps(key)}: {_laid_out(value, depth + 1)}" for key, value in kept.items())
        return f"{{\n{body}\n{end}}}"
    return "[\n" + ",\n".join(pad + _laid_out(value, depth + 1) for value in content) + f"\n{end}]"


def read_reference(path: Path) -> Reference:
    """Read a reference. Raises `ComparisonError` where it is damaged, cut short, empty, or of a newer format."""
    from pydantic import TypeAdapter, ValidationError

    again = "Restore it from version control, or write it anew: fdr-bench check RUN --reference FILE --update"
    try:
        content = json.loads(path.read_bytes(), parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        raise ComparisonError(f"{path} is no whole reference ({error}). {again}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ComparisonError(f'{path} is no reference: it lacks "format": "{FORMAT}". {again}')
    if content.get("schema") != SCHEMA:
        raise ComparisonError(
            f"{path} has the format {content.get('schema')!r}; this fdr-bench reads {SCHEMA}. "
            "Update fdr-bench, or write the reference anew with --update."
        )
    try:
        reference = TypeAdapter(Reference).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ComparisonError(f"{path}: {where}: {first['msg'].lower()}. {again}") from None
    if fault := _fault(reference):
        raise ComparisonError(f"{path}: {fault}. {again}")
    return reference


def _no_number(name: str) -> float:
    raise ValueError(f"it holds {name}, which is no measurement")


def _fault(reference: Reference) -> str | None:
    """Return what is wrong inside a reference of the right shape."""
    if not reference.cells:
        return "it guards nothing: there is no model in it"
    seen = set()
    for cell in reference.cells:
        name = f"{cell.model} on {cell.dataset}"
        if (cell.model, cell.dataset) in seen:
            return f"{name} stands in it twice"
        seen.add((cell.model, cell.dataset))
        if cell.dataset not in reference.datasets:
            return f"{name}: the dataset is not described"
        if fault := _cell_fault(cell, reference.datasets[cell.dataset].n, reference.metrics):
            return f"{name}: {fault}"
    return None


def _cell_fault(cell: Cell, n: int, metrics: Mapping[str, str]) -> str | None:
    sums = [column for each in cell.reasoning.values() for column in (each.top, each.bottom)]
    columns = [cell.right, *([cell.score] if cell.score is not None else []), *sums]
    columns += [cell.forced] if cell.forced is not None else []
    for column in columns:
        if len(column) != n:
            return f"{len(column)} answers for {n} samples"
    if not set(cell.right) <= set("01-") or not set(cell.forced or "") <= set("01"):
        return "an answer is neither right, wrong nor missing"
    if any(score is not None and not 0 <= score <= 1 for score in cell.score or ()):
        return "a score lies outside [0, 1]"
    if not all(math.isfinite(number) for column in sums for number in column):
        return "a part of a metric is no number"
    if not any(cell.values.values()):
        return "it has no metrics"
    for part, values in cell.values.items():
        for metric, (value, count, missing) in values.items():
            if metric not in metrics:
                return f"the definition of {metric} is not recorded"
            if not math.isfinite(value) or count < 0 or missing < 0:
                return f"{metric} of {part} is no measurement"
    return None
