"""Perturbations of images, deterministic by sample id: what a picture goes through before a detector sees it.

Each is a family at a level, such as jpeg at 50. Pixels are Pillow's (one version a run, in run.json); what is drawn
comes from a hash of the sample's id, so that every machine perturbs an image alike.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from fdr_bench.errors import UsageError, nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of perturbation. `levels` are the usual ones, weakest first; any from `low` to `high` may be asked for.

    `strength` turns a level into a number that grows with the harm and is 0 where nothing is done.
    """

    name: str
    what: str
    levels: tuple[float, ...]
    low: float
    high: float
    strength: Callable[[float], float]
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Perturbation:
    """A family at a level."""

    family: str
    level: float

    @property
    def label(self) -> str:
        """What stands behind the ~ in a set's name, such as "jpeg-50" or "blur-0.5"."""
        return f"{self.family}-{self.level:g}"

    @property
    def strength(self) -> float:
        """How far it is from doing nothing, in the family's own unit."""
        return FAMILIES[self.family].strength(self.level)


_QUALITIES = (95.0, 90.0, 80.0, 70.0, 60.0, 50.0, 40.0, 30.0)
FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="jpeg",
            what="JPEG at this quality, chroma 4:2:0",
            levels=_QUALITIES,
            low=1,
            high=100,
            strength=lambda level: 100 - level,
            whole=True,
        ),
        Family(
            name="webp",
            what="lossy WebP at this quality",
            levels=_QUALITIES,
            low=1,
            high=100,
            strength=lambda level: 100 - level,
            whole=True,
        ),
        Family(
            name="blur",
            what="Gaussian blur of this standard deviation in pixels",
            levels=(0.5, 1.0, 2.0, 3.0),
            low=0.1,
            high=50,
            strength=float,
        ),
        Family(
            name="resize",
            what="both sides times this factor, bicubic, and left at that size",
            levels=(0.9, 0.75, 0.5, 0.25),
            low=0.02,
            high=0.99,
            strength=lambda level: 1 - level,
        ),
        Family(
            name="crop",
            what="this share of both sides, at a place drawn by the id",
            levels=(0.9, 0.8, 0.7, 0.6, 0.5),
            low=0.05,
            high=0.99,
            strength=lambda level: 1 - level,
        ),
        Family(
            name="noise",
            what="Gaussian noise of this standard deviation in 8-bit levels",
            levels=(2.0, 5.0, 10.0, 20.0),
            low=0.1,
            high=128,
            strength=float,
        ),
        Family(
            name="social",
            what="posted this many times: each time shrunk to at most 1080 pixels and by a factor of 0.7 to 1, then "
            "JPEG at 60 to 90, both drawn by the id",
            levels=(1.0, 2.0, 3.0),
            low=1,
            high=10,
            strength=float,
            whole=True,
        ),
    )
}
LONGEST = 1080
"""Pixels of the longer side that a social platform leaves an image."""


def parse(words: Sequence[str]) -> list[Perturbation]:
    """Return the perturbations of words like "jpeg", "jpeg:95..30", "blur:1,2" or "crop:0.5", weakest first.

    A family alone has its usual levels; a range has those of them that lie within, and its ends. Raises `UsageError`.
    """
    found: list[Perturbation] = []
    for word in (part for each in words for part in each.split()):
        name, _, levels = word.partition(":")
        if name not in FAMILIES:
            raise UsageError(
                f"no perturbation is called '{name}'.{nearest(name, FAMILIES)} Known: {', '.join(FAMILIES)}"
            )
        family = FAMILIES[name]
        asked = _levels(family, levels) if levels else family.levels
        found += [Perturbation(name, level) for level in sorted(set(asked), key=family.strength)]
    return list(dict.fromkeys(found))


def _levels(family: Family, text: str) -> list[float]:
    start, dots, end = text.partition("..")
    if dots:
        first, last = _level(family, start), _level(family, end)
        low, high = min(first, last), max(first, last)
        return [first, *(level for level in family.levels if low < level < high), last]
    return [_level(family, part) for part in text.split(",")]


def _level(family: Family, text: str) -> float:
    try:
        level = float(text)
    except ValueError:
        level = math.nan
    if not family.low <= level <= family.high or (family.whole and level != int(level)):
        kind = "a whole number" if family.whole else "a number"
        raise UsageError(
            f"the level of {family.name} ({family.what}) is {kind} from {family.low:g} to {family.high:g}, not "
            f"'{text}'. "
            f"Examples: {family.name}, {family.name}:{family.levels[0]:g}..{family.levels[-1]:g}, "
            f"{family.name}:{family.levels[0]:g},{family.levels[1]:g}"
        )
    return float(f"{level:g}")  # as the set is called, or two sets could have one name


def perturb(image: Image.Image, perturbation: Perturbation, id: str) -> bytes:
    """Return the encoded file of a perturbed RGB image: JPEG of "jpeg" and "social", WebP of "webp", else PNG.

    Sides stay at least 1 pixel. Equal arguments give equal bytes under one version of Pillow.
    """
    level, seed = perturbation.level, _seed(perturbation, id)
    match perturbation.family:
        case "jpeg":
            return encoded(image, "JPEG", int(level))
        case "webp":
            return encoded(image, "WEBP", int(level))
        case "blur":
            return encoded(image.filter(ImageFilter.GaussianBlur(level)), "PNG")
        case "resize":
            return encoded(_scaled(image, level), "PNG")
        case "crop":
            return encoded(_cropped(image, level, seed), "PNG")
        case "noise":
            return encoded(_noisy(image, level, seed), "PNG")
        case "social":
            return _posted(image, int(level), seed)
        case unknown:
            raise ValueError(f"no perturbation is called {unknown!r}")


def encoded(image: Image.Image, format: str, quality: int = 95) -> bytes:
    """Return an RGB image as a file without metadata; the quality is JPEG's or WebP's, PNG is without loss."""
    buffer = io.BytesIO()
    match format:
        case "JPEG":
            image.save(buffer, "JPEG", quality=quality, subsampling=2)
        case "WEBP":
            image.save(buffer, "WEBP", quality=quality, lossless=False)
        case _:
            image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _seed(perturbation: Perturbation, id: str) -> bytes:
    """Return 32 bytes by id and family: places and posts agree between levels, so that levels differ in strength only.

    Noise is drawn alike too, and scaled.
    """
    return hashlib.sha256(f"{perturbation.family}\n{id}".encode("utf-8", "surrogateescape")).digest()


def _share(seed: bytes, place: int) -> float:
    """Return one of eight numbers in [0, 1) that a seed holds."""
    return int.from_bytes(seed[4 * place : 4 * place + 4], "big") / 2**32


def _scaled(image: Image.Image, factor: float) -> Image.Image:
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _cropped(image: Image.Image, share: float, seed: bytes) -> Image.Image:
    width, height = (max(1, round(side * share)) for side in image.size)
    left = int(_share(seed, 0) * (image.width - width + 1))
    top = int(_share(seed, 1) * (image.height - height + 1))
    return image.crop((left, top, left + width, top + height))


def _noisy(image: Image.Image, deviation: float, seed: bytes) -> Image.Image:
    pixels = np.asarray(image, dtype=np.float64)
    noisy = pixels + deviation * _normal(seed, pixels.size).reshape(pixels.shape)
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def _normal(seed: bytes, count: int) -> NDArray[np.float64]:
    """Return standard normal numbers by Box and Muller from PCG64's raw bits, which no version of NumPy changes."""
    half = (count + 1) // 2
    bits = np.asarray(np.random.PCG64(int.from_bytes(seed, "big")).random_raw(2 * half), dtype=np.uint64)
    uniform = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53  # [0, 1)
    radius = np.sqrt(-2.0 * np.log1p(-uniform[:half]))
    angle = 2.0 * np.pi * uniform[half:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]


def _posted(image: Image.Image, times: int, seed: bytes) -> bytes:
    payload = b""
    for post in range(times):
        drawn = hashlib.sha256(seed + bytes([post])).digest()
        factor = min(1.0, LONGEST / max(image.size)) * (0.7 + 0.3 * _share(drawn, 0))
        payload = encoded(_scaled(image, factor), "JPEG", 60 + int(_share(drawn, 1) * 31))
        image = Image.open(io.BytesIO(payload)).convert("RGB")
    return payload
