"""Energy on the finest grid as a training-free fake score.

Strided transposed convolutions whose kernel does not divide by their stride write a checkerboard of the stride's
period (Odena, Dumoulin & Olah, "Deconvolution and Checkerboard Artifacts", Distill, 2016).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL.Image import Image

from fdr_bench.types import DetectorCard, Prediction


class Checkerboard:
    """Scores the share of local contrast that alternates from pixel to pixel in both directions."""

    card: ClassVar[DetectorCard] = DetectorCard(
        name="checkerboard",
        paper="Odena, Dumoulin & Olah, Distill 2016",
        licence="MIT",
        title="Checkerboard energy",
        version="0.3.0",
    )

    def __init__(
        self,
        *,
        preset: str | None = None,
        device: str = "cpu",
        weights: Mapping[str, Path] | None = None,
        view: str | None = None,
    ) -> None:
        """Keep nothing: the score has no parameters."""

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        """Return one prediction an image."""
        return [Prediction(score=checkerboard_share(image), score_source="energy share") for image in images]


def checkerboard_share(image: Image) -> float:
    """Return the diagonal Haar band's share of the three bands' energy, in [0, 1]; 0 for flat or one-pixel images."""
    grey = np.asarray(image.convert("L"), dtype=np.float64)
    grey = grey[: grey.shape[0] // 2 * 2, : grey.shape[1] // 2 * 2]
    a, b, c, d = grey[::2, ::2], grey[::2, 1::2], grey[1::2, ::2], grey[1::2, 1::2]
    horizontal, vertical, diagonal = (
        float(np.square(band).sum()) for band in (a - b + c - d, a + b - c - d, a - b - c + d)
    )
    total = horizontal + vertical + diagonal
    return diagonal / total if total else 0.0
