"""Random scene graphs: one light, a ground, a sky and one to four solids.

World axes: x to the right, y up, z away from the viewer; the ground is y = 0. Lengths are in metres, angles in radians.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

VERSION = "6"
"""Part of every set's identity, in results and the cache: it changes whenever a pixel or a word of any sample does."""
DRAWING = "4"
"""Part of the key of every random stream: it changes only where pixels may, for a new key draws all pictures anew.

Sets of one drawing have the same pictures, whatever their versions; detectors trained on one are at home in the other.
"""

T = TypeVar("T")
Shape = Literal["sphere", "box", "cylinder", "cone"]
Material = Literal["matte", "glossy", "striped", "checked", "grainy"]
Ground = Literal["plain", "checked", "tiled", "planked", "rough"]
Fault = Literal["none", "melts", "repeats", "drifts"]
Vector = tuple[float, float, float]

SHAPES: tuple[Shape, ...] = ("sphere", "box", "cylinder", "cone")
TWO_COLOURED: tuple[Material, ...] = ("striped", "checked")
MATERIALS: tuple[Material, ...] = ("matte", "glossy", "striped", "checked", "grainy")
GROUNDS: tuple[Ground, ...] = ("plain", "checked", "tiled", "planked", "rough")
COLOURS: dict[str, Vector] = {
    "red": (0.66, 0.06, 0.05),
    "orange": (0.80, 0.28, 0.03),
    "yellow": (0.82, 0.62, 0.05),
    "green": (0.08, 0.42, 0.09),
    "teal": (0.03, 0.40, 0.40),
    "blue": (0.06, 0.14, 0.62),
    "purple": (0.30, 0.07, 0.48),
    "pink": (0.82, 0.28, 0.42),
    "brown": (0.25, 0.11, 0.04),
    "white": (0.80, 0.80, 0.78),
    "grey": (0.26, 0.26, 0.27),
}
"""Linear albedos; no two solids of a scene share a colour, so that colour and shape name one solid."""
GROUND_COLOURS: dict[str, Vector] = {
    "sandy": (0.52, 0.42, 0.27),
    "grassy": (0.17, 0.27, 0.09),
    "stony": (0.36, 0.35, 0.34),
    "clay": (0.42, 0.23, 0.14),
    "chalky": (0.60, 0.60, 0.57),
}
SIZES: dict[str, float] = {"small": 0.46, "medium-sized": 0.64, "large": 0.86}
WARMTHS: dict[str, Vector] = {"warm": (1.18, 1.0, 0.76), "neutral": (1.0, 1.0, 1.0), "cool": (0.84, 0.98, 1.2)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Solid:
    """One solid standing on the ground; the fields from `lift` on are what a violation may change.

    `radius` is half the width, `height` the full height. `light` replaces the sun in this solid's own shading,
    `shadow_light` in the shadow that it casts (both unit vectors towards the light).
    """

    shape: Shape
    colour: str
    second_colour: str
    material: Material
    size: str
    radius: float
    height: float
    x: float
    z: float
    yaw: float
    phase: float
    lift: float = 0.0
    lean: float = 0.0
    cut: float = 0.0
    light: Vector | None = None
    casts_shadow: bool = True
    shadow_light: Vector | None = None
    fault: Fault = "none"
    fault_strength: float = 0.0

    @property
    def colours(self) -> tuple[str, ...]:
        """The colours that its surface shows, as words name them: one, or both of a pattern of two, brighter first.

        Stripes and checks show their two colours in equal shares, so nothing else tells which of them is the first.
        """
        if self.material not in TWO_COLOURED:
            return (self.colour,)
        return tuple(sorted((self.colour, self.second_colour), key=lambda name: -brightness(COLOURS[name])))

    @property
    def centre(self) -> Vector:
        """The middle of the solid."""
        return (self.x, self.height / 2 + self.lift, self.z)

    @property
    def bound(self) -> float:
        """Radius of a sphere about `centre` that holds the solid."""
        if self.shape == "sphere":
            return self.radius
        width = self.radius * math.sqrt(2.0) if self.shape == "box" else self.radius
        return math.hypot(width, self.height / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A whole scene. `light` is the unit vector towards the sun; `eye_height` and `eye_distance` place the viewer."""

    light: Vector
    warmth: str
    ground: Ground
    ground_colour: str
    ground_scale: float
    ground_yaw: float
    haze: float
    clouds: float
    texture_seed: int
    eye_height: float
    eye_distance: float
    focal: float
    solids: tuple[Solid, ...]


def brightness(colour: Vector) -> float:
    """Return the luminance of a linear colour, by the weights of Rec. ITU-R BT.709."""
    red, green, blue = colour
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def stream(purpose: str, *key: object) -> np.random.Generator:
    """Return the random stream of one purpose of one sample: Philox seeded by a hash, the same on every machine."""
    text = "\x1f".join(["fdr-scenes", purpose, *map(str, key)])
    digest = hashlib.sha256(text.encode()).digest()
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(int.from_bytes(digest[:16], "little"))))


def pick(random: np.random.Generator, choices: Sequence[T]) -> T:
    """Return one of the choices, each equally likely."""
    return choices[int(random.integers(len(choices)))]


def sun(azimuth: float, elevation: float) -> Vector:
    """Return the unit vector towards a light; azimuth 0 is away from the viewer, a quarter turn is to the right."""
    flat = math.cos(elevation)
    return (flat * math.sin(azimuth), math.sin(elevation), flat * math.cos(azimuth))


def random_scene(random: np.random.Generator) -> Scene:
    """Draw a scene. Solids stand on the ground, inside the view, apart from one another, each of its own colour."""
    # The sun stays off the viewing axis by 20 degrees, where shadows would hide behind their solids.
    side = 1.0 if random.random() < 0.5 else -1.0
    azimuth = side * math.radians(random.uniform(20.0, 160.0))
    elevation = math.radians(random.uniform(24.0, 58.0))
    colours = [list(COLOURS)[i] for i in random.permutation(len(COLOURS))]
    count = int(random.integers(1, 5))
    solids: list[Solid] = []
    for _ in range(48):
        if len(solids) == count:
            break
        solid = _random_solid(random, colours[2 * len(solids)], colours[2 * len(solids) + 1])
        if all(_apart(solid, other) for other in solids):
            solids.append(solid)
    return Scene(
        light=sun(azimuth, elevation),
        warmth=pick(random, list(WARMTHS)),
        ground=pick(random, GROUNDS),
        ground_colour=pick(random, list(GROUND_COLOURS)),
        ground_scale=random.uniform(0.7, 1.3),
        ground_yaw=random.uniform(0.0, math.pi / 2),
        haze=random.uniform(0.0, 0.5),
        clouds=random.uniform(0.0, 0.6),
        texture_seed=int(random.integers(1 << 30)),
        eye_height=random.uniform(1.7, 3.3),
        eye_distance=random.uniform(6.6, 7.6),
        focal=random.uniform(1.45, 1.75),
        solids=tuple(solids),
    )


def _random_solid(random: np.random.Generator, colour: str, second_colour: str) -> Solid:
    shape = pick(random, SHAPES)
    size = pick(random, list(SIZES))
    radius = SIZES[size] * random.uniform(0.92, 1.08)
    if shape == "box":
        radius *= 0.8
    height = 2 * radius if shape == "sphere" else 2 * radius * random.uniform(0.8, 1.5)
    return Solid(
        shape=shape,
        colour=colour,
        second_colour=second_colour,
        material=pick(random, MATERIALS),
        size=size,
        radius=radius,
        height=height,
        x=random.uniform(-1.75, 1.75),
        z=random.uniform(-1.3, 2.2),
        yaw=random.uniform(0.15, 1.4),
        phase=random.uniform(0.0, 1.0),
    )


def _apart(one: Solid, other: Solid) -> bool:
    """Whether two solids neither touch nor hide each other for the most part."""
    if math.hypot(one.x - other.x, one.z - other.z) < 1.3 * (one.radius + other.radius) + 0.1:
        return False
    # As seen from seven metres: apart by most of their widths, so that the farther one shows beside the nearer.
    one_depth, other_depth = one.z + 7, other.z + 7
    seen_apart = abs(one.x / one_depth - other.x / other_depth)
    return seen_apart > 0.75 * (one.radius / one_depth + other.radius / other_depth)


def azimuth_of(light: Vector) -> float:
    """Return the azimuth of a light as `sun` takes it, in (-pi, pi]."""
    return math.atan2(light[0], light[2])


def elevation_of(light: Vector) -> float:
    """Return the elevation of a light in [-pi/2, pi/2]."""
    return math.asin(max(-1.0, min(1.0, light[1])))
