"""An image that lies in a file of its own."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from fdr_bench.errors import ImageError

MAX_FILE_BYTES = 1 << 30
"""A larger file is no image that could be decoded here, and is not read into memory."""


@dataclass(frozen=True, slots=True)
class FileImage:
    """One file. `size` is its bytes when it was listed, -1 for what is no readable file (a folder, a dangling link)."""

    path: str
    size: int

    @property
    def location(self) -> str:
        return self.path

    def read(self) -> bytes:
        """Return the file's bytes. Raises `ImageError` where there is no such regular file or it cannot be read."""
        try:
            status = os.stat(self.path)
            # Opening a pipe would wait for ever, so only regular files are.
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(f"{self.path}: {_kind(status.st_mode)}, not an image file")
            if status.st_size > MAX_FILE_BYTES:
                raise ImageError(
                    f"{self.path}: {status.st_size:,} bytes, more than the {MAX_FILE_BYTES:,} that are read"
                )
            with open(self.path, "rb") as stream:
                return stream.read()
        except OSError as error:
            if os.path.islink(self.path) and not os.path.exists(self.path):
                reason = f"dangling link to {os.readlink(self.path)}"
            else:
                reason = error.strerror or type(error).__name__
            raise ImageError(f"{self.path}: cannot be read: {reason}") from error


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    return "a pipe, socket or device"
