"""Resizing of 8-bit images as OpenCV's `resize` does it: no antialiasing, and the same level for every pixel.

Which levels come out depends on how OpenCV rounds on the way, so its arithmetic is followed here: bilinear in integers,
bicubic in float32. Compared with opencv-python 5.0.0 on x86-64, whose bicubic filter is that of Intel's IPP library
(other builds differ from it by one level in a few per cent of the pixels). Where a side of the input has fewer than
4 px, its bicubic filter takes another path, and pixels differ by one level.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ONE = 2048
"""A bilinear weight of 1; weights are rounded to whole parts of it."""

SHARPNESS = -0.75
"""The slope at a distance of 1 px of the bicubic kernel (Keys, 1981, calls it a)."""


def resize_like_opencv(pixels: NDArray[np.uint8], size: tuple[int, int], *, bicubic: bool) -> NDArray[np.uint8]:
    """Return an 8-bit image (H, W, channels) resized to `size` (height, width), bilinearly or with `bicubic`.

    Output pixel i lies at (i + 0.5) * scale - 0.5 of the input and is made of the 2 or 4 nearest input pixels a side,
    however much smaller the image gets; beyond the border its outermost pixels count.
    """
    if pixels.shape[:2] == size:
        return pixels
    return _bicubic(pixels, *size) if bicubic else _bilinear(pixels, *size)


def _bilinear(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    left, share = _split(_places(pixels.shape[1], width).astype(np.float32))
    share[(left < 0) | (left >= pixels.shape[1] - 1)] = 0
    columns, across = _neighbours(left, pixels.shape[1], 0, 2), _whole(share)
    top, share = _split(_places(pixels.shape[0], height).astype(np.float32))
    rows, down = _neighbours(top, pixels.shape[0], 0, 2), _whole(share)
    needed, rows = _needed(rows)
    wide = np.zeros((len(needed), width, pixels.shape[2]), np.int32)
    for column, weight in zip(columns, across, strict=True):
        wide += pixels[needed[:, None], column] * weight[:, None]
    wide >>= 4
    quarters = sum((wide[row] * weight[:, None, None]) >> 16 for row, weight in zip(rows, down, strict=True))
    return np.asarray((quarters + 2) >> 2, dtype=np.uint8)


def _bicubic(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    left, share = _split(_places(pixels.shape[1], width))
    columns, across = _neighbours(left, pixels.shape[1], -1, 3), _cubic(share.astype(np.float32))
    top, share = _split(_places(pixels.shape[0], height))
    rows, down = _neighbours(top, pixels.shape[0], -1, 3), _cubic(share.astype(np.float32))
    needed, rows = _needed(rows)
    wide = np.zeros((len(needed), width, pixels.shape[2]), np.float32)
    for column, weight in zip(columns, across, strict=True):
        wide = _fused(pixels[needed[:, None], column], weight[:, None], wide)
    weights = down[:, :, None, None]
    upper = _fused(wide[rows[0]], weights[0], wide[rows[1]] * weights[1])
    lower = _fused(wide[rows[2]], weights[2], wide[rows[3]] * weights[3])
    levels: NDArray[np.uint8] = np.rint(upper + lower).clip(0, 255).astype(np.uint8)
    return levels


def _places(before: int, after: int) -> NDArray[np.float64]:
    """Return where each of `after` pixels lies along a side of `before` px."""
    return np.asarray((np.arange(after, dtype=np.float64) + 0.5) * (before / after) - 0.5, dtype=np.float64)


def _split(places: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Return the pixel at or before each place and the distance from it in [0, 1), in the places' type."""
    first = np.floor(places)
    return first.astype(np.intp), places - first


def _neighbours(first: NDArray[np.intp], before: int, start: int, stop: int) -> NDArray[np.intp]:
    """Return the pixels from `start` to before `stop`, counted from `first`: (taps, after), held at the border."""
    return (first + np.arange(start, stop)[:, None]).clip(0, before - 1)


def _needed(rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows that appear, once each, and `rows` as positions among them."""
    needed, position = np.unique(rows, return_inverse=True)
    return needed, position.reshape(rows.shape)


def _whole(share: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return the weights of the pixel before and the one after as whole parts of `ONE`: (2, after)."""
    return np.rint(np.stack([1 - share, share]) * np.float32(ONE)).astype(np.int32)


def _cubic(share: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the weights of the four nearest pixels, (4, after), for distances from the second of them."""
    # The distance from the first pixel is what OpenCV keeps in float32: that leaves 23 bits after the point.
    x = (1 + share).astype(np.float64) - 1
    y = 1 - x
    near = [((SHARPNESS + 2) * t - (SHARPNESS + 3)) * t * t + 1 for t in (x, y)]
    return np.stack([SHARPNESS * x * y * y, *near, SHARPNESS * x * x * y]).astype(np.float32)


def _fused(
    values: NDArray[np.uint8] | NDArray[np.float32], weights: NDArray[np.float32], rest: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return values * weights + rest, rounded to float32 once, as the processor's fused instruction does."""
    return (values.astype(np.float64) * weights + rest).astype(np.float32)
