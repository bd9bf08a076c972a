"""The training images in memory, decoded once where they fit, and the images held out for validation.

An image that cannot be decoded is left out and named; beyond a limit training does not start. No image is replaced.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fdr_bench import images
from fdr_bench.errors import DataError, ImageError
from fdr_bench.types import Resize, Sample, View

if TYPE_CHECKING:
    import torch

Pixels = NDArray[np.uint8]

MEMORY = 4 << 30
"""Bytes of decoded training images that are kept; more are decoded again for every batch."""
ALONE = 2000
"""Up to this many images are decoded by this process: starting others would take longer."""
CHUNK = 64


class Decoded(NamedTuple):
    """One image after its geometry, (H, W, 3), with the sha256 of its bytes; or the reason why there is none."""

    pixels: Pixels | None
    sha256: str
    reason: str | None


class Geometry(NamedTuple):
    """The deterministic 8-bit steps before anything random: a view's, or a recipe's resize."""

    steps: View

    @classmethod
    def resize(cls, size: int | tuple[int, int] | None) -> Geometry:
        """Return what resizes as `types.Resize`, bilinear; None: nothing."""
        unit = (1.0, 1.0, 1.0)
        return cls(View(steps=() if size is None else (Resize(size),), mean=unit, std=unit))

    def __call__(self, image: Image.Image) -> Pixels:
        return np.array(images.geometry(self.steps, image))


class ImageSet(NamedTuple):
    """Decodable images with their labels. `pixels` is one array where all sizes agree, and None where too large."""

    samples: Sequence[Sample]
    fake: NDArray[np.bool_]  # (N,)
    sha256: Sequence[str]
    geometry: Geometry
    pixels: Pixels | Sequence[Pixels] | None

    def take(self, index: NDArray[np.intp]) -> Pixels | list[Pixels]:
        """Return the images at `index` (B,): one array (B, H, W, 3), or a list where sizes differ."""
        if isinstance(self.pixels, np.ndarray):
            return self.pixels[index]
        if self.pixels is not None:
            return [self.pixels[i] for i in index]
        return [_sure(decode(self.samples[i], self.geometry)) for i in index]

    def keep(self, kept: NDArray[np.bool_]) -> ImageSet:
        """Return the set with only the images where `kept` (N,) is true."""
        index = np.flatnonzero(kept)
        pixels = self.take(index) if self.pixels is not None else None
        samples, sha256 = [self.samples[int(i)] for i in index], [self.sha256[int(i)] for i in index]
        return ImageSet(samples, self.fake[index], sha256, self.geometry, pixels)


def decode(sample: Sample, geometry: Geometry) -> Decoded:
    """Decode one image and apply its geometry; a failure is a reason, not an exception."""
    try:
        decoded = images.decode(sample.image.read(), sample.image.location)
    except ImageError as error:
        return Decoded(None, "", str(error))
    return Decoded(geometry(decoded.pixels), decoded.sha256, None)


def load(
    samples: Sequence[Sample],
    geometry: Geometry,
    *,
    workers: int,
    advance: Callable[[int], None],
    memory: int = MEMORY,
) -> tuple[ImageSet, dict[str, str]]:
    """Decode all samples; return those that could be, and id -> reason of the others.

    `advance` is called with the number of images done since its last call. Where the pixels exceed `memory` bytes
    they are dropped again, and `ImageSet.take` decodes them anew.
    """
    kept: list[Sample] = []
    digests: list[str] = []
    pixels: list[Pixels] | None = []
    failures: dict[str, str] = {}
    held = 0
    for sample, decoded in zip(samples, _decode_all(samples, geometry, workers), strict=True):
        advance(1)
        if decoded.pixels is None:
            failures[sample.id] = decoded.reason or "cannot be decoded"
            continue
        kept.append(sample)
        digests.append(decoded.sha256)
        held += decoded.pixels.nbytes
        if held > memory:
            pixels = None
        if pixels is not None:
            pixels.append(decoded.pixels)
    fake = np.array([sample.label == "fake" for sample in kept], dtype=np.bool_)
    return ImageSet(kept, fake, digests, geometry, _stacked(pixels)), failures


def _decode_all(samples: Sequence[Sample], geometry: Geometry, workers: int) -> Iterator[Decoded]:
    """Yield the samples decoded, in order; in other processes where there are enough of them to gain by it."""
    if workers < 2 or len(samples) <= ALONE:
        for sample in samples:
            yield decode(sample, geometry)
        return
    # Started afresh and not forked: torch's threads may run here already, and a fork would copy their locks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(partial(decode, geometry=geometry), samples, chunksize=CHUNK)


def _stacked(pixels: list[Pixels] | None) -> Pixels | list[Pixels] | None:
    if pixels and len({image.shape for image in pixels}) == 1:
        return np.stack(pixels)
    return pixels


def _sure(decoded: Decoded) -> Pixels:
    if decoded.pixels is None:
        raise DataError(f"{decoded.reason} (it could be decoded when training began: has the file changed?)")
    return decoded.pixels


def normalised(pixels: Pixels, view: View, device: torch.device) -> torch.Tensor:
    """Return (x / 255 - mean) / std as float32 (B, 3, H, W) of uint8 RGB (B, H, W, 3), in channels-last memory.

    The order of the channels and the number in the place of 255 are the view's.
    """
    import torch

    mean = torch.tensor(view.mean, device=device)
    std = torch.tensor(view.std, device=device)
    values = torch.from_numpy(pixels).to(device).float() / view.divisor
    if view.order == "bgr":
        values = values.flip(-1)
    return ((values - mean) / std).permute(0, 3, 1, 2)
