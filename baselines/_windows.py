"""Windows of an image with the least and the most high-frequency content, as AIDE chooses them. NumPy alone."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

SIDE = 32
STRIDE = 16
BANDS = 6


def choose_windows(pixels: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Return (top, left) of four 32×32 windows: lowest grade, highest, second lowest, second highest.

    pixels: (H, W, 3), both sides at least 32. Where there is only one window, it is all four. Among equal grades the
    windows further up (then left) count as the lower ones.
    """
    grade = grades(pixels)
    order = np.argsort(grade.ravel(), kind="stable")
    last = len(order) - 1
    chosen = order[[0, last, min(1, last), max(last - 1, 0)]]
    rows, columns = np.unravel_index(chosen, grade.shape)
    return [(int(row) * STRIDE, int(column) * STRIDE) for row, column in zip(rows, columns, strict=True)]


def grades(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the grade of each window at stride 16, (rows, columns); what is left at the right and below is not seen.

    A grade sums log(1 + |DCT|), weighted as `cell_weights` says, over a window's cells and channels (of values in
    [0, 1]). Raises `ValueError` where no window fits. Memory holds one row of windows at a time.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < SIDE:
        raise ValueError(f"no window of {SIDE}x{SIDE} px fits into {width}x{height} px")
    cosines, weights = dct_matrix(SIDE), cell_weights()
    found = []
    for top in range(0, height - SIDE + 1, STRIDE):
        strip = pixels[top : top + SIDE].transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        windows = np.lib.stride_tricks.sliding_window_view(strip, SIDE, axis=2)[:, :, ::STRIDE]  # (3, SIDE, n, SIDE)
        spectrum = cosines @ windows.transpose(2, 0, 1, 3) @ cosines.T  # (n, 3, SIDE, SIDE)
        found.append((np.log1p(np.abs(spectrum)) * weights).sum(axis=(1, 2, 3)))
    return np.stack(found)


@functools.cache
def dct_matrix(side: int) -> NDArray[np.float32]:
    """Return the orthonormal DCT-II: row k is the cosine of frequency k, and matrix @ x @ matrix.T transforms x."""
    frequency, place = np.mgrid[:side, :side]
    matrix = np.cos(np.pi * (2 * place + 1) * frequency / (2 * side)) * np.sqrt(2 / side)
    matrix[0] = np.sqrt(1 / side)
    return matrix.astype(np.float32)


@functools.cache
def cell_weights() -> NDArray[np.float32]:
    """Return what each cell (i, j) counts in a grade, (32, 32).

    Band k of six holds the cells with i + j from 64 k / 6 to 64 (k + 1) / 6, both included, each of them counting
    2^k over their number; so the cells at 32 are in two bands.
    """
    row, column = np.mgrid[:SIDE, :SIDE]
    frequency = row + column
    weights = np.zeros((SIDE, SIDE))
    for band in range(BANDS):
        # In whole numbers: 6 (i + j) from 64 k to 64 (k + 1).
        inside = (BANDS * frequency >= 2 * SIDE * band) & (BANDS * frequency <= 2 * SIDE * (band + 1))
        weights += inside * (2.0**band / inside.sum())
    return weights.astype(np.float32)
