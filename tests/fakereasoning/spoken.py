"""Chains of thought about scenes that nobody rendered: text enough to train a tokenizer on."""

from __future__ import annotations

from functools import cache

from fakereasoning.prompts import QUESTION
from fakereasoning.tokenizer import ByteLevelCodec, train_tokenizer
from fdr_bench.data.scenes.language import authenticity_attributes, caption, chain_of_thought, forgery_attributes
from fdr_bench.data.scenes.scene import random_scene, stream
from fdr_bench.data.scenes.violations import KINDS, Violation


def answer(number: int) -> str:
    """Return a chain of thought, of a generated image where the number is odd; its one violation follows from it."""
    scene, words = random_scene(stream("scene", number)), stream("words", number)
    attribute = list(KINDS)[number % len(KINDS)]
    kind = KINDS[attribute][number // len(KINDS) % len(KINDS[attribute])]
    fact = Violation(attribute=attribute, kind=kind, solid=0, strength=1.0, other=0, place=(0.5, 0.5))
    fake = number % 2 == 1
    if attribute == "Low Image Quality":
        fact = Violation(attribute=attribute, kind=kind, solid=None, strength=1.0, place=(0.5, 0.5))
    attributes = forgery_attributes(scene, [fact], words) if fake else authenticity_attributes(scene, words)
    return chain_of_thought(caption(scene, words), attributes, fake, words)


@cache
def answers(count: int) -> tuple[str, ...]:
    return tuple(answer(number) for number in range(count))


@cache
def codec(vocabulary: int = 1024) -> ByteLevelCodec:
    """Return a tokenizer of 400 chains of thought. It is shared: change nothing of it."""
    return train_tokenizer([*answers(400), *[f"\n{QUESTION}\n"] * 400], vocabulary=vocabulary)
