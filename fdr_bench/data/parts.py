"""A file that lies in several parts, read as one, and which parts on disk belong together."""

from __future__ import annotations

import glob
import io
import os
import re
from dataclasses import dataclass
from typing import IO

from fdr_bench.errors import DataError, UsageError

# x.tar.part1, x.tar.part-00, x.tar.part_aa · x.tar.000 · x.tar.aa, x.tar-aa
_PART = re.compile(
    r"^(?P<base>.+\.(?:tar|tgz|tar\.\w{2,3}))[.\-_](?:part[.\-_]?)?(?P<number>\d{1,5}|[a-z]{2,3})$", re.I
)
_WHOLE = re.compile(r"\.(tar|tgz|tar\.(gz|bz2|xz|zst))$", re.IGNORECASE)
_COMPRESSION = frozenset(("gz", "bz", "bz2", "xz", "zst", "lz", "lz4"))


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one file in order, with their sizes in bytes. Small and picklable."""

    name: str
    paths: tuple[str, ...]
    sizes: tuple[int, ...]

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`; fewer at the end. Raises `OSError`.

        Opens the part anew, so it may be called from any process or thread.
        """
        chunks = []
        start = 0
        for path, length in zip(self.paths, self.sizes, strict=True):
            if size > 0 and start <= offset < start + length:
                with open(path, "rb") as stream:
                    stream.seek(offset - start)
                    chunks.append(stream.read(min(size, start + length - offset)))
                offset += len(chunks[-1])
                size -= len(chunks[-1])
            start += length
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class PartsReader(io.RawIOBase):
    """A seekable stream over all parts, for one process; it keeps a single part open."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.length = sum(parts.sizes)
        self._parts = parts
        self._position = 0
        self._open: tuple[int, IO[bytes]] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.length}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return exactly `size` bytes unless the last part ends (a raw stream's `read` may give fewer)."""
        wanted = self.length - self._position if size < 0 else size
        chunks = []
        while wanted > 0 and self._position < self.length:
            stream, left = self._part_at(self._position)
            chunk = stream.read(min(wanted, left))
            if not chunk:
                break
            chunks.append(chunk)
            self._position += len(chunk)
            wanted -= len(chunk)
        return b"".join(chunks)

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None
        super().close()

    def _part_at(self, position: int) -> tuple[IO[bytes], int]:
        """Return the part at a position, placed there, and how many of its bytes are left."""
        start, index = 0, 0
        while position >= start + self._parts.sizes[index]:
            start += self._parts.sizes[index]
            index += 1
        if self._open is None or self._open[0] != index:
            if self._open is not None:
                self._open[1].close()
            # Stays open until the next part or `close`.
            self._open = (index, open(self._parts.paths[index], "rb"))  # noqa: SIM115
        stream = self._open[1]
        stream.seek(position - start)
        return stream, start + self._parts.sizes[index] - position


def find_archives(path: str) -> list[Parts]:
    """Return the archives that a path names, their parts joined: a file, one part, a shared name, a folder or a glob.

    Raises `UsageError` where there is none, `DataError` where a part is missing between others or has no bytes.
    """
    if os.path.isdir(path):
        files = sorted(entry.path for entry in os.scandir(path) if entry.is_file())
        found = [name for name in files if _WHOLE.search(name) or _part_of(name)]
    elif os.path.isfile(path):
        part = _part_of(path)
        found = _siblings(part[0]) if part else [path]
    else:
        found = _siblings(path) or sorted(glob.glob(path))
    if not found:
        raise UsageError(
            f"no archive at '{path}': expected a .tar file, its parts (.tar.part1, .tar.000, .tar.aa) or a folder"
        )
    groups: dict[str, list[str]] = {}
    for name in found:
        part = _part_of(name)
        groups.setdefault(part[0] if part else name, []).append(name)
    return [_join(base, names) for base, names in sorted(groups.items())]


def _part_of(path: str) -> tuple[str, str] | None:
    """Return (base path, number) where a name is one part's: x.tar.000 is part "000" of x.tar."""
    folder, name = os.path.split(path)
    match = _PART.match(name)
    if match is None or match["number"].lower() in _COMPRESSION:
        return None
    return os.path.join(folder, match["base"]), match["number"].lower()


def _siblings(base: str) -> list[str]:
    folder = os.path.dirname(base) or "."
    if not os.path.isdir(folder):
        return []
    paths = (os.path.join(os.path.dirname(base), name) for name in sorted(os.listdir(folder)))
    return [path for path in paths if (part := _part_of(path)) and part[0] == base]


def _join(base: str, paths: list[str]) -> Parts:
    if len(paths) == 1 and _part_of(paths[0]) is None:
        return Parts(os.path.basename(base), (paths[0],), (os.path.getsize(paths[0]),))
    numbered = sorted((_place(path), path) for path in paths)
    counts = [count for count, _ in numbered]
    first = counts[0]
    missing = sorted(set(range(first, counts[-1] + 1)) - set(counts))
    if first > 1 or missing or len(set(counts)) != len(counts):
        raise DataError(
            f"{base}: its parts do not follow each other: found {', '.join(map(os.path.basename, paths))}. "
            "Every part from the first on is needed, each once"
        )
    ordered = tuple(path for _, path in numbered)
    return Parts(os.path.basename(base), ordered, tuple(os.path.getsize(path) for path in ordered))


def _place(path: str) -> int:
    """Return a part's place: decimal, or letters as `split` counts them (aa is 0, ab is 1, ba is 26)."""
    part = _part_of(path)
    number = part[1] if part else "0"
    if number.isdigit():
        return int(number)
    place = 0
    for letter in number:
        place = place * 26 + ord(letter) - ord("a")
    return place
