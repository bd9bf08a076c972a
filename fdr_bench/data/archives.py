"""Tar archives, whole or in parts, read in place: "tar:PATH". Nothing is ever unpacked to disk.

Parts are named as `split` and the hub's uploads leave them: x.tar.part1, x.tar.part-00, x.tar.000, x.tar.aa, x.tar-aa.
"""

from __future__ import annotations

import os
import posixpath
import re
import tarfile
from dataclasses import dataclass
from typing import IO, cast

from fdr_bench.data import make_dataset
from fdr_bench.data.classes import arrange, label_of
from fdr_bench.data.files import MAX_FILE_BYTES
from fdr_bench.data.folders import CLASS_OPTIONS, class_options
from fdr_bench.data.listing import Listing, stable_name
from fdr_bench.data.parts import Parts, PartsReader, find_archives
from fdr_bench.data.specs import dataset_name, split_options
from fdr_bench.errors import DataError, ImageError
from fdr_bench.types import Dataset, ImageFile

_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gzip -dk"),
    b"BZh": ("bzip2", "bzip2 -dk"),
    b"\xfd7zXZ": ("xz", "xz -dk"),
    b"\x28\xb5\x2f\xfd": ("zstandard", "zstd -d"),
    b"PK\x03\x04": ("zip", "unzip"),
}


_ENDING = re.compile(r"\.tar$", re.IGNORECASE)
_SHARD = re.compile(r"[-_.]\d{3,}(-of-\d+)?$")


@dataclass(frozen=True, slots=True)
class TarImage:
    """One member of a tar archive: `size` bytes from `offset` on, counted over all parts."""

    parts: Parts
    member: str
    offset: int
    size: int

    @property
    def location(self) -> str:
        return f"{self.parts.name}!{self.member}"

    def read(self) -> bytes:
        """Return the member's bytes. Raises `ImageError` where the archive has become shorter or cannot be read."""
        if self.size > MAX_FILE_BYTES:
            raise ImageError(f"{self.location}: {self.size:,} bytes, more than the {MAX_FILE_BYTES:,} that are read")
        try:
            payload = self.parts.read(self.offset, self.size)
        except OSError as error:
            raise ImageError(f"{self.location}: cannot be read: {error.strerror}") from error
        if len(payload) != self.size:
            raise ImageError(
                f"{self.location}: the archive ends inside this member; was it changed since it was listed?"
            )
        return payload


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A member in a class folder that holds no bytes of its own, kept so that its sample fails with the reason."""

    location: str
    reason: str
    size: int = -1

    def read(self) -> bytes:
        raise ImageError(f"{self.location}: {self.reason}")


def open_archives(rest: str) -> Dataset:
    """Open tar archives by the class folders inside. `rest` is "PATH[?generator=NAME&below=generator|category]".

    PATH is an archive, any of its parts, the name that its parts share, a folder of archives, or a glob pattern;
    several archives are one set. Raises `UsageError` where nothing is found, `DataError` for a missing part, a
    compressed or damaged archive, or no class folders (see `classes.arrange`).
    """
    path, options = split_options(rest, CLASS_OPTIONS)
    listing = list_archives(path)
    samples, notes = arrange(listing, class_options(rest, options))
    return make_dataset(dataset_name(path), f"tar:{rest}", samples, notes)


def list_archives(path: str) -> Listing:
    """List the members of all archives that `path` names, as one listing. See `open_archives` for the errors.

    Where several archives that are no numbered shards of each other have class folders at their top, as in
    flux.tar and sd15.tar, each one's name becomes the level above: its generator.
    """
    listing = Listing(root=path)
    found = find_archives(path)
    contents = [_list_members(listing, parts) for parts in found]
    stems = [_ENDING.sub("", parts.name) for parts in found]
    apart = len(found) > 1 and len({_SHARD.sub("", stem) for stem in stems}) == len(stems)
    for stem, files in zip(stems, contents, strict=True):
        at_top = any(label_of(name.split("/", 1)[0]) for name in files)
        _file_away(listing, files, stem if apart and at_top else "")
    return listing


def _list_members(listing: Listing, parts: Parts) -> dict[str, ImageFile]:
    """Return an archive's files by path; a later member replaces an earlier one of its name, as unpacking would."""
    files: dict[str, ImageFile] = {}
    links: list[tuple[str, tarfile.TarInfo]] = []
    repeated = 0
    for member in _members(listing, parts):
        name = stable_name(posixpath.normpath(member.name))
        unsafe = _unsafe(member.name)
        if unsafe:
            listing.notes.append(f"{parts.name}!{stable_name(member.name)} is left out: {unsafe}")
        elif member.isreg() and not member.issparse():
            repeated += name in files
            files[name] = TarImage(parts, name, member.offset_data, member.size)
        elif not member.isdir():
            links.append((name, member))
    targets = dict(files)
    for name, member in links:
        files[name] = _resolve(name, member, targets, parts)
    if repeated:
        listing.notes.append(f"{parts.name}: {repeated} member(s) are stored twice; the last of each counts")
    return files


def _members(listing: Listing, parts: Parts) -> list[tarfile.TarInfo]:
    _refuse_compressed(parts)
    with PartsReader(parts) as reader:
        try:
            # "r:" so that tarfile does not guess at compression and blame the wrong thing.
            with tarfile.open(fileobj=cast(IO[bytes], reader), mode="r:", errors="surrogateescape") as archive:
                members = archive.getmembers()
                end = archive.offset
        except (tarfile.TarError, ValueError, EOFError) as error:
            raise DataError(
                f"{parts.name}: not a readable tar archive, or cut off: {error}. Fetch it again; are all parts there?"
            ) from error
        # tarfile stops silently at damage behind the first member, so what follows must be the end mark.
        reader.seek(end)
        block = reader.read(tarfile.BLOCKSIZE)
    if block.strip(b"\0"):
        raise DataError(
            f"{parts.name}: damaged at byte {end:,}, after {len(members)} members; {reader.length - end:,} bytes are "
            "unreadable. Fetch the archive again, and check that all parts are there and in order"
        )
    if not block and len(parts.paths) > 1:
        raise DataError(
            f"{parts.name}: the {len(parts.paths)} parts end without an end mark, so the last part is missing. "
            "Put all parts into one folder"
        )
    if not block:
        listing.notes.append(f"{parts.name}: has no end mark; if it was cut off between two members, some are missing")
    return members


def _resolve(name: str, member: tarfile.TarInfo, files: dict[str, ImageFile], parts: Parts) -> ImageFile:
    """Return what a link inside the archive leads to; devices, pipes and links out of it become unreadable."""
    location = f"{parts.name}!{name}"
    if member.issparse():
        return Unreadable(location, "a sparse member, which is not read here")
    if not (member.islnk() or member.issym()):
        return Unreadable(location, "a device or pipe, not an image")
    # A hard link names a member from the archive's top, a symbolic one from its own folder.
    start = "" if member.islnk() else posixpath.dirname(name)
    target = stable_name(posixpath.normpath(posixpath.join(start, member.linkname)))
    if target in files:
        return files[target]
    return Unreadable(location, f"a link to {member.linkname}, which is no file in this archive")


def _file_away(listing: Listing, files: dict[str, ImageFile], above: str) -> None:
    for name, image in files.items():
        directory, _, base = name.rpartition("/")
        directory = "/".join(filter(None, (above, directory)))
        listing.directories.setdefault(directory, []).append((base, image))


def _unsafe(name: str) -> str | None:
    """Say why a member's path is refused, although nothing is written: such an archive did not come from a data set."""
    if name.startswith(("/", "\\")) or (len(name) > 1 and name[1] == ":"):
        return "its path is absolute"
    if ".." in name.replace("\\", "/").split("/"):
        return "its path leads out of the archive"
    return None


def _refuse_compressed(parts: Parts) -> None:
    head = parts.read(0, 8)
    for magic, (kind, command) in _COMPRESSED.items():
        if head.startswith(magic):
            if len(parts.paths) > 1:
                how = f"cat {parts.name}* | {command}c > joined.tar"
            else:
                how = f"{command} {os.path.basename(parts.paths[0])}"
            raise DataError(
                f"{parts.name}: compressed with {kind}, so single images cannot be read in place. "
                f"Expected a plain tar; decompress it once: {how}"
            )
