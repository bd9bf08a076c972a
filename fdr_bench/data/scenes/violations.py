"""Five families of violations, one per forgery attribute: each changes the scene or the picture and records the fact.

A violation counts only where it shows: its region is measured as the difference between the picture before and after.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdr_bench.data.scenes.render import Render, render
from fdr_bench.data.scenes.retouch import RETOUCHES
from fdr_bench.data.scenes.scene import Scene, Solid, azimuth_of, elevation_of, sun

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

LIGHTING = "Inconsistent Lighting and Shadows"
EDGES = "Irregular Image Edges"
TEXTURE = "Anomalous Image Texture"
QUALITY = "Low Image Quality"
SEMANTICS = "Semantic Irrationality"

KINDS: dict[str, tuple[str, ...]] = {
    LIGHTING: ("shadow-towards-light", "shadow-missing", "shadow-longer", "shadow-shorter", "lit-from-wrong-side"),
    EDGES: ("wobbles", "doubles", "bleeds"),
    TEXTURE: ("melts", "repeats", "drifts"),
    QUALITY: ("smeared", "banded", "blocky"),
    SEMANTICS: ("floats", "sinks", "cut-off", "leans"),
}
LEAST_SHARE = 0.0015
"""A violation must change at least this share of the pixels (24 of 128 × 128)."""
MOST_SHARE = 0.4
VISIBLE = 0.03
"""A pixel is part of a region where a channel changes by 3 % of display white."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A fact: which attribute, how, on which solid (None: a place in the picture), how strongly, where."""

    attribute: str
    kind: str
    solid: int | None
    strength: float
    other: int | None = None
    place: tuple[float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data, as in a set's facts."""
        return asdict(self)

    @classmethod
    def from_json(cls, fact: Mapping[str, Any]) -> Violation:
        """Return what `to_json` gave, also after JSON made a list of the place."""
        return cls(**{**fact, "place": tuple(fact["place"]) if fact["place"] else None})


class Violated(NamedTuple):
    """The picture with its violations, the scene they left, and where each shows."""

    scene: Scene
    light: Floats  # (H, W, 3)
    violations: tuple[Violation, ...]
    regions: dict[str, Mask]


def violate(scene: Scene, size: int, random: np.random.Generator, *, strength: float = 1.0) -> Violated:
    """Give a scene one to three violations of different families. With `strength` 0 there are none."""
    wanted = int(random.integers(1, 4)) if strength > 0 else 0
    families = [list(KINDS)[i] for i in random.permutation(len(KINDS))]
    # Half the size is enough to see where a change shows, at a quarter of the rays.
    half = max(size // 2, 32)
    before = render(scene, half, antialias=False)
    found: list[Violation] = []
    regions: dict[str, Mask] = {}
    retouched: list[Violation] = []
    for family in families:
        if len(found) + len(retouched) == wanted:
            break
        if family in (EDGES, QUALITY):
            retouched.append(_draw(scene, family, str(_pick(random, KINDS[family])), random, found, strength))
            continue
        for kind in [KINDS[family][i] for i in random.permutation(len(KINDS[family]))][:3]:
            fact = _draw(scene, family, kind, random, found, strength)
            changed = alter(scene, fact)
            if changed == scene:
                continue
            after = render(changed, half, antialias=False)
            region = changed_pixels(before.light, after.light)
            if _shows(region):
                scene, before = changed, after
                found.append(fact)
                nearest = np.arange(size) * half // size
                regions[family] = region[nearest][:, nearest]
                break
    final = render(scene, size)
    light = final.light
    for fact in retouched:
        for attempt in range(4):
            picture = RETOUCHES[fact.kind](Render(light, final.solid), fact.solid, fact.place, fact.strength, random)
            region = changed_pixels(light, picture)
            if _shows(region):
                light = picture
                found.append(fact)
                regions[fact.attribute] = region
                break
            fact = _draw(scene, fact.attribute, KINDS[fact.attribute][attempt % 3], random, found, strength)
    return Violated(scene, light, tuple(found), regions)


def changed_pixels(before: Floats, after: Floats) -> Mask:
    """Mark pixels (H, W) where two linear pictures differ by over 3 % of display white in a channel."""
    change = np.abs(np.sqrt(np.clip(after, 0, 1)) - np.sqrt(np.clip(before, 0, 1)))
    marked: Mask = change.max(axis=-1) > VISIBLE
    return marked


def alter(scene: Scene, fact: Violation) -> Scene:
    """Return the scene with a violation of lighting, texture or semantics in it; the same where it cannot be."""
    if fact.solid is None:
        return scene
    changed = _ALTERATIONS[fact.kind](scene, scene.solids[fact.solid], fact)
    solids = (*scene.solids[: fact.solid], changed, *scene.solids[fact.solid + 1 :])
    return replace(scene, solids=solids)


def _shows(region: Mask) -> bool:
    return LEAST_SHARE <= float(region.mean()) <= MOST_SHARE


def _pick(random: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(random.integers(len(choices)))]


def _draw(
    scene: Scene, family: str, kind: str, random: np.random.Generator, found: list[Violation], strength: float
) -> Violation:
    """Draw the solid, the place and the strength; a lighting and a semantic fault never share a solid."""
    drawn = float(random.uniform(0.6, 1.0)) * strength
    order = [int(i) for i in random.permutation(len(scene.solids))]
    place = (float(random.uniform(0.2, 0.8)), float(random.uniform(0.35, 0.8)))
    if family == QUALITY:
        return Violation(attribute=family, kind=kind, solid=None, strength=drawn, place=place)
    taken = {fact.solid for fact in found} | {fact.other for fact in found if fact.other is not None}
    free = [number for number in order if number not in taken]
    if not free and family in (LIGHTING, SEMANTICS):
        return Violation(attribute=family, kind=kind, solid=None, strength=drawn)
    solid = (free or order)[0]
    other = next((number for number in free if number != solid), None) if kind == "sinks" else None
    return Violation(attribute=family, kind=kind, solid=solid, strength=drawn, other=other, place=place)


def _towards_light(scene: Scene, solid: Solid, fact: Violation) -> Solid:
    azimuth = azimuth_of(scene.light) + math.pi
    return replace(solid, shadow_light=sun(azimuth, elevation_of(scene.light)))


def _missing(scene: Scene, solid: Solid, fact: Violation) -> Solid:
    return replace(solid, casts_shadow=False)


def _longer(scene: Scene, solid: Solid, fact: Violation) -> Solid:
    lower = elevation_of(scene.light) * (1 - 0.55 * min(fact.strength, 1.4))
    return replace(solid, shadow_light=sun(azimuth_of(scene.light), lower))


def _shorter(scene: Scene, solid: Solid, fact: Violation) -> Solid:
    now = elevation_of(scene.light)
    higher = now + (math.radians(80) - now) * min(fact.strength, 1.0)
    return replace(solid, shadow_light=sun(azimuth_of(scene.light), higher))


def _wrong_side(scene: Scene, solid: Solid, fact: Violation) -> Solid:
    x, y, z = scene.light
    # Mirrored left to right as the viewer sees it, so that the fact is one of sides.
    return replace(solid, light=(-x, y, z))


def _melts(scene: Scene, solid: Solid, fact: Violation) -> Solid:
    return replace(solid, fault="melts", fault_strength=fact.strength)


def _repeats(scene: Scene, solid: Solid, fact: Violation) -> Solid:
    return replace(solid, fault="repeats", fault_strength=fact.strength)


def _drifts(scene: Scene, solid: Solid, fact: Violation) -> Solid:
    return replace(solid, fault="drifts", fault_strength=min(fact.strength, 1.0))


def _floats(scene: Scene, solid: Solid, fact: Violation) -> Solid:
    return replace(solid, lift=min(solid.radius * (0.5 + 0.9 * fact.strength), max(0.35, 2.1 - solid.height)))


def _sinks(scene: Scene, solid: Solid, fact: Violation) -> Solid:
    if fact.other is None:
        return solid
    other = scene.solids[fact.other]
    apart_x, apart_z = solid.x - other.x, solid.z - other.z
    apart = math.hypot(apart_x, apart_z)
    # Side by side as the viewer sees them, overlapping by a fifth to a half of the smaller one's width.
    near = solid.radius + other.radius - (0.5 + 0.7 * min(fact.strength, 1.0)) * min(solid.radius, other.radius)
    moved = replace(solid, x=other.x + apart_x / apart * near, z=other.z + apart_z / apart * near)
    clear = all(
        math.hypot(third.x - moved.x, third.z - moved.z) > 1.2 * (third.radius + moved.radius)
        for third in scene.solids
        if third is not solid and third is not other
    )
    return moved if clear else solid


def _cut_off(scene: Scene, solid: Solid, fact: Violation) -> Solid:
    return replace(solid, cut=0.2 + 0.15 * min(fact.strength, 1.5))


def _leans(scene: Scene, solid: Solid, fact: Violation) -> Solid:
    if solid.shape == "sphere":
        return solid
    tilt = math.radians(18 + 16 * min(fact.strength, 1.4))
    reach = solid.radius
    if solid.shape == "box":
        reach *= math.cos(solid.yaw) + math.sin(solid.yaw)
    # The lowest point of its rim stays on the ground.
    lift = solid.height / 2 * (math.cos(tilt) - 1) + reach * math.sin(tilt)
    return replace(solid, lean=tilt if solid.phase < 0.5 else -tilt, lift=lift)


_ALTERATIONS: dict[str, Callable[[Scene, Solid, Violation], Solid]] = {
    "shadow-towards-light": _towards_light,
    "shadow-missing": _missing,
    "shadow-longer": _longer,
    "shadow-shorter": _shorter,
    "lit-from-wrong-side": _wrong_side,
    "melts": _melts,
    "repeats": _repeats,
    "drifts": _drifts,
    "floats": _floats,
    "sinks": _sinks,
    "cut-off": _cut_off,
    "leans": _leans,
}
ALTERED = frozenset(_ALTERATIONS)
"""Kinds that change the scene before it is drawn; the others retouch the picture."""
