"""Read and write a run folder.

    RUN/spec.json                              what was asked, resolved; written first
    RUN/datasets/<dataset>/samples.jsonl       the labels; sorted by id
    RUN/datasets/<dataset>/files.jsonl         what each file said of itself, or why it could not be decoded
    RUN/<model>/<dataset>/predictions.jsonl    one row a sample; appended, never rewritten but for order
    RUN/run.json                               written last, atomically: the run is finished

Rows are handed to the operating system a batch at a time and synced to disk once a second: a killed process loses
nothing, a lost machine at most a second. A torn last line is cut off when the log is opened again.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fdr_bench.errors import RunError

SCHEMA = 1
SYNC_SECONDS = 1.0

Row = dict[str, Any]


def encode(row: Mapping[str, Any]) -> bytes:
    """Return one line of JSON: keys in their order, None left out, no spaces, floats with all their digits."""
    kept = {key: value for key, value in row.items() if value is not None}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, sees either the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write indented JSON atomically."""
    write_atomically(path, json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False).encode() + b"\n")


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a .jsonl file atomically."""
    write_atomically(path, b"".join(map(encode, rows)))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises `RunError` where it is missing or damaged."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RunError(f"{path} is missing: is {path.parent} a run folder?") from None
    except (ValueError, OSError) as error:
        raise RunError(f"{path} cannot be read ({error})") from None
    if not isinstance(content, dict):
        raise RunError(f"{path} holds no JSON object")
    return content


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a .jsonl file. Raises `RunError` naming file and line."""
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed below; opened apart for the message)
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror})") from None
    with file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
            except ValueError:
                raise RunError(f"{path}, line {number}: not JSON. {remedy(path)}") from None
            if not isinstance(row, dict):
                raise RunError(f"{path}, line {number}: not a JSON object. {remedy(path)}")
            yield row


def remedy(path: Path) -> str:
    """Return what to do about a damaged line of a .jsonl file; where rows are appended, the others are kept."""
    what = "the file" if path.name in ("samples.jsonl", "examples.jsonl") else "this line"
    return f"Each line must be one JSON object as the runner writes it; remove {what} and resume the run."


def read_manifest(run: Path) -> dict[str, Any]:
    """Return run.json, or of an unfinished run spec.json with "unfinished": true. A newer format raises `RunError`."""
    finished = (run / "run.json").exists()
    path = run / ("run.json" if finished else "spec.json")
    manifest = read_json(path)
    refuse_newer(manifest.get("schema", SCHEMA), path)
    return manifest if finished else {**manifest, "unfinished": True}


def refuse_newer(schema: object, path: Path) -> None:
    """Raise `RunError` where a file says that a newer program wrote it. Every older format is still read."""
    if not isinstance(schema, int) or schema > SCHEMA:
        raise RunError(
            f"{path} was written in format {schema!r}; this fdr-bench reads up to {SCHEMA}. Update fdr-bench."
        )


def read_scores(run: Path) -> list[Row]:
    """Return the rows of scores.json. Raises `RunError` where the run has not been scored."""
    if not (run / "scores.json").exists():
        raise RunError(f"{run} has no scores.json; run 'fdr-bench score {run}' first")
    return list(read_json(run / "scores.json")["scores"])


class Lock:
    """Hold a run folder for one process. The kernel lets go of it when the process ends, however it ends."""

    def __init__(self, run: Path) -> None:
        run.mkdir(parents=True, exist_ok=True)
        self.path = run / ".lock"
        self._file = open(self.path, "a+")  # noqa: SIM115 (held for the life of the lock)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            holder = self._file.read().strip() or "another process"
            self._file.close()
            raise RunError(f"{run} is in use by {holder}. Wait for it, or stop it and resume.") from None
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%H:%M:%S')}\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class Log:
    """An append-only .jsonl file keyed by sample id; opening it repairs a torn end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "a+b")  # noqa: SIM115 (closed by close())
        self._synced = time.monotonic()
        try:
            self._repair()
            self.ids = self._read_ids()
        except BaseException:
            self._file.close()
            raise

    def _repair(self) -> None:
        end = self._file.seek(0, os.SEEK_END)
        position, tail = end, b""
        while position and b"\n" not in tail:
            step = min(position, 1 << 16)
            position = self._file.seek(position - step)
            tail = self._file.read(step) + tail
        keep = position + tail.rfind(b"\n") + 1
        if keep != end:
            self._file.truncate(keep)

    def _read_ids(self) -> list[str]:
        self._file.seek(0)
        seen: dict[str, None] = {}
        for number, line in enumerate(self._file, 1):
            id = _id_of(line)
            if id is None:
                raise RunError(
                    f"{self.path}, line {number}: damaged, or not a row of this program. {remedy(self.path)}"
                )
            if id in seen:
                raise RunError(
                    f"{self.path}, line {number}: sample {id!r} stands in it twice; the file was changed by hand. "
                    + remedy(self.path)
                )
            seen[id] = None
        return list(seen)

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Hand rows to the operating system in one write; sync to disk if a second has passed."""
        self._file.write(b"".join(map(encode, rows)))
        self._file.flush()
        self.ids.extend(row["id"] for row in rows)
        if time.monotonic() - self._synced > SYNC_SECONDS:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def rows(self) -> Iterator[Row]:
        """Yield the rows written so far."""
        self._file.flush()
        return read_rows(self.path)

    def rewrite(self, keep: Callable[[Row], bool] = lambda row: True, *, order: Sequence[str] | None = None) -> None:
        """Replace the file atomically by the kept rows, in the given order of ids (None: as they are)."""
        rows = [row for row in self.rows() if keep(row)]
        if order is not None:
            place = {id: index for index, id in enumerate(order)}
            rows.sort(key=lambda row: place[row["id"]])
        self.close()
        write_atomically(self.path, b"".join(map(encode, rows)))
        self._file = open(self.path, "a+b")  # noqa: SIM115
        self.ids = [row["id"] for row in rows]

    def close(self) -> None:
        """Sync and close."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def _id_of(line: bytes) -> str | None:
    """Return the id that a row begins with; None where the line is none of `encode`, or its end or middle is gone.

    Rows begin with their id (see `encode` and the runner), so that resuming 100,000 of them parses little.
    """
    if not line.startswith(b'{"id":"') or not line.endswith(b"}\n") or b"\0" in line:
        return None
    end = line.find(b'"', 7)
    while end > 0 and _escaped(line, end):
        end = line.find(b'"', end + 1)
    if end < 0:
        return None
    try:
        return str(json.loads(line[6 : end + 1]))
    except ValueError:
        return None


def _escaped(line: bytes, position: int) -> bool:
    backslashes = 0
    while line[position - 1 - backslashes : position - backslashes] == b"\\":
        backslashes += 1
    return backslashes % 2 == 1
