"""Small folder trees and tar archives for the tests of the data sources."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from tests.awkward import encoded, photograph

PNG = encoded(photograph(8, 8), "PNG")


def grow(root: Path, paths: Iterable[str]) -> Path:
    """Write one small image at each path below `root`."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(PNG)
    return root


def tar_of(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """Write a tar of regular files with names taken as they are, hostile ones too."""
    with tarfile.open(path, "w") as archive:
        for name, payload in members:
            member = tarfile.TarInfo(name)
            member.size = len(payload)
            archive.addfile(member, io.BytesIO(payload))
    return path


def facts(dataset):
    """Return what a test compares: (id, label, generator, category) of every sample."""
    return [(sample.id, sample.label, sample.generator, sample.category) for sample in dataset.samples]
