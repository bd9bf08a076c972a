"""One sample of FDR-Scenes, a pure function of version, seed, split, generator and index."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fdr_bench.data.scenes.camera import Shot, imitate, photograph, random_shot
from fdr_bench.data.scenes.generators import fingerprint
from fdr_bench.data.scenes.language import (
    authenticity_attributes,
    caption,
    chain_of_thought,
    forgery_attributes,
    question,
)
from fdr_bench.data.scenes.render import render
from fdr_bench.data.scenes.scene import VERSION, Scene, random_scene, stream
from fdr_bench.data.scenes.violations import Violation, violate

Floats = NDArray[np.float32]
CAMERA = "camera"
"""The source of captured images, where a generated one has its generator's name."""
GRAIN_RANGE = (0.25, 2.0)
"""By how much a generator's grain may be scaled to bring a file to a photograph's size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a set's samples depend on besides their source and index. Strengths are 1 by default, 0 for none."""

    split: str
    size: int = 128
    seed: int = 0
    violation_strength: float = 1.0
    fingerprint_strength: float = 1.0


class Encoding(NamedTuple):
    """How a picture is written: both classes draw it from the same distribution."""

    quality: int
    subsampling: int


class SceneSample(NamedTuple):
    """One sample with all that is known of it. `regions` has a mask (H, W) for each forgery attribute present."""

    jpeg: bytes
    scene: Scene
    caption: str
    attributes: dict[str, str | None]
    facts: tuple[Violation, ...]
    regions: dict[str, NDArray[np.bool_]]
    question: str
    chain_of_thought: str


class Stages(NamedTuple):
    """A generated picture on its way, in 0 to 255: without grain and trace, the grain, the trace, and how it is written."""

    clean: Floats
    grain: Floats
    trace: Floats
    encoding: Encoding


def make_sample(recipe: Recipe, source: str, index: int) -> SceneSample:
    """Return sample `index` of a source: `CAMERA` or a generator's name."""
    key = (VERSION, recipe.seed, recipe.split, source, index)
    scene = random_scene(stream("scene", *key))
    shot = random_shot(stream("shot", *key))
    encoding = _random_encoding(stream("encoding", *key))
    words = stream("words", *key)
    if source == CAMERA:
        light = render(scene, recipe.size).light
        jpeg = encode(photograph(light, shot, stream("sensor", *key)), encoding)
        attributes, facts, regions = authenticity_attributes(scene, words), (), {}
    else:
        violated = violate(scene, recipe.size, stream("violation", *key), strength=recipe.violation_strength)
        stages = develop(violated.light, shot, encoding, source, key, recipe.fingerprint_strength)
        size = len(encode(photograph(violated.light, shot, stream("twin", *key)), encoding))
        jpeg = _match_size(stages, size)
        scene, facts, regions = violated.scene, violated.violations, violated.regions
        attributes = forgery_attributes(scene, facts, words)
    text = caption(scene, words)
    thoughts = chain_of_thought(text, attributes, source != CAMERA, words)
    return SceneSample(jpeg, scene, text, attributes, facts, regions, question(words), thoughts)


def develop(
    light: Floats, shot: Shot, encoding: Encoding, generator: str, key: tuple[object, ...], strength: float
) -> Stages:
    """Return a generator's rendition of linear light before it is written."""
    clean, grain = imitate(light, shot, stream("grain", *key))
    trace = fingerprint(clean + grain, generator, stream("fingerprint", *key), strength=strength)
    return Stages(clean, grain, trace, encoding)


def encode(image: Floats, encoding: Encoding) -> bytes:
    """Return the JPEG file of a picture (H, W, 3) in 0 to 255."""
    pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    stream_out = io.BytesIO()
    Image.fromarray(pixels).save(stream_out, "JPEG", quality=encoding.quality, subsampling=encoding.subsampling)
    return stream_out.getvalue()


def describe(fact: Violation) -> dict[str, object]:
    """Return a violation as plain data."""
    return asdict(fact)


def _random_encoding(random: np.random.Generator) -> Encoding:
    return Encoding(int(random.integers(85, 97)), 0 if random.random() < 0.5 else 2)


def _match_size(stages: Stages, target: int) -> bytes:
    """Scale the grain until the file is as long as a photograph of the same scene with the same settings would be.

    Without this a trace that adds or removes detail would show in the number of bytes alone.
    """
    low, high = GRAIN_RANGE
    gain = 1.0
    best = b""
    for _ in range(6):
        jpeg = encode(stages.clean + np.float32(gain) * stages.grain + stages.trace, stages.encoding)
        if not best or abs(len(jpeg) - target) < abs(len(best) - target):
            best = jpeg
        if abs(len(jpeg) - target) <= target // 200:
            break
        low, high = (gain, high) if len(jpeg) < target else (low, gain)
        gain = (low * high) ** 0.5
    return best
