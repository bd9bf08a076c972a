"""Answers that are dear: each is written down when it comes, found again after a kill, and counted at the end."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from fdr_bench.store import Log, Row, read_rows

ANSWERS = "answers.jsonl"
"""The journal's name in the folder that a run gives a model."""


class Journal:
    """Rows by key, in a file that is appended to; any thread may ask and add. A torn end is cut off on opening."""

    def __init__(self, path: Path) -> None:
        self._log = Log(path)
        self._lock = threading.Lock()
        self._rows: dict[str, Row] = {row["id"]: row for row in self._log.rows()}

    def get(self, key: str) -> Row | None:
        """Return the row of a key, None where there is none."""
        return self._rows.get(key)

    def rows(self) -> list[Row]:
        """Return all rows, the earliest first."""
        with self._lock:
            return list(self._rows.values())

    def add(self, key: str, row: Mapping[str, object]) -> None:
        """Write a row down and hand it to the operating system: a killed process loses nothing. A known key stays."""
        with self._lock:
            if key not in self._rows:
                self._rows[key] = {"id": key, **row}
                self._log.append([self._rows[key]])

    def close(self) -> None:
        """Sync and close; nothing can be added any more."""
        with self._lock:
            self._log.close()


def usage(folder: Path) -> Row | None:
    """Return how many answers a model's folder in a run holds, and the sums of what they took; None without a journal.

    Summed are the fields under "usage" of its rows: requests, tokens and, where prices were given, cost.
    """
    path = folder / ANSWERS
    if not path.exists():
        return None
    total: Row = {"answers": 0}
    for row in read_rows(path):
        total["answers"] += 1
        for name, number in row.get("usage", {}).items():
            total[name] = total.get(name, 0) + number
    return total
