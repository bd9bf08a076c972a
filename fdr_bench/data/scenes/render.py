"""Vectorised ray casting in NumPy: one ray a pixel, four more where the picture has an edge.

Every solid is convex, so that a ray meets it in one interval; a cut is one more half-space. Single precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdr_bench.data.scenes.intersect import first_hit, local_point, normal_at, shadowed
from fdr_bench.data.scenes.scene import COLOURS, GROUND_COLOURS, WARMTHS, Scene, Solid, Vector, stream
from fdr_bench.data.scenes.surface import Noise, ground_albedo, solid_albedo

Floats = NDArray[np.floating[Any]]
SKY, GROUND = -2, -1
HORIZON: Vector = (0.74, 0.78, 0.82)
SUBSAMPLES = ((-0.125, -0.375), (0.375, -0.125), (-0.375, 0.125), (0.125, 0.375))
"""A rotated grid: four rays whose columns and rows all differ."""


class Render(NamedTuple):
    """Linear light, white near 1, and what each pixel's central ray met: a solid's index, -1 ground, -2 sky."""

    light: Floats  # (H, W, 3)
    solid: NDArray[np.int8]  # (H, W)


def render(scene: Scene, size: int, *, antialias: bool = True) -> Render:
    """Return the scene seen through a pinhole at `size` × `size` pixels."""
    noise = Noise(stream("texture", scene.texture_seed))
    rows, columns = np.divmod(np.arange(size * size), size)
    x = columns.astype(np.float32) + np.float32(0.5)
    y = rows.astype(np.float32) + np.float32(0.5)
    light, solid = _trace(scene, noise, x, y, size)
    image = light.reshape(size, size, 3)
    met = solid.reshape(size, size)
    if antialias:
        where = np.flatnonzero(_edges(image, met))
        if where.size:
            fine_x = np.concatenate([x[where] + np.float32(dx) for dx, _ in SUBSAMPLES])
            fine_y = np.concatenate([y[where] + np.float32(dy) for _, dy in SUBSAMPLES])
            fine, _ = _trace(scene, noise, fine_x, fine_y, size)
            # Clipped before the mean, else one ray in a highlight would whiten its whole pixel.
            light[where] = np.minimum(fine, 1.2).reshape(4, -1, 3).mean(axis=0)
    return Render(image, met)


def _edges(image: Floats, met: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Mark pixels that differ from the one below or to the right in what they met or by over 4 % of display white."""
    shown = np.sqrt(np.minimum(image[..., 1], 1.0))
    marked = np.zeros(met.shape, dtype=bool)
    across = (met[:, 1:] != met[:, :-1]) | (np.abs(shown[:, 1:] - shown[:, :-1]) > 0.04)
    down = (met[1:] != met[:-1]) | (np.abs(shown[1:] - shown[:-1]) > 0.04)
    marked[:, 1:] |= across
    marked[:, :-1] |= across
    marked[1:] |= down
    marked[:-1] |= down
    return marked


def _trace(scene: Scene, noise: Noise, x: Floats, y: Floats, size: int) -> tuple[Floats, NDArray[np.int8]]:
    """Return the light (N, 3) along rays through the points (x, y) of the image, and what each met (N,)."""
    direction = _rays(scene, x, y, size)
    eye = (0.0, scene.eye_height, -scene.eye_distance)
    origin = [np.array(value, dtype=np.float32) for value in eye]
    distance, solid = first_hit(scene.solids, origin, direction)
    down = direction[1] < -1e-4
    to_ground = np.full_like(distance, np.inf)
    np.divide(-origin[1], direction[1], out=to_ground, where=down)
    on_ground = to_ground < distance
    distance = np.where(on_ground, to_ground, distance)
    solid = np.where(on_ground, np.int8(GROUND), solid)
    horizon = np.array(HORIZON, dtype=np.float32) * np.array(WARMTHS[scene.warmth], dtype=np.float32)
    light = np.empty((*x.shape, 3), dtype=np.float32)
    open_sky = np.flatnonzero(solid == SKY)
    light[open_sky] = _sky(scene, noise, [values[open_sky] for values in direction], horizon)
    hit = np.flatnonzero(solid != SKY)
    point = tuple(origin[axis] + direction[axis][hit] * distance[hit] for axis in range(3))
    sunlit = ~shadowed(scene, point, solid[hit])
    for index in np.unique(solid[hit]):
        of_it = np.flatnonzero(solid[hit] == index)
        at = tuple(values[of_it] for values in point)
        pixels = hit[of_it]
        view = tuple(values[pixels] for values in direction)
        if index == GROUND:
            light[pixels] = _shade_ground(scene, noise, at, sunlit[of_it], distance[pixels], horizon)
        else:
            light[pixels] = _shade_solid(scene, noise, scene.solids[index], at, view, sunlit[of_it])
    return light, solid


def _rays(scene: Scene, x: Floats, y: Floats, size: int) -> tuple[Floats, Floats, Floats]:
    """Return unit directions; the viewer looks at a point half a metre above the origin."""
    drop = math.atan2(scene.eye_height - 0.5, scene.eye_distance)
    across = (x * 2 / size - 1) / np.float32(scene.focal * 1.6)
    up = (1 - y * 2 / size) / np.float32(scene.focal * 1.6)
    cosine, sine = np.float32(math.cos(drop)), np.float32(math.sin(drop))
    rise = up * cosine - sine
    ahead = up * sine + cosine
    scale = 1 / np.sqrt(across * across + rise * rise + ahead * ahead)
    return across * scale, rise * scale, ahead * scale


def _sunlight(scene: Scene) -> Floats:
    return np.array(WARMTHS[scene.warmth], dtype=np.float32) * np.float32(0.95)


def _sky(scene: Scene, noise: Noise, direction: Sequence[Floats], horizon: Floats) -> Floats:
    """Return the sky's light (N, 3): a gradient to the zenith, with clouds that flatten towards the horizon."""
    height = np.clip(direction[1], 0.0, 1.0)
    share = np.sqrt(np.minimum(height * 2.2, 1.0))
    flat = 1.5 / (height + np.float32(0.12))
    cloud = noise.fractal(direction[0] * flat, direction[2] * flat)
    cover = np.clip((cloud - 0.5) * 3, 0, 1) * np.float32(scene.clouds)
    light = np.empty((len(height), 3), dtype=np.float32)
    for channel, zenith in enumerate((0.20, 0.36, 0.68)):
        blue = horizon[channel] + (np.float32(zenith) - horizon[channel]) * share
        light[:, channel] = blue + (np.float32(0.88) - blue) * cover
    return light


def _shade_ground(
    scene: Scene, noise: Noise, point: tuple[Floats, ...], sunlit: NDArray[np.bool_], distance: Floats, horizon: Floats
) -> Floats:
    pattern = ground_albedo(scene, noise, point[0], point[2], distance)
    open_sky = np.ones_like(point[0])
    for solid in scene.solids:
        if solid.casts_shadow and solid.shadow_light is None:
            away = ((point[0] - solid.x) ** 2 + (point[2] - solid.z) ** 2) / np.float32(1.4 * solid.radius) ** 2
            open_sky *= 1 - np.float32(0.55 * math.exp(-3 * solid.lift)) * np.exp(-away)
    direct = sunlit * np.float32(scene.light[1])
    veil = np.float32(scene.haze) * (1 - np.exp(-np.maximum(distance - 7, 0) / 14))
    colour, sun = GROUND_COLOURS[scene.ground_colour], _sunlight(scene)
    light = np.empty((len(distance), 3), dtype=np.float32)
    # A channel at a time: broadcasting over an axis of three is slow.
    for channel, skylight in enumerate((0.30, 0.33, 0.38)):
        lit = pattern * np.float32(colour[channel]) * (open_sky * np.float32(skylight) + direct * sun[channel])
        light[:, channel] = lit + (horizon[channel] - lit) * veil
    return light


def _shade_solid(
    scene: Scene,
    noise: Noise,
    solid: Solid,
    point: tuple[Floats, ...],
    view: tuple[Floats, ...],
    sunlit: NDArray[np.bool_],
) -> Floats:
    inside = local_point(solid, point)
    normal = normal_at(solid, inside)
    sun: Vector = solid.light or scene.light
    facing = np.clip(normal[0] * sun[0] + normal[1] * sun[1] + normal[2] * sun[2], 0.0, 1.0)
    share = solid_albedo(solid, noise, inside)
    first, second = (np.array(COLOURS[name], dtype=np.float32) for name in (solid.colour, solid.second_colour))
    albedo = first * share.first[:, None] + second * share.second[:, None]
    # A wrong light of its own ignores the shadows that the true one casts.
    reach = facing if solid.light else facing * sunlit
    sky_share = (0.62 + 0.38 * normal[1])[:, None] * np.array([0.32, 0.35, 0.40], dtype=np.float32)
    bounce = (0.5 - 0.5 * normal[1])[:, None] * np.array(GROUND_COLOURS[scene.ground_colour], dtype=np.float32) * 0.25
    light: Floats = albedo * (sky_share + bounce + reach[:, None] * _sunlight(scene))
    if solid.material == "glossy":
        along = normal[0] * sun[0] + normal[1] * sun[1] + normal[2] * sun[2]
        # Phong: how nearly the mirrored sun points back at the viewer.
        mirrored = [2 * along * normal[axis] - np.float32(sun[axis]) for axis in range(3)]
        toward = -(mirrored[0] * view[0] + mirrored[1] * view[1] + mirrored[2] * view[2])
        lit = np.where(reach > 0, np.clip(toward, 0, 1) ** 24, 0) * np.float32(0.75)
        light += lit[:, None] * _sunlight(scene)
    return light
