"""Patterns of grounds and solids, and the three ways in which a solid's pattern can go wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdr_bench.data.scenes.scene import Scene, Solid

Floats = NDArray[np.floating[Any]]


class Noise:
    """Value noise on a 64 × 64 lattice that wraps around; values in [0, 1]."""

    def __init__(self, random: np.random.Generator) -> None:
        square = random.random((64, 64), dtype=np.float32)
        # One more row and column spare every lookup its wrap-around.
        self.lattice = np.pad(square, (0, 1), mode="wrap").ravel()

    def __call__(self, x: Floats, y: Floats) -> Floats:
        """Return the smoothed lattice at points (N,)."""
        column, row = np.floor(x), np.floor(y)
        u, v = x - column, y - row
        u *= u * (3 - 2 * u)
        v *= v * (3 - 2 * v)
        corner = (row.astype(np.int32) & 63) * 65 + (column.astype(np.int32) & 63)
        upper = self.lattice.take(corner)
        upper += (self.lattice.take(corner + 1) - upper) * u
        corner += 65
        lower = self.lattice.take(corner)
        lower += (self.lattice.take(corner + 1) - lower) * u
        lower -= upper
        lower *= v
        upper += lower
        return upper

    def fractal(self, x: Floats, y: Floats) -> Floats:
        """Return two octaves."""
        return np.float32(0.65) * self(x, y) + np.float32(0.35) * self(x * 2.1 + 17, y * 2.1 + 5)


class Shares(NamedTuple):
    """How much of a solid's first and second colour each point shows, (N,) each."""

    first: Floats
    second: Floats


def ground_albedo(scene: Scene, noise: Noise, x: Floats, z: Floats, distance: Floats) -> Floats:
    """Return the ground's pattern (N,), about 1; it fades with distance, where a pixel covers several periods."""
    cosine, sine = math.cos(scene.ground_yaw), math.sin(scene.ground_yaw)
    u = (x * np.float32(cosine) + z * np.float32(sine)) * np.float32(scene.ground_scale)
    v = (z * np.float32(cosine) - x * np.float32(sine)) * np.float32(scene.ground_scale)
    near = np.clip((24 - distance) / 14, 0, 1)
    if scene.ground == "checked":
        pattern = ((np.floor(u) + np.floor(v)) % 2) * np.float32(0.5) - np.float32(0.25)
    elif scene.ground == "tiled":
        gap = np.maximum(np.abs(u % 1 - 0.5), np.abs(v % 1 - 0.5)) > 0.46
        pattern = np.where(gap, np.float32(-0.35), np.float32(0.04))
    elif scene.ground == "planked":
        plank = np.floor(u * 2)
        pattern = noise(plank * 7 + 3, v * np.float32(0.25)) * np.float32(0.36) - np.float32(0.18)
        pattern = pattern + (noise(u * 18, v * np.float32(1.5)) - np.float32(0.5)) * np.float32(0.14)
        pattern = np.where(u * 2 - plank < 0.05, np.float32(-0.35), pattern)
    elif scene.ground == "rough":
        pattern = (noise(u * 6, v * 6) - np.float32(0.5)) * np.float32(0.7)
    else:
        pattern = np.zeros_like(u)
    fine = (noise(u * 9 + 31, v * 9 + 11) - np.float32(0.5)) * np.float32(0.2)
    broad = (noise(u * np.float32(0.6) + 7, v * np.float32(0.6)) - np.float32(0.5)) * np.float32(0.2)
    return 1 + (pattern + fine) * near + broad


def solid_albedo(solid: Solid, noise: Noise, inside: Sequence[Floats]) -> Shares:
    """Return the solid's pattern at surface points in its own axes, with its fault if it has one."""
    x, y, z = (values / np.float32(solid.radius) for values in inside)
    strength = np.float32(solid.fault_strength)
    if solid.fault == "melts":
        # The pattern runs down in tongues that lengthen towards the foot.
        run = noise(x * 2 + z * 2 + 11, np.full_like(x, 3.5)) * (1.0 - y)
        y = y + strength * np.float32(1.1) * run
        x = x + strength * np.float32(0.5) * (noise(x + 5, y * 2 + z) - np.float32(0.5)) * (1 - y)
    if solid.material == "striped":
        share = _wave(y * np.float32(1.25) + np.float32(solid.phase))
    elif solid.material == "checked":
        shift = np.float32(solid.phase * 0.5 + 0.13)
        cells = np.floor(x * 1.6 + shift) + np.floor(y * 1.6 + shift) + np.floor(z * 1.6 + shift)
        share = (cells % 2).astype(np.float32)
    else:
        share = np.zeros_like(x)
    fine = 14.0 if solid.material == "grainy" else 6.0
    contrast = np.float32(0.7 if solid.material == "grainy" else 0.10)
    grain = noise.fractal((x + np.float32(0.7) * z) * fine / 2 + 40, (y + np.float32(0.35) * z) * fine / 2 + 9)
    tone = 1 + (grain - np.float32(0.5)) * contrast
    if solid.fault == "melts" and solid.material in ("matte", "glossy"):
        tone = tone * (1 - strength * np.float32(0.55) * _wave(y * np.float32(1.6)))
    elif solid.fault == "repeats":
        # One small patch of noise stamped over and over, with the stamp's rim visible.
        u, v = (x + np.float32(0.7) * z) * np.float32(2.6), (y + np.float32(0.35) * z) * np.float32(2.6)
        stamp = noise((u % 1) * 3 + 21, (v % 1) * 3 + 33)
        rim = (np.minimum(u % 1, v % 1) < 0.12).astype(np.float32)
        tone = tone * (1 + strength * ((stamp - np.float32(0.5)) * np.float32(1.1) - np.float32(0.45) * rim))
    elif solid.fault == "drifts":
        # From one side to the other the surface slides into its second colour.
        slide = np.clip((x + np.float32(0.6) * z) * np.float32(0.7) + np.float32(0.35), 0, 1) * strength
        share = share * (1 - slide) + (1 - share) * slide
    return Shares(tone * (1 - share), tone * share)


def _wave(position: Floats) -> Floats:
    """Return bands of equal width with soft rims, one dark and one light a unit."""
    out: Floats = np.clip((np.abs(position % 1 - 0.5) - np.float32(0.25)) * 12 + np.float32(0.5), 0, 1).astype(
        np.float32
    )
    return out
