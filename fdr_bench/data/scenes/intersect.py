"""Where rays meet solids: each solid is convex, so a ray is inside it for one interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdr_bench.data.scenes.scene import Scene, Solid

Floats = NDArray[np.floating[Any]]
Points = Sequence[Floats]
"""Three coordinates, each (N,) or a single number for all."""
NEAR = np.float32(1e-3)
"""Hits nearer than a millimetre are the surface that a shadow ray starts on."""


def first_hit(solids: Sequence[Solid], origin: Points, direction: Points) -> tuple[Floats, NDArray[np.int8]]:
    """Return the distance to the nearest solid (infinite for none) and its index (-2 for none), both (N,)."""
    distance = np.full(direction[0].shape, np.inf, dtype=np.float32)
    index = np.full(direction[0].shape, -2, dtype=np.int8)
    for number, solid in enumerate(solids):
        near = _candidates(solid, origin, direction)
        enter, leave = _interval(solid, _at(origin, near), _at(direction, near))
        met = (enter < leave) & (enter > NEAR) & (enter < distance[near])
        distance[near[met]] = enter[met]
        index[near[met]] = number
    return distance, index


def shadowed(scene: Scene, point: Points, solid: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Return which surface points (N,) lie in a cast shadow; a solid shades itself by its normals, not by this."""
    dark = np.zeros(point[0].shape, dtype=bool)
    for number, caster in enumerate(scene.solids):
        if not caster.casts_shadow:
            continue
        light = caster.shadow_light or scene.light
        toward = [np.array(value, dtype=np.float32) for value in light]
        near = _candidates(caster, point, toward)
        near = near[(solid[near] != number) & ~dark[near]]
        if near.size:
            rays = [np.full(near.shape, value, dtype=np.float32) for value in toward]
            enter, leave = _interval(caster, _at(point, near), rays)
            dark[near] = (enter < leave) & (leave > NEAR)
    return dark


def local_point(solid: Solid, point: Points) -> tuple[Floats, Floats, Floats]:
    """Return points in the solid's own axes, its middle the origin."""
    centre = solid.centre
    return _turn(solid, [point[axis] - np.float32(centre[axis]) for axis in range(3)])


def normal_at(solid: Solid, inside: Points) -> tuple[Floats, Floats, Floats]:
    """Return outward unit normals in world axes at surface points given in the solid's own axes."""
    x, y, z = inside
    half = np.float32(solid.height / 2)
    radius = np.float32(solid.radius)
    if solid.shape == "sphere":
        normal = [x / radius, y / radius, z / radius]
    elif solid.shape == "box":
        across, up, ahead = np.abs(x) / radius, np.abs(y) / half, np.abs(z) / radius
        on_side = (across >= up) & (across >= ahead)
        on_top = ~on_side & (up >= ahead)
        normal = [np.sign(x) * on_side, np.sign(y) * on_top, np.sign(z) * ~(on_side | on_top)]
    else:
        around = np.maximum(np.sqrt(x * x + z * z), np.float32(1e-6))
        slope = math.atan2(solid.radius, solid.height) if solid.shape == "cone" else 0.0
        flat = np.abs(y) > half - np.float32(1e-3) if solid.shape == "cylinder" else y < -half + np.float32(1e-3)
        side = np.float32(math.cos(slope))
        normal = [
            np.where(flat, 0, side * x / around),
            np.where(flat, np.sign(y), np.float32(math.sin(slope))),
            np.where(flat, 0, side * z / around),
        ]
    if solid.cut:
        a, b, limit = _cut_plane(solid)
        on_cut = np.abs(a * x + b * y - limit) < 2e-3
        normal = [np.where(on_cut, a, normal[0]), np.where(on_cut, b, normal[1]), np.where(on_cut, 0, normal[2])]
    return _turn_back(solid, [np.asarray(values, dtype=np.float32) for values in normal])


def _at(values: Points, where: NDArray[np.intp]) -> list[Floats]:
    return [value[where] if np.ndim(value) else value for value in values]


def _candidates(solid: Solid, origin: Points, direction: Points) -> NDArray[np.intp]:
    """Return the rays that pass the solid's bounding sphere ahead of their start."""
    to = [np.float32(solid.centre[axis]) - origin[axis] for axis in range(3)]
    along = to[0] * direction[0] + to[1] * direction[1] + to[2] * direction[2]
    apart = to[0] * to[0] + to[1] * to[1] + to[2] * to[2] - along * along
    return np.flatnonzero((apart < np.float32(solid.bound**2 * 1.01)) & (along > -np.float32(solid.bound)))


def _turn(solid: Solid, vector: Points) -> tuple[Floats, Floats, Floats]:
    """Rotate from world axes into the solid's: its lean about the view axis undone, then its yaw about the vertical."""
    x, y, z = vector
    if solid.lean:
        cosine, sine = np.float32(math.cos(solid.lean)), np.float32(math.sin(solid.lean))
        x, y = x * cosine + y * sine, y * cosine - x * sine
    cosine, sine = np.float32(math.cos(solid.yaw)), np.float32(math.sin(solid.yaw))
    return x * cosine - z * sine, y, x * sine + z * cosine


def _turn_back(solid: Solid, vector: Points) -> tuple[Floats, Floats, Floats]:
    x, y, z = vector
    cosine, sine = np.float32(math.cos(solid.yaw)), np.float32(math.sin(solid.yaw))
    x, z = x * cosine + z * sine, z * cosine - x * sine
    if solid.lean:
        cosine, sine = np.float32(math.cos(solid.lean)), np.float32(math.sin(solid.lean))
        x, y = x * cosine - y * sine, y * cosine + x * sine
    return x, y, z


def _cut_plane(solid: Solid) -> tuple[np.float32, np.float32, np.float32]:
    """Return (a, b, limit): what lies at a·x + b·y > limit in the solid's own axes is missing."""
    reach = solid.radius * 0.6 + solid.height / 2 * 0.8
    return np.float32(0.6), np.float32(0.8), np.float32(reach * (1 - 2 * solid.cut))


def _interval(solid: Solid, origin: Points, direction: Points) -> tuple[Floats, Floats]:
    """Return where rays enter and leave the solid, (N,) each; enter >= leave is a miss."""
    centre = solid.centre
    start = _turn(solid, [origin[axis] - np.float32(centre[axis]) for axis in range(3)])
    along = _turn(solid, direction)
    radius, half = np.float32(solid.radius), np.float32(solid.height / 2)
    if solid.shape == "sphere":
        enter, leave = _quadratic_interval(
            along[0] ** 2 + along[1] ** 2 + along[2] ** 2,
            start[0] * along[0] + start[1] * along[1] + start[2] * along[2],
            start[0] ** 2 + start[1] ** 2 + start[2] ** 2 - radius**2,
        )
    else:
        enter, leave = _slab(start[1], along[1], half)
        if solid.shape == "box":
            pieces = [_slab(start[0], along[0], radius), _slab(start[2], along[2], radius)]
        elif solid.shape == "cylinder":
            pieces = [
                _quadratic_interval(
                    along[0] ** 2 + along[2] ** 2,
                    start[0] * along[0] + start[2] * along[2],
                    start[0] ** 2 + start[2] ** 2 - radius**2,
                )
            ]
        else:
            pieces = [_cone(start, along, radius, half)]
        for low, high in pieces:
            enter, leave = np.maximum(enter, low), np.minimum(leave, high)
    if solid.cut:
        a, b, limit = _cut_plane(solid)
        outside = a * start[0] + b * start[1] - limit
        speed = a * along[0] + b * along[1]
        speed = np.where(np.abs(speed) < 1e-7, np.float32(1e-7), speed)
        crossing = -outside / speed
        enter = np.where(speed < 0, np.maximum(enter, crossing), enter)
        leave = np.where(speed > 0, np.minimum(leave, crossing), leave)
    return enter, leave


def _slab(start: Floats, along: Floats, half: np.float32) -> tuple[Floats, Floats]:
    safe = np.where(np.abs(along) < 1e-7, np.float32(1e-7), along)
    one, other = (-half - start) / safe, (half - start) / safe
    return np.minimum(one, other), np.maximum(one, other)


def _quadratic_interval(a: Floats, b: Floats, c: Floats) -> tuple[Floats, Floats]:
    """Return the roots of a·t² + 2b·t + c with a > 0; a miss is (inf, -inf)."""
    discriminant = b * b - a * c
    met = discriminant > 0
    root = np.sqrt(np.where(met, discriminant, 0))
    safe = np.maximum(a, np.float32(1e-9))
    far = np.float32(np.inf)
    return np.where(met, (-b - root) / safe, far), np.where(met, (-b + root) / safe, -far)


def _cone(start: Points, along: Points, radius: np.float32, half: np.float32) -> tuple[Floats, Floats]:
    """Return the interval inside the cone below its apex; the part above the apex belongs to the mirror cone."""
    slope = (radius / (2 * half)) ** 2
    below = half - start[1]
    a = along[0] ** 2 + along[2] ** 2 - slope * along[1] ** 2
    a = np.where(np.abs(a) < 1e-7, np.float32(1e-7), a)
    b = start[0] * along[0] + start[2] * along[2] + slope * below * along[1]
    c = start[0] ** 2 + start[2] ** 2 - slope * below**2
    discriminant = b * b - a * c
    met = discriminant > 0
    root = np.sqrt(np.where(met, discriminant, 0))
    one, other = (-b - root) / a, (-b + root) / a
    low, high = np.minimum(one, other), np.maximum(one, other)
    far = np.float32(np.inf)
    # A steep ray is inside both cones but between the roots: the lower one is the later part of a falling ray.
    falls = along[1] < 0
    steep_enter, steep_leave = np.where(falls, high, -far), np.where(falls, far, low)
    enter = np.where(a > 0, np.where(met, low, far), np.where(met, steep_enter, -far))
    leave = np.where(a > 0, np.where(met, high, -far), np.where(met, steep_leave, far))
    return enter, leave
