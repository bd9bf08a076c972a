"""What stands where in an image, as its data say: ellipses with words, and which patches they cover."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MARGIN = 1.8
"""Within so many times its size a thing makes a patch neither its own nor an empty one."""


class Place(NamedTuple):
    """A thing in an image, about an upright ellipse; numbers are shares of the image's sides, from the upper left."""

    across: float
    """Of the middle."""
    down: float
    """Of the middle."""
    half_width: float
    half_height: float
    words: tuple[str, ...]
    """What is true of the thing; empty where that is not known."""


def covered(place: Place, grid: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which of grid × grid patches, row by row, lie on the thing, and which on it or near it, (grid²,) each.

    A patch counts by its middle; the one that holds the middle of the thing lies on it in any case.
    """
    middles = (np.arange(grid) + 0.5) / grid
    across = (middles[None, :] - place.across) / max(place.half_width, 1e-6)
    down = (middles[:, None] - place.down) / max(place.half_height, 1e-6)
    distance = np.hypot(across, down)
    inside = distance <= 1
    row, column = (min(max(int(share * grid), 0), grid - 1) for share in (place.down, place.across))
    inside[row, column] = True
    return inside.ravel(), ((distance <= MARGIN) | inside).ravel()
