"""The references of a set, read from samples.jsonl in the order in which the set is scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fdr_bench.errors import RunError
from fdr_bench.store import Row, read_rows


class References(NamedTuple):
    """What a set's N samples say of themselves in words; a sample may say nothing."""

    reasoning: Sequence[str]  # "" where there is none
    attributes: Sequence[Mapping[str, str | None] | None]
    captions: Sequence[str | None]
    ids: Sequence[str] = ()


def read_references(path: Path, order: Sequence[int]) -> References:
    """Read the references of samples.jsonl, those of line `order[i]` (from 0) at place i.

    Runs recorded before a field existed simply lack it. Raises `RunError` naming the line of a row whose fields are of
    another kind.
    """
    rows = list(read_rows(path))
    for number, row in enumerate(rows, 1):
        if fault := _fault(row):
            raise RunError(f"{path}, line {number}: {fault}. Restore the file, or run anew.")
    sorted_rows = [rows[number] for number in order]
    return References(
        reasoning=[row.get("reasoning") or "" for row in sorted_rows],
        attributes=[row.get("attributes") for row in sorted_rows],
        captions=[row.get("caption") for row in sorted_rows],
        ids=[str(row.get("id")) for row in sorted_rows],
    )


def _fault(row: Row) -> str | None:
    for name in ("reasoning", "caption"):
        if not isinstance(row.get(name), str | None):
            return f"{name} is {row[name]!r}, not a text"
    attributes = row.get("attributes")
    if attributes is not None and not (
        isinstance(attributes, dict) and all(isinstance(each, str | None) for each in attributes.values())
    ):
        return f"attributes is {attributes!r}, not an object of texts"
    return None
