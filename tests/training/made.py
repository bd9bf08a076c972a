"""A detector that trains in a second, and images to train it on, in memory.

Run as a program it trains into the folder it is given, and may be killed.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import nn

from fdr_bench.training import Recipe, train
from fdr_bench.types import Dataset, DetectorCard, Sample, View

VIEW = View(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
PAUSE = float(os.environ.get("MADE_PAUSE", "0"))
"""Seconds that a training step takes longer, so that there is time to kill it."""
RECIPE = Recipe(view=VIEW, pad=1, crop=8, epochs=3, batch=16, lr=0.02, ema=0.9, validation=0.2)


@dataclass(frozen=True, slots=True)
class MemoryImage:
    """Encoded bytes in memory."""

    location: str
    payload: bytes

    @property
    def size(self) -> int:
        return len(self.payload)

    def read(self) -> bytes:
        return self.payload


def encoded(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png")
    return buffer.getvalue()


def sample(number: int, *, fake: bool, side: int = 8, generator: str | None = "gan") -> Sample:
    """Return noise; a fake has every second column darker, which a 3×3 convolution sees and the mean does not."""
    rng = np.random.default_rng([number, fake])
    pixels = rng.integers(60, 200, (side, side, 3), dtype=np.uint8)
    if fake:
        pixels[:, ::2] -= 30
        pixels[:, 1::2] += 30
    name = f"{number:05d}-{'fake' if fake else 'real'}"
    image = MemoryImage(f"{name}.png", encoded(pixels))
    return Sample(id=name, image=image, label="fake" if fake else "real", generator=generator)


def dataset(samples: Sequence[Sample]) -> Dataset:
    ordered = sorted(samples, key=lambda each: each.id)
    lines = "".join(f"{each.id}\t{each.image.read().hex()}\n" for each in ordered)
    return Dataset(name="made", spec="made:", samples=ordered, fingerprint=hashlib.sha256(lines.encode()).hexdigest())


def made(n: int = 120, **options: int) -> Dataset:
    """Return n images, half of them fake."""
    return dataset([sample(number, fake=fake, **options) for number in range(n // 2) for fake in (False, True)])


class Tiny(nn.Module):
    """Convolution, normalisation, dropout (so that torch's own randomness is used) and a linear head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            time.sleep(PAUSE)
        x = torch.relu(self.norm(self.conv(x))).mean(dim=(2, 3))
        return self.head(self.drop(x)).squeeze(1)


class TinyDetector:
    """Trainable, at one size."""

    card: ClassVar = DetectorCard(name="tiny", paper="none", licence="MIT")
    made_with: ClassVar[Recipe] = RECIPE

    @classmethod
    def sizes(cls) -> Mapping[str, Mapping[str, object]]:
        return {"small": {"width": 8}}

    @classmethod
    def network(cls, **architecture: int) -> nn.Module:
        return Tiny(**architecture)

    @classmethod
    def recipe(cls, size: str) -> Recipe:
        return cls.made_with


def with_recipe(**changes: object) -> type[TinyDetector]:
    """Return the detector with another recipe."""
    return type("TinyDetector", (TinyDetector,), {"made_with": replace(RECIPE, **changes)})


if __name__ == "__main__":
    train(
        TinyDetector,
        made(),
        size="small",
        out=Path(sys.argv[1]),
        threads=1,
        epochs=20,
        checkpoint_seconds=0.0,
        quiet=True,
    )
