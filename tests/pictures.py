"""Small sets of images in class folders, made for a test."""

from pathlib import Path

import numpy as np
from PIL import Image


def make_folders(root: Path, *, n: int = 10, generators: tuple[str, ...] = ("alpha", "beta"), size=(24, 20)) -> Path:
    """Write `n` fakes and `n` reals per generator as PNGs of deterministic noise; return the folder."""
    rng = np.random.default_rng(5)
    for generator in generators:
        for folder, shift in (("0_real", 0), ("1_fake", 60)):
            place = root / generator / folder
            place.mkdir(parents=True)
            for index in range(n):
                pixels = rng.integers(0, 180, (size[1], size[0], 3)) + shift
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{index:04d}.png")
    return root
