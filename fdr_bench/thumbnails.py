"""Small pictures of a run's images, kept in the run folder: a board shows them long after the images are gone.

    RUN/datasets/<dataset>/thumbnails/<digest>.jpg       at most 320 pixels a side; named by the image's own bytes
    RUN/datasets/<dataset>/thumbnails/<digest>-<n>.png   where attribute n of `ATTRIBUTES` shows, transparent elsewhere

A picture is made only of bytes with the digest that the run recorded, so it never shows another image than was scored.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageChops, ImageFilter

from fdr_bench.data import open_dataset
from fdr_bench.errors import FDRBenchError, ImageError
from fdr_bench.images import decode
from fdr_bench.metrics.claims import ATTRIBUTES
from fdr_bench.store import Row, read_rows, write_atomically
from fdr_bench.types import Sample

SIDE = 320
QUALITY = 82
INSIDE, OUTLINE = (255, 92, 0, 72), (255, 92, 0, 255)
"""A region's colours, RGBA: it is filled faintly, so that what it covers stays visible, and outlined fully."""


class Picture(NamedTuple):
    """What can be shown of one sample: the file, or why there is none; `regions` are files by attribute."""

    file: str | None
    reason: str | None
    regions: Mapping[str, str]
    size: tuple[int, int] | None  # width, height of the image itself


def write_thumbnails(run: Path, dataset: str, ids: list[str], *, spec: str, start: str | None) -> dict[str, Picture]:
    """Make the pictures that are missing of `ids`; return by id what can be shown.

    `spec` says where the images lie, relative paths starting at `start`. Images that cannot be read, or that are not
    the bytes that the run saw, have a reason instead; nothing is raised for them.
    """
    folder = run / "datasets" / dataset / "thumbnails"
    known = run / "datasets" / dataset / "files.jsonl"
    files = {row["id"]: row for row in read_rows(known)} if known.is_file() else {}
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    lacking = [id for id in ids if _digest(files.get(id)) and f"{_digest(files[id])}.jpg" not in present]
    samples: dict[str, Sample] = {}
    closed = ""
    if lacking:
        try:
            with contextlib.chdir(start if start and Path(start).is_dir() else "."):
                samples = {sample.id: sample for sample in open_dataset(spec).samples}
        except FDRBenchError as error:
            closed = f"the images can no longer be read: {error}"
    reasons: dict[str, str] = {}
    with contextlib.chdir(start if start and Path(start).is_dir() else "."):
        made = {id: _picture(samples.get(id), str(_digest(files[id]))) for id in lacking} if samples else {}
    for id, content in made.items():
        if isinstance(content, str):
            reasons[id] = content
            continue
        for name, encoded in content.items():
            write_atomically(folder / name, encoded)
            present.add(name)
    return {id: _shown(files.get(id), present, reasons.get(id) or closed) for id in ids}


def _digest(row: Row | None) -> str | None:
    """Return the digest of a recorded file, None where it was not recorded or could not be decoded."""
    digest = (row or {}).get("image")
    usable = isinstance(digest, str) and len(digest) == 32 and set(digest) <= set("0123456789abcdef")
    return digest if usable and "error" not in (row or {}) else None


def _shown(row: Row | None, present: set[str], reason: str) -> Picture:
    digest = _digest(row)
    if row is None:
        return Picture(None, "the run did not record which bytes it saw", {}, None)
    size = (row["width"], row["height"]) if "width" in row and "height" in row else None
    if digest is None:
        return Picture(None, str(row.get("error") or "the run did not record which bytes it saw"), {}, size)
    if f"{digest}.jpg" not in present:
        return Picture(None, reason or "the image can no longer be read", {}, size)
    regions = {name: f"{digest}-{place}.png" for place, name in enumerate(ATTRIBUTES)}
    return Picture(f"{digest}.jpg", None, {name: file for name, file in regions.items() if file in present}, size)


def _picture(sample: Sample | None, digest: str) -> dict[str, bytes] | str:
    """Return the files of one sample by name, or why there are none."""
    if sample is None:
        return "the set no longer has this image"
    try:
        payload = sample.image.read()
        if hashlib.sha256(payload).hexdigest()[:32] != digest:
            return "the image has changed since the run saw it"
        pixels = decode(payload, sample.image.location).pixels
    except ImageError as error:
        return f"the image can no longer be read: {error}"
    pixels.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    files = {f"{digest}.jpg": _encoded(pixels, "JPEG", quality=QUALITY, subsampling=0)}
    for place, name in enumerate(ATTRIBUTES):
        mask = (sample.regions or {}).get(name)
        if mask is not None and Path(mask).is_file():
            files[f"{digest}-{place}.png"] = _overlay(Path(mask), pixels.size)
    return files


def _overlay(path: Path, size: tuple[int, int]) -> bytes:
    """Return a mask as a transparent PNG of `size`: filled faintly, with an outline."""
    with Image.open(path) as opened:
        mask = opened.convert("L").resize(size, Image.Resampling.NEAREST).point(lambda level: 255 * (level > 127))
    inner = mask.filter(ImageFilter.MinFilter(3))
    picture = Image.new("RGBA", size, (0, 0, 0, 0))
    picture.paste(INSIDE, mask=inner)
    picture.paste(OUTLINE, mask=ImageChops.subtract(mask, inner))
    return _encoded(picture, "PNG", optimize=True)


def _encoded(picture: Image.Image, form: str, **settings: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **settings)
    return stream.getvalue()
