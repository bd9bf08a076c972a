"""Sets whose images are perturbed, or re-encoded alike, with the samples and ids of the set that they come from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import NamedTuple

from fdr_bench.errors import UsageError
from fdr_bench.images import decode
from fdr_bench.perturbations import FAMILIES, Perturbation, encoded, perturb
from fdr_bench.types import Dataset, ImageFile

VERSION = 1
"""Goes up when a perturbation gives other pixels than before: old and new predictions are then never mixed."""
ALIGNED = "aligned"
_FORMATS = ("jpeg", "webp", "png")


class Alignment(NamedTuple):
    """The one format that all images of both classes get: "jpeg", "webp" or "png", and the quality of the first two."""

    format: str
    quality: int

    @property
    def label(self) -> str:
        """What stands behind the ~ in a set's name, such as "aligned-jpeg-95"."""
        return f"{ALIGNED}-{self.format}" + ("" if self.format == "png" else f"-{self.quality}")


@dataclass(frozen=True, slots=True)
class PerturbedImage:
    """An image that is perturbed when it is read. Small and picklable, as the one that it comes from."""

    image: ImageFile
    change: Perturbation | Alignment
    id: str

    @property
    def location(self) -> str:
        return self.image.location

    @property
    def size(self) -> int:
        """Bytes as stored, before the change."""
        return self.image.size

    def read(self) -> bytes:
        """Return the changed image as a file. Raises `ImageError` where it cannot be had or decoded."""
        pixels = decode(self.image.read(), self.location).pixels
        if isinstance(self.change, Alignment):
            return encoded(pixels, self.change.format.upper(), self.change.quality)
        return perturb(pixels, self.change, self.id)


def perturbed_set(dataset: Dataset, change: Perturbation | Alignment) -> Dataset:
    """Return a dataset of the same samples, each changed; its name is "SET~jpeg-50", or "SET~aligned-jpeg-95"."""
    samples = [replace(each, image=PerturbedImage(each.image, change, each.id)) for each in dataset.samples]
    what = (
        f"every image re-encoded as {change.format}" + ("" if change.format == "png" else f" at {change.quality}")
        if isinstance(change, Alignment)
        else f"{change.family} {change.level:g}: {FAMILIES[change.family].what}"
    )
    return replace(
        dataset,
        name=f"{dataset.name}~{change.label}",
        samples=samples,
        fingerprint=hashlib.sha256(f"{VERSION}\n{dataset.fingerprint}\n{change.label}".encode()).hexdigest(),
        notes=(*dataset.notes, what),
    )


def parse_alignment(text: str) -> Alignment:
    """Return the format of "jpeg:95", "webp:90", "jpeg" (95) or "png". Raises `UsageError`."""
    name, _, quality = text.partition(":")
    known = name in _FORMATS and (not quality or (name != "png" and quality.isdecimal() and 1 <= int(quality) <= 100))
    if not known:
        raise UsageError(
            f"--align-format is jpeg:QUALITY, webp:QUALITY (1 to 100) or png, such as jpeg:95, not '{text}'"
        )
    return Alignment(name, int(quality or 95) if name != "png" else 0)
