"""What lies where: the files below a folder, by directory, before anything is said about their labels."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from fdr_bench.data.files import FileImage
from fdr_bench.errors import DataError
from fdr_bench.types import ImageFile


def words(text: str) -> frozenset[str]:
    """Return the words of a text as a set: how this package writes down its longer word lists."""
    return frozenset(text.split())


IMAGE_ENDINGS = words(".png .jpg .jpeg .jpe .jfif .webp .gif .bmp .tif .tiff .avif .jp2 .ppm .pgm .heic .heif .ico")

# Files that keep a data set company. Whatever is not named here counts as an image, with an ending or without.
_OTHER_ENDINGS = words(
    ".csv .tsv .json .jsonl .txt .md .rst .html .htm .xml .yaml .yml .toml .ini .cfg .log .bib .tex .pdf .doc .docx "
    ".xls .xlsx .py .pyc .ipynb .sh .bat .m .zip .tar .tgz .gz .bz2 .xz .zst .7z .rar .parquet .arrow .feather .npy "
    ".npz .mat .h5 .hdf5 .lmdb .mdb .db .sqlite .pkl .pickle .pt .pth .ckpt .safetensors .onnx .sha256 .md5 .mp4 .avi "
    ".mov .mkv .webm .mp3 .wav .cls .lock .part .crdownload .tmp"
)
_OTHER_NAMES = words(
    "thumbs.db desktop.ini .ds_store .directory .gitkeep .gitignore .gitattributes .nomedia readme license licence "
    "copying makefile citation.cff sha256sums md5sums"
)
_OTHER_FOLDERS = words("__macosx @eadir .git .cache .ipynb_checkpoints .trashes .spotlight-v100")


@dataclass(slots=True)
class Listing:
    """Files by directory: relative POSIX path ("" for the top) to (name, file) pairs; empty directories too."""

    root: str
    directories: dict[str, list[tuple[str, ImageFile]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def is_other(name: str) -> bool:
    """Tell whether a file is by its name no image: a list, a text, an archive, or what operating systems leave."""
    lowered = name.lower()
    base, _, ending = lowered.rpartition(".")
    return (bool(base) and f".{ending}" in _OTHER_ENDINGS) or lowered in _OTHER_NAMES


def is_other_folder(name: str) -> bool:
    """Tell whether a folder is a system's or a tool's own, never part of a data set."""
    return name.lower() in _OTHER_FOLDERS


def stable_name(name: str) -> str:
    """Return a name as it is written in ids: Unicode NFC; bytes that are no UTF-8 as backslash escapes."""
    if name.isascii():
        return name
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", text)


def list_folder(root: str, *, holds_images: Callable[[str], bool]) -> Listing:
    """List all files below `root`, following links to folders but never in a circle.

    `holds_images(directory)` says whether images are expected there: in such a directory a folder with an image's
    ending (`x.png/`) is listed as an image that cannot be read, instead of being walked into. Sizes come from one
    `stat` a file; what cannot be had has size -1. Raises `DataError` where a folder cannot be opened.
    """
    listing = Listing(root=root)
    _walk(listing, root, "", frozenset(), holds_images)
    return listing


def _walk(
    listing: Listing, path: str, relative: str, above: frozenset[tuple[int, int]], holds_images: Callable[[str], bool]
) -> None:
    files: list[tuple[str, ImageFile]] = []
    listing.directories[relative] = files
    folders: list[str] = []
    expected = holds_images(relative)
    for entry in _entries(path):
        name = stable_name(entry.name)
        if not _is_folder(entry):
            files.append((name, FileImage(entry.path, _size(entry))))
        elif expected and os.path.splitext(name.lower())[1] in IMAGE_ENDINGS:
            files.append((name, FileImage(entry.path, -1)))
        elif is_other_folder(name):
            listing.notes.append(f"the folder {_join(relative, name)} is left out: it is a system's or a tool's own")
        else:
            folders.append(entry.name)
    if not folders:
        return
    status = os.stat(path)
    inside = above | {(status.st_dev, status.st_ino)}
    for raw in folders:
        below = os.path.join(path, raw)
        target = os.stat(below)
        if (target.st_dev, target.st_ino) in inside:
            listing.notes.append(f"the link {_join(relative, stable_name(raw))} leads back to a folder above it")
        else:
            _walk(listing, below, _join(relative, stable_name(raw)), inside, holds_images)


def _entries(path: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            yield from sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"{path}: the folder cannot be listed: {error.strerror}. Check its path and permissions"
        ) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, or into what may not be looked at
        return False


def _size(entry: os.DirEntry[str]) -> int:
    """Return a regular file's bytes, else -1: what a pipe or a dangling link "holds" differs between machines."""
    try:
        return entry.stat().st_size if entry.is_file() else -1
    except OSError:
        return -1


def _join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name
