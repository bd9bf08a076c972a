"""Violations that are made in the picture: what goes wrong with an outline or within a patch.

Each takes the render, the solid's index or None, a place (x, y) in shares of the picture or None, a strength about 1
and a random stream, and returns linear light (H, W, 3).
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdr_bench.data.scenes.camera import blur
from fdr_bench.data.scenes.render import Render

Floats = NDArray[np.floating[Any]]
Place = tuple[float, float] | None
Retouch = Callable[[Render, int | None, Place, float, np.random.Generator], Floats]
BROAD = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def wobbles(picture: Render, solid: int | None, place: Place, strength: float, random: np.random.Generator) -> Floats:
    """Shake the outline of a solid: pixels near it are fetched from up to three pixels away, in waves."""
    rim = _soft(_rim(picture.solid == solid, 2))
    size = picture.solid.shape[0]
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    period = np.float32(random.uniform(5.5, 9.0) * size / 128)
    phase = random.uniform(0, 2 * np.pi, size=2).astype(np.float32)
    reach = np.float32(2.3 * strength * size / 128)
    turn = np.float32(2 * np.pi) / period
    to_row = rows + rim * reach * np.sin(columns * turn + phase[0])
    to_column = columns + rim * reach * np.sin(rows * turn + phase[1])
    return _fetch(picture.light, to_row, to_column)


def doubles(picture: Render, solid: int | None, place: Place, strength: float, random: np.random.Generator) -> Floats:
    """Draw the solid's outline a second time, as a ghost some pixels beside it."""
    shift = max(3, round(4 * picture.solid.shape[0] / 128))
    step = shift if random.random() < 0.5 else -shift
    mask = picture.solid == solid
    ghost = np.roll(mask, step, axis=1)
    if step > 0:
        ghost[:, :step] = False
    else:
        ghost[:, step:] = False
    line = _rim(ghost, 1) & ~mask
    share = (_soft(line) * np.float32(min(0.85 * strength, 1.0)))[..., None]
    colour = np.median(picture.light[mask], axis=0) if mask.any() else np.zeros(3, np.float32)
    return picture.light * (1 - share) + np.float32(0.7) * colour.astype(np.float32) * share


def bleeds(picture: Render, solid: int | None, place: Place, strength: float, random: np.random.Generator) -> Floats:
    """Let the solid's colour run out over its outline."""
    mask = (picture.solid == solid).astype(np.float32)
    spread, colour = mask, picture.light * mask[..., None]
    for _ in range(max(3, round(4 * strength * picture.solid.shape[0] / 128))):
        spread, colour = blur(spread, BROAD), blur(colour, BROAD)
    share = np.clip(spread * 2, 0, 0.85) * (1 - mask) * np.float32(min(strength, 1.15))
    shown = colour / np.maximum(spread, np.float32(1e-3))[..., None]
    out: Floats = picture.light * (1 - share[..., None]) + shown * share[..., None]
    return out


def smeared(picture: Render, solid: int | None, place: Place, strength: float, random: np.random.Generator) -> Floats:
    """Drag a patch sideways."""
    size = picture.solid.shape[0]
    length = max(5, round(13 * strength * size / 128))
    slope = random.uniform(-0.5, 0.5)
    wide = np.pad(picture.light, ((length, length), (length, length), (0, 0)), mode="edge")
    dragged = np.zeros_like(picture.light)
    for step in range(length):
        across = length + step - length // 2
        down = length + round((step - length // 2) * slope)
        dragged += wide[down : down + size, across : across + size]
    dragged /= np.float32(length)
    return _blend(picture.light, dragged, _patch(size, place, random))


def banded(picture: Render, solid: int | None, place: Place, strength: float, random: np.random.Generator) -> Floats:
    """Leave a patch only a few tones."""
    levels = np.float32(max(3.0, 7.0 - 2.5 * strength))
    shown = np.sqrt(np.clip(picture.light, 0, 1))
    few = (np.round(shown * levels) / levels) ** 2
    return _blend(picture.light, few, _patch(picture.solid.shape[0], place, random))


def blocky(picture: Render, solid: int | None, place: Place, strength: float, random: np.random.Generator) -> Floats:
    """Leave a patch no detail finer than a coarse block."""
    size = picture.solid.shape[0]
    block = max(3, round(5 * strength * size / 128))
    nearest = np.minimum(np.arange(size) // block * block + block // 2, size - 1)
    soft = blur(blur(picture.light, BROAD), BROAD)
    return _blend(picture.light, soft[nearest][:, nearest], _patch(size, place, random))


RETOUCHES: MappingProxyType[str, Retouch] = MappingProxyType(
    {
        "wobbles": wobbles,
        "doubles": doubles,
        "bleeds": bleeds,
        "smeared": smeared,
        "banded": banded,
        "blocky": blocky,
    }
)


def _rim(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Mark pixels within `reach` of a mask's outline, on both sides."""
    inside, outside = mask, ~mask
    for _ in range(reach):
        inside, outside = _grow(inside), _grow(outside)
    return inside & outside


def _grow(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    out = mask.copy()
    out[1:] |= mask[:-1]
    out[:-1] |= mask[1:]
    out[:, 1:] |= mask[:, :-1]
    out[:, :-1] |= mask[:, 1:]
    return out


def _soft(mask: NDArray[np.bool_]) -> Floats:
    out: Floats = np.minimum(blur(mask.astype(np.float32), (0.25, 0.5, 0.25)) * np.float32(1.4), 1)
    return out


def _patch(size: int, place: Place, random: np.random.Generator) -> Floats:
    """Return a soft ellipse (H, W) about the place, a fifth to a third of the picture wide."""
    x, y = place or (0.5, 0.5)
    wide, high = random.uniform(0.13, 0.2, size=2)
    ramp = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / size
    away = ((ramp[None, :] - np.float32(x)) / np.float32(wide)) ** 2 + (
        (ramp[:, None] - np.float32(y)) / np.float32(high)
    ) ** 2
    return np.clip((1 - away) * 4, 0, 1)


def _blend(image: Floats, other: Floats, share: Floats) -> Floats:
    return image + (other - image) * share[..., None]


def _fetch(image: Floats, rows: Floats, columns: Floats) -> Floats:
    """Sample an image bilinearly at (H, W) positions, clamped to its edges."""
    last = image.shape[0] - 1
    rows, columns = np.clip(rows, 0, last), np.clip(columns, 0, last)
    top, left = rows.astype(np.int32), columns.astype(np.int32)
    bottom, right = np.minimum(top + 1, last), np.minimum(left + 1, last)
    v, u = (rows - top)[..., None], (columns - left)[..., None]
    upper = image[top, left] * (1 - u) + image[top, right] * u
    lower = image[bottom, left] * (1 - u) + image[bottom, right] * u
    out: Floats = upper * (1 - v) + lower * v
    return out
