"""What strikes the eye in a photographed scene: which solid, and which authenticity attributes the picture shows.

All of it follows from the scene graph, so that somebody who looks at the picture can tell what its annotation says.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fdr_bench.data.scenes.scene import COLOURS, GROUND_COLOURS, Ground, Material, Scene, Solid

LEAST_STATED = 3
"""So many attributes are stated at least: where fewer show, the ones that come nearest to it."""
VISIBLE_SHADOW = 0.8
"""A shadow shows where it reaches to a side by this share of its solid's width."""
VISIBLE_OUTLINE = 0.26
"""An outline shows where a channel of solid and ground differs by this share of display white."""
PATTERNS: dict[Material, float] = {"checked": 2.0, "striped": 2.0, "grainy": 1.0, "glossy": 0.5, "matte": 0.4}
"""How much pattern a material shows; from 1 on there is a texture to speak of."""
DETAIL: dict[Ground, float] = {"checked": 2.0, "tiled": 1.5, "planked": 1.5, "rough": 1.0, "plain": 0.3}
"""How much of the ground could be lost in a poor picture; from 1 on there is detail to speak of."""


class Striking(NamedTuple):
    """An authenticity attribute of a scene: the solid its sentence names, and how plainly it shows.

    From a `plainness` of 1 on the picture shows it; below, it only compares with that of other attributes.
    """

    solid: Solid
    plainness: float


def striking(scene: Scene) -> dict[str, Striking]:
    """Return for each authenticity attribute the solid that shows it best and how plainly the picture does."""
    first = max(scene.solids, key=lambda solid: apparent_size(scene, solid))
    patterned = max(scene.solids, key=lambda solid: (PATTERNS[solid.material], apparent_size(scene, solid)))
    return {
        "Consistent Lighting and Shadows": Striking(first, shadow_reach(scene, first) / VISIBLE_SHADOW),
        "High Image Quality": Striking(first, DETAIL[scene.ground]),
        "Natural and Consistent Image Texture": Striking(patterned, PATTERNS[patterned.material]),
        # An arrangement takes two.
        "Semantic Rationality": Striking(first, len(scene.solids) / 2),
        "Smooth and Natural Image Edges": Striking(first, outline_contrast(scene, first) / VISIBLE_OUTLINE),
    }


def stated(found: dict[str, Striking]) -> frozenset[str]:
    """Return the attributes that an annotator states: all that show, and at least `LEAST_STATED` of them."""
    ranked = sorted(found, key=lambda name: -found[name].plainness)
    return frozenset(name for place, name in enumerate(ranked) if place < LEAST_STATED or found[name].plainness >= 1)


def apparent_size(scene: Scene, solid: Solid) -> float:
    """Return about which share of the picture a solid covers: what its silhouette would, were no other before it.

    What the picture's left and right borders cut off does not count. Cut, lifted and leaning solids count as whole.
    """
    ahead, drop = _seen_from(scene, solid)
    scale = scene.focal * 1.6 / ahead  # half pictures a metre
    half = solid.radius * (math.cos(solid.yaw) + math.sin(solid.yaw) if solid.shape == "box" else 1.0)
    radius = solid.radius
    if solid.shape == "sphere":
        face, top = math.pi * radius**2 / math.cos(drop), 0.0
    elif solid.shape == "cone":
        face, top = radius * solid.height, math.pi * radius**2 / 2
    elif solid.shape == "cylinder":
        face, top = 2 * half * solid.height, math.pi * radius**2
    else:
        face, top = 2 * half * solid.height, 4 * radius**2
    whole = (face * math.cos(drop) + top * math.sin(drop)) * scale**2 / 4
    left, right = (solid.x - half) * scale, (solid.x + half) * scale
    inside = max(min(right, 1.0) - max(left, -1.0), 0.0) / (right - left)
    return whole * inside


def shadow_reach(scene: Scene, solid: Solid) -> float:
    """Return how far a solid's shadow reaches to the left or right of where it stands, in widths of the solid."""
    across, up, _ = scene.light
    return abs(across) / up * solid.height / (2 * solid.radius)


def outline_contrast(scene: Scene, solid: Solid) -> float:
    """Return the greatest difference of a channel between a solid's colour and the ground's, in display values.

    Of a pattern of two colours, the mean of both.
    """
    ground = GROUND_COLOURS[scene.ground_colour]

    def contrast(name: str) -> float:
        return max(abs(math.sqrt(one) - math.sqrt(other)) for one, other in zip(COLOURS[name], ground, strict=True))

    return sum(map(contrast, solid.colours)) / len(solid.colours)


def _seen_from(scene: Scene, solid: Solid) -> tuple[float, float]:
    """Return how far ahead of the viewer a solid is, in metres, and the angle at which it is looked down on."""
    x, y, z = solid.centre
    tilt = math.atan2(scene.eye_height - 0.5, scene.eye_distance)  # as the renderer aims
    ahead = (z + scene.eye_distance) * math.cos(tilt) - (y - scene.eye_height) * math.sin(tilt)
    return ahead, math.atan2(scene.eye_height - y, math.hypot(z + scene.eye_distance, x))
