"""Which generators a checkpoint saw in training: the flag that keeps a familiar generator from passing as a new one."""

from __future__ import annotations

import re
from typing import Literal

from leaderboards.load import ModelFacts

SPLITS_AND_SIZES = {"train", "training", "test", "val", "validation", "eval", "dev", "mini", "full", "set"}


def seen_in_training(model: ModelFacts, dataset: str, generator: str) -> Literal["here", "elsewhere"] | None:
    """Say whether a model's training showed it this generator, in this family of datasets or in another."""
    trained = model.trained_on
    if trained is None or generator.casefold() not in {name.casefold() for name in trained.generators}:
        return None
    ours, theirs = family(dataset), family(trained.dataset)
    return "here" if ours and theirs and (ours <= theirs or theirs <= ours) else "elsewhere"


def family(dataset: str) -> frozenset[str]:
    """Return the words of a dataset's name without those for splits and sizes: "fdr-scenes-test" → fdr, scenes.

    A name of nothing but such words keeps them.
    """
    words = frozenset(re.findall(r"[^\W_]+", dataset.casefold()))
    return words - SPLITS_AND_SIZES or words
