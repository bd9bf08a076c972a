"""Images as the towers read them: padded to a square, resized bicubically, normalised with CLIP's mean and std.

The steps are those of arXiv 2503.21210: one tensor serves both towers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fakereasoning.config import CLIP_MEAN, CLIP_STD, PAD_COLOUR
from fdr_bench import images
from fdr_bench.errors import DataError, ImageError
from fdr_bench.training.augment import augment
from fdr_bench.training.recipe import Recipe
from fdr_bench.types import CenterCrop, ImageFile, Resize, View

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MEMORY = 4 << 30
"""Bytes of squared images that are kept."""
CHUNK = 256
"""Images decoded at a time; progress is reported after each."""


def squared(image: Image.Image, side: int, *, pad: bool = True) -> NDArray[np.uint8]:
    """Return an image as 8-bit RGB (side, side, 3): bicubic to `side` along the shorter edge, then the centre.

    With `pad` it is first put on a square of its longer edge, so that nothing is cut off; without it the longer edge
    loses its ends.
    """
    image = image if image.mode == "RGB" else image.convert("RGB")
    width, height = image.size
    if pad and width != height:
        edge = max(width, height)
        canvas = Image.new("RGB", (edge, edge), PAD_COLOUR)
        canvas.paste(image, ((edge - width) // 2, (edge - height) // 2))
        image = canvas
    view = View(steps=(Resize(side, "bicubic"), CenterCrop(side)), mean=CLIP_MEAN, std=CLIP_STD)
    return np.array(images.geometry(view, image))


def normalised(pixels: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """Return 8-bit images (B, H, W, 3) as the towers' input: float32 (B, 3, H, W), CLIP's mean 0 and std 1.

    They travel to the device as they are, and are computed there.
    """
    import torch

    values = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(three, device=device).view(1, 3, 1, 1) for three in (CLIP_MEAN, CLIP_STD))
    return ((values - mean) / std).contiguous()


def moved(pixels: NDArray[np.uint8], shift: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Return square images (B, H, H, 3), each moved by up to `shift` px; what comes in is reflected."""
    view = View(mean=CLIP_MEAN, std=CLIP_STD)
    return augment(pixels, Recipe(view=view, pad=shift, crop=pixels.shape[1], flip=0.0), random)


class TrainingImages:
    """The distinct images of a training, squared: read whenever taken, or kept in memory."""

    def __init__(
        self,
        files: Sequence[ImageFile],
        side: int,
        *,
        pad: bool = True,
        threads: int = 1,
    ) -> None:
        self.files, self.side, self.pad, self.threads = list(files), side, pad, max(1, threads)
        self._kept: NDArray[np.uint8] | None = None

    def keep(self, advance: Callable[[int], None] = lambda _: None, *, memory: int = MEMORY) -> None:
        """Read all images now and keep them, where they take no more than `memory` bytes.

        `advance` gets the number of images read since its last call. Raises `DataError` naming the first image that
        cannot be read or decoded.
        """
        if len(self) * self.side**2 * 3 > memory:
            return
        kept = np.empty((len(self), self.side, self.side, 3), dtype=np.uint8)
        for start in range(0, len(kept), CHUNK):
            part = np.arange(start, min(start + CHUNK, len(kept)))
            kept[part] = self.take(part)
            advance(len(part))
        self._kept = kept

    def __len__(self) -> int:
        return len(self.files)

    def take(self, index: NDArray[np.intp]) -> NDArray[np.uint8]:
        """Return the images at `index` (B,) as (B, side, side, 3). Raises `DataError` where one cannot be decoded."""
        if self._kept is not None:
            return self._kept[index]
        with ThreadPoolExecutor(self.threads) as pool:
            return np.stack(list(pool.map(self._read, index)))

    def fingerprint(self) -> str:
        """Return a sha256 over what the images are, in order: their names and sizes in bytes, and the side."""
        listed = [[file.location, file.size] for file in self.files]
        return hashlib.sha256(json.dumps([listed, self.side, self.pad]).encode()).hexdigest()

    def _read(self, index: int) -> NDArray[np.uint8]:
        file = self.files[index]
        try:
            decoded = images.decode(file.read(), file.location)
        except ImageError as error:
            raise DataError(
                f"an image of the training data cannot be read: {error}. Repair it, or leave it out"
            ) from error
        return squared(decoded.pixels, self.side, pad=self.pad)
