"""From linear light to 8-bit sRGB-like pixels: a camera with a Bayer sensor, and how a generator imitates its look.

The imitation has the same optics, tone curve, mean sharpness and noise spectrum as the camera, since generators learn
those from photographs; what it lacks is the sensor's mosaic, whose phase and aliasing no spectrum holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
DENSITY = (0.25, 0.5, 0.25)
"""The share of the mosaic's sites that see red, green and blue."""
BILINEAR_RB = (0.5, 1.0, 0.5)
"""Separable kernel that fills red or blue in from one sample in four; green's is a cross."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One exposure's settings. `phase` is the mosaic's first row and column, `iso` scales all noise."""

    blur: float
    vignette: float
    exposure: float
    contrast: float
    phase: tuple[int, int]
    iso: float


class Developed(NamedTuple):
    """A picture without its noise, and the noise that it came with, in display units of 0 to 255."""

    clean: Floats  # (H, W, 3)
    grain: Floats  # (H, W, 3)


def random_shot(random: np.random.Generator) -> Shot:
    """Draw the settings of one exposure; both classes draw theirs from here."""
    return Shot(
        blur=random.uniform(0.02, 0.12),
        vignette=random.uniform(0.0, 0.18),
        exposure=random.uniform(0.88, 1.08),
        contrast=random.uniform(0.0, 0.35),
        phase=(int(random.integers(2)), int(random.integers(2))),
        iso=random.uniform(0.8, 1.4),
    )


def photograph(light: Floats, shot: Shot, random: np.random.Generator) -> Floats:
    """Return the picture (H, W, 3), 0 to 255, that the camera takes of linear light: optics, mosaic, noise, tone."""
    seen = _optics(light, shot)
    noisy = seen + _noise_level(seen, shot) * random.standard_normal(seen.shape, dtype=np.float32)
    mosaic = [noisy[..., c] * _sites(c, shot, noisy.shape) for c in range(3)]
    return _tone(np.stack([_spread(mosaic[c], c) for c in range(3)], axis=-1), shot)


def imitate(light: Floats, shot: Shot, random: np.random.Generator) -> Developed:
    """Return the look of `photograph` without a mosaic: its mean sharpness and noise spectrum at every pixel."""
    seen = _optics(light, shot)
    noise = _noise_level(seen, shot) * random.standard_normal(seen.shape, dtype=np.float32)
    signal = np.stack([_spread(seen[..., c], c) * np.float32(DENSITY[c]) for c in range(3)], axis=-1)
    clean = _tone(signal, shot)
    return Developed(clean, _tone(signal + sensor_spectrum(noise), shot) - clean)


def sensor_spectrum(noise: Floats) -> Floats:
    """Give white noise (H, W, 3) the power spectrum that it has after a mosaic is filled in.

    Filling in from a share d of the sites passes d·K of the signal and d·K² of the noise power (K: the kernel).
    """
    return np.stack([_spread(noise[..., c], c) * np.float32(DENSITY[c] ** 0.5) for c in range(3)], axis=-1)


def blur(image: Floats, kernel: tuple[float, ...]) -> Floats:
    """Filter rows and columns of (H, W) or (H, W, C) with a symmetric kernel of odd length; edges are mirrored."""
    reach = len(kernel) // 2
    for axis in (0, 1):
        # Adding shifted views is several times faster than padding first.
        lines = image.swapaxes(0, axis)
        out = np.float32(kernel[reach]) * lines
        for step in range(1, reach + 1):
            part = np.float32(kernel[reach - step]) * lines
            out[step:] += part[:-step]
            out[:step] += part[step:0:-1]
            out[:-step] += part[step:]
            out[-step:] += part[-2 : -2 - step : -1]
        image = out.swapaxes(0, axis)
    return image


def _optics(light: Floats, shot: Shot) -> Floats:
    soft = blur(np.minimum(light, np.float32(1.3)), (shot.blur, 1 - 2 * shot.blur, shot.blur))
    ramp = np.linspace(-1, 1, light.shape[0], dtype=np.float32)
    falloff = 1 - np.float32(shot.vignette / 2) * (ramp[:, None] ** 2 + ramp[None, :] ** 2)
    return soft * (falloff * np.float32(shot.exposure))[..., None]


def _noise_level(seen: Floats, shot: Shot) -> Floats:
    """Return the standard deviation of shot noise (growing with the root of light) and read noise, in linear light."""
    out: Floats = np.float32(shot.iso) * np.sqrt(np.maximum(seen, 0) * np.float32(0.0006) + np.float32(0.00002))
    return out


def _sites(channel: int, shot: Shot, shape: tuple[int, ...]) -> Floats:
    """Return 1 where the mosaic samples a channel: red and blue each on one site in four, green on two."""
    row, column = shot.phase
    mask = np.zeros(shape[:2], dtype=np.float32)
    if channel == 0:
        mask[row::2, column::2] = 1
    elif channel == 2:
        mask[1 - row :: 2, 1 - column :: 2] = 1
    else:
        mask[row::2, 1 - column :: 2] = 1
        mask[1 - row :: 2, column::2] = 1
    return mask


def _spread(values: Floats, channel: int) -> Floats:
    """Apply the bilinear demosaicing kernel of a channel."""
    if channel != 1:
        return blur(values, BILINEAR_RB)
    near = np.zeros_like(values)
    for axis in (0, 1):
        lines, sums = values.swapaxes(0, axis), near.swapaxes(0, axis)
        sums[1:-1] += lines[:-2] + lines[2:]
        sums[0] += 2 * lines[1]
        sums[-1] += 2 * lines[-2]
    return values + np.float32(0.25) * near


def _tone(linear: Floats, shot: Shot) -> Floats:
    """Return display values 0 to 255: about gamma 2.2, then a share of an S-curve.

    Square roots stand in for the power: they are exactly rounded on every machine, and faster.
    """
    root = np.sqrt(np.clip(linear, 0, 1))
    shown = np.float32(0.8) * root + np.float32(0.2) * np.sqrt(root)
    curve = shown * shown * (3 - 2 * shown)
    out: Floats = 255 * (shown + np.float32(shot.contrast) * (curve - shown))
    return out
