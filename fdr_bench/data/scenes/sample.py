"""One sample of FDR-Scenes: its picture a pure function of drawing, seed, split, generator and index, its words too."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fdr_bench.data.scenes.camera import imitate, photograph, random_shot
from fdr_bench.data.scenes.generators import Fingerprint, root_mean_square
from fdr_bench.data.scenes.language import (
    authenticity_attributes,
    caption,
    chain_of_thought,
    forgery_attributes,
    question,
)
from fdr_bench.data.scenes.render import render
from fdr_bench.data.scenes.scene import DRAWING, Scene, random_scene, stream
from fdr_bench.data.scenes.violations import Violation, violate

Floats = NDArray[np.floating[Any]]
NOISE_SHARE = 0.8
"""A trace has at most this share of the root mean square of the noise."""
CAMERA = "camera"
"""The source of captured images, where a generated one has its generator's name."""
GRAIN_RANGE = (0.05, 2.2)
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


class SceneWords(NamedTuple):
    """What is said of one sample; absent attributes map to None."""

    caption: str
    attributes: dict[str, str | None]
    question: str
    chain_of_thought: str


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


def make_sample(recipe: Recipe, source: str, index: int) -> SceneSample:
    """Return sample `index` of a source: `CAMERA` or a generator's name."""
    key = _key(recipe, source, index)
    scene = random_scene(stream("scene", *key))
    shot = random_shot(stream("shot", *key))
    encoding = _random_encoding(stream("encoding", *key))
    facts: tuple[Violation, ...] = ()
    regions: dict[str, NDArray[np.bool_]] = {}
    if source == CAMERA:
        light = render(scene, recipe.size).light
        jpeg = encode(photograph(light, shot, stream("sensor", *key)), encoding)
    else:
        violated = violate(scene, recipe.size, stream("violation", *key), strength=recipe.violation_strength)
        twin = encode(photograph(violated.light, shot, stream("twin", *key)), encoding)
        clean, grain = imitate(violated.light, shot, stream("grain", *key))
        trace = Fingerprint(source, recipe.size, *key)
        synthesise = partial(decode, clean, grain, trace, recipe.fingerprint_strength)
        jpeg = _match_size(synthesise, encoding, len(twin))
        scene, facts, regions = violated.scene, violated.violations, violated.regions
    words = say(recipe, source, index, facts)
    return SceneSample(
        jpeg, scene, words.caption, words.attributes, facts, regions, words.question, words.chain_of_thought
    )


def say(recipe: Recipe, source: str, index: int, facts: Sequence[Violation]) -> SceneWords:
    """Return what is said of sample `index` of a source with its violations, which need not be drawn for that."""
    key = _key(recipe, source, index)
    # The scene before its violations: they leave everything that words speak of as it is.
    scene = random_scene(stream("scene", *key))
    words = stream("words", *key)
    real = source == CAMERA
    attributes = authenticity_attributes(scene, words) if real else forgery_attributes(scene, facts, words)
    text = caption(scene, words)
    thoughts = chain_of_thought(text, attributes, not real, words)
    return SceneWords(text, attributes, question(words), thoughts)


def decode(clean: Floats, grain: Floats, trace: Fingerprint, strength: float, gain: float) -> Floats:
    """Return what a generator's decoder gives for a picture and `gain` times its grain, in 0 to 255."""
    picture = clean + np.float32(gain) * grain
    return picture + trace.change(picture, strength=strength, noise=NOISE_SHARE * root_mean_square(grain))


def encode(image: Floats, encoding: Encoding) -> bytes:
    """Return the JPEG file of a picture (H, W, 3) in 0 to 255."""
    pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    stream_out = io.BytesIO()
    Image.fromarray(pixels).save(stream_out, "JPEG", quality=encoding.quality, subsampling=encoding.subsampling)
    return stream_out.getvalue()


def _key(recipe: Recipe, source: str, index: int) -> tuple[object, ...]:
    return (DRAWING, recipe.seed, recipe.split, source, index)


def _random_encoding(random: np.random.Generator) -> Encoding:
    return Encoding(int(random.integers(85, 97)), 0 if random.random() < 0.5 else 2)


def _match_size(synthesise: Callable[[float], Floats], encoding: Encoding, target: int) -> bytes:
    """Scale the grain until the file is as long as a photograph of the same scene with the same settings would be.

    Without this a trace that adds or removes detail would show in the number of bytes alone. The first step is a guess,
    the others draw a line through the two nearest tries.
    """
    tries: list[tuple[int, float, bytes]] = []
    gain = 1.0
    for _ in range(5):
        jpeg = encode(synthesise(gain), encoding)
        tries.append((len(jpeg) - target, gain, jpeg))
        tries.sort(key=lambda one: abs(one[0]))
        if abs(tries[0][0]) <= target // 160:
            break
        if len(tries) == 1:
            gain = gain * (target / len(jpeg)) ** 3
        else:
            (near, near_gain, _), (far, far_gain, _) = tries[:2]
            slope = (far - near) / (far_gain - near_gain)
            # Where the two say nothing of the slope, step the way that more grain makes more bytes.
            gain = near_gain - near / slope if slope > 0 else near_gain * (0.8 if near > 0 else 1.25)
        gain = min(max(gain, GRAIN_RANGE[0]), GRAIN_RANGE[1])
        if any(gain == tried for _, tried, _ in tries):
            break
    return tries[0][2]
