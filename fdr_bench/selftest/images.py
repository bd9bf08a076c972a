"""Images to try a detector on: a few ordinary ones, and the odd ones that datasets are full of."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# The first two share a size, so that they share a tensor and a batch; the others do not.
_ORDINARY = ((256, 256), (256, 256), (320, 240), (97, 131), (224, 224))


def probe_images(count: int = 5, *, seed: int = 0) -> list[Image.Image]:
    """Return `count` RGB images like photographs in their statistics (power falls as 1/f²), of several sizes."""
    generator = np.random.default_rng(seed)
    sizes = [_ORDINARY[index % len(_ORDINARY)] for index in range(count)]
    return [Image.fromarray(_pink(width, height, generator)) for width, height in sizes]


def odd_images(*, seed: int = 0) -> Iterator[tuple[str, Image.Image]]:
    """Yield what it is and an RGB image: tiny, narrow, flat, colourless, noise only, and large ones."""
    generator = np.random.default_rng(seed)
    for width, height in ((1, 1), (2, 3), (1, 200), (200, 1), (31, 17), (33, 64)):
        yield f"{width}×{height} pixels", Image.fromarray(_pink(width, height, generator))
    yield "all black", Image.new("RGB", (64, 64), (0, 0, 0))
    yield "all white", Image.new("RGB", (64, 64), (255, 255, 255))
    yield "greyscale turned RGB", Image.fromarray(_pink(120, 80, generator)).convert("L").convert("RGB")
    yield "white noise", Image.fromarray(generator.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    # Tiled: a Fourier transform of this size would take longer than all the checks of a light detector.
    yield "1600×1200 pixels", Image.fromarray(np.tile(_pink(200, 150, generator), (8, 8, 1)))


def _pink(width: int, height: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    amplitude = 1.0 / np.maximum(frequency, 1.0 / max(width, height))
    spectrum = np.fft.rfft2(generator.standard_normal((3, height, width))) * amplitude
    field = np.fft.irfft2(spectrum, s=(height, width))
    low, high = field.min(axis=(1, 2), keepdims=True), field.max(axis=(1, 2), keepdims=True)
    pixels = 255.0 * (field - low) / np.maximum(high - low, 1e-9)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0).round().astype(np.uint8))
