"""Scenes' references and answers without rendering, and runs with them: for tests of reasoning metrics.

`StubEncoder` stands for the sentence encoder where a test is not about it: words hashed into a vector, no weights.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdr_bench.data.scenes.language import (
    authenticity_attributes,
    caption,
    chain_of_thought,
    forgery_attributes,
    reference_reasoning,
)
from fdr_bench.data.scenes.scene import random_scene
from fdr_bench.data.scenes.violations import KINDS, QUALITY, Violation
from fdr_bench.metrics.reasoning import official_answer
from tests.runs import make_run, read_lines, write_lines

SET = "fdr-scenes-test"
MODEL = "reasoner"


class SceneText(NamedTuple):
    """One scene in words: its reference, and the same facts said in other words in the chain of thought's layout."""

    fake: bool
    caption: str
    attributes: dict[str, str | None]
    reference: str
    retold: str


def scene_text(random: np.random.Generator, fake: bool) -> SceneText:
    """Draw a scene and say its facts twice. A fake one has one to three violations, of any kind."""
    scene = random_scene(random)
    if fake:
        families = [list(KINDS)[n] for n in random.permutation(len(KINDS))][: int(random.integers(1, 4))]
        facts = [_fact(random, family, len(scene.solids)) for family in families]
        said = [forgery_attributes(scene, facts, random) for _ in range(2)]
    else:
        said = [authenticity_attributes(scene, random) for _ in range(2)]
    text = caption(scene, random)
    answer = official_answer(chain_of_thought(text, said[1], fake, random))
    assert answer is not None
    return SceneText(fake, text, said[0], reference_reasoning(said[0]), answer.reasoning)


def _fact(random: np.random.Generator, family: str, solids: int) -> Violation:
    kinds = [kind for kind in KINDS[family] if kind != "sinks" or solids > 1]
    kind, solid = kinds[int(random.integers(len(kinds)))], int(random.integers(solids))
    return Violation(
        attribute=family,
        kind=kind,
        solid=None if family == QUALITY else solid,
        strength=1.0,
        other=(solid + 1) % solids if kind == "sinks" else None,
        place=(float(random.random()), float(random.random())),
    )


class StubEncoder:
    """Texts as counts of hashed words, normalised: equal texts have one vector, other words mostly others."""

    name, width, limit = "stub", 64, 256

    def __init__(self) -> None:
        self.seen: list[str] = []

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.seen += texts
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                vectors[row, zlib.crc32(word.encode()) % self.width] += 1
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float32)
        unit: NDArray[np.float32] = vectors / np.maximum(lengths, np.float32(1e-9))
        return unit

    def truncated(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        return np.array([len(text.split()) > self.limit for text in texts], dtype=np.bool_)


def make_reasoning_run(
    root: Path,
    n: int = 80,
    *,
    say: Callable[[int, SceneText], Mapping[str, object]] = lambda number, told: {"reasoning": told.retold},
    models: Sequence[str] = (MODEL,),
    shared_reals: bool = True,
    reasons: Sequence[str] = (),
    finished: bool = True,
) -> tuple[Path, list[SceneText]]:
    """Write a run over scenes of `n` images whose first model reasons; return it with the scenes in the samples' order.

    `say(number, scene)` gives what is added to the row of a sample (None values are taken out of it).
    """
    run = make_run(root, n, models, failures=0.0, shared_reals=shared_reals, reasons=reasons, finished=finished)
    samples = read_lines(run / "datasets" / SET / "samples.jsonl")
    random = np.random.default_rng(5)
    told = [scene_text(random, sample["label"] == "fake") for sample in samples]
    for sample, scene in zip(samples, told, strict=True):
        sample |= {"attributes": scene.attributes, "reasoning": scene.reference, "caption": scene.caption}
    write_lines(run / "datasets" / SET / "samples.jsonl", samples)
    path = run / models[0] / SET / "predictions.jsonl"
    rows = []
    for number, (row, scene) in enumerate(zip(read_lines(path), told, strict=False)):
        changed = row | dict(say(number, scene))
        rows.append({key: value for key, value in changed.items() if value is not None})
    write_lines(path, rows)
    return run, told
