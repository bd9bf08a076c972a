"""Bilinear resizing of float values, as torchvision's `resize` does it on tensors (not on Pillow's 8-bit images).

Corners are not aligned: output pixel i lies at (i + 0.5) * scale - 0.5 of the input. Without antialiasing it is made of
the two nearest input pixels a side, however much smaller the image gets; with it, of all under a triangle that is as
wide as the scale.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def resize_values(pixels: NDArray[np.uint8], size: tuple[int, int], *, antialias: bool) -> NDArray[np.float32]:
    """Return an 8-bit image (H, W, 3) divided by 255 and resized to `size` (height, width): float32 (height, width, 3).

    Nothing is rounded to 8 bits. The width is resized first.
    """
    levels = np.arange(256, dtype=np.float32) / np.float32(255)
    height, width = size
    columns, weights = taps(pixels.shape[1], width, antialias=antialias)
    across = np.zeros((pixels.shape[0], width, 3), np.float32)
    for column, weight in zip(columns, weights, strict=True):
        across += levels[pixels[:, column]] * weight[None, :, None]
    rows, weights = taps(pixels.shape[0], height, antialias=antialias)
    values = np.zeros((height, width, 3), np.float32)
    for row, weight in zip(rows, weights, strict=True):
        values += across[row] * weight[:, None, None]
    return values


def taps(before: int, after: int, *, antialias: bool) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return which of `before` pixels each of `after` is made of, and their weights: both (taps, after).

    Weights of an output pixel sum to 1; a tap that one output pixel needs less than another has the weight 0.
    """
    scale = before / after
    place = (np.arange(after) + 0.5) * scale
    if not antialias:
        source = np.maximum(place - 0.5, 0.0)
        first = source.astype(np.intp)
        share = (source - first).astype(np.float32)
        return np.stack([first, np.minimum(first + 1, before - 1)]), np.stack([1 - share, share])
    reach = max(scale, 1.0)
    low = np.maximum((place - reach + 0.5).astype(np.intp), 0)
    high = np.minimum((place + reach + 0.5).astype(np.intp), before)
    index = low[None] + np.arange((high - low).max())[:, None]
    weight = np.maximum(1.0 - np.abs(index + 0.5 - place) / reach, 0.0) * (index < high)
    weight /= weight.sum(axis=0)
    return np.minimum(index, before - 1), weight.astype(np.float32)
