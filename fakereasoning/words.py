"""Which words are said of an image, as targets of a tower: the first thing that a tower without pretraining learns.

Huang et al., "Classification Done Right for Vision-Language Pre-Training" (SuperClass), NeurIPS 2024: a tower that
tells which words stand in an image's text learns what a contrastive training or a captioner teaches it, without a
text model, and so sees several times as many images in a given time. Here every word is told by itself (a sigmoid each,
in place of their softmax over subwords), since a word of a small grammar is there or not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fakereasoning.alignment import Pool
from fakereasoning.facl_recipe import TOWERS, Precision, Tower
from fakereasoning.recipe_fields import checked_fields
from fakereasoning.records import Record
from fdr_bench.errors import DataError, UsageError, nearest

WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class WordsRecipe:
    """How a tower learns words: which words, optimisation. An image is never mirrored: its words say left and right."""

    tower: Tower = "clip"
    rate: float = 2e-3
    """Learning rate of the tower."""
    head_rate: float = 2e-3
    """Learning rate of the head."""
    queries: int = 4
    """Learned weightings of places by which the tower's tokens are pooled."""
    rarest: float = 0.005
    """Share of the images below which a word is left out."""
    commonest: float = 0.97
    """Share of the images above which a word is left out."""

    epochs: float = 5.0
    steps: int | None = None
    """Steps in all, in place of `epochs`."""
    batch: int = 64
    weight_decay: float = 0.05
    """Decoupled; not applied to biases, norms and other vectors."""
    betas: tuple[float, float] = (0.9, 0.98)
    warmup: float = 0.05
    """Share of the training in which the learning rates rise from 0; from there they fall along half a cosine to 0."""
    clip: float | None = 5.0
    """Largest L2 norm of the gradient."""
    precision: Precision = "fp32"
    """Type of the matrix products (autocast); weights, loss and optimizer stay in float32."""
    held_out: float = 0.03
    """Share of the images kept from training for the measures."""

    def __post_init__(self) -> None:
        """Raise `UsageError` naming the first field that cannot be."""
        if self.tower not in TOWERS:
            raise UsageError(
                f"the recipe's tower is '{self.tower}'; expected {', '.join(TOWERS)}.{nearest(self.tower, TOWERS)}"
            )
        if self.precision not in get_args(Precision):
            raise UsageError(f"the recipe's precision is '{self.precision}'; expected fp32 or bf16")
        for name in ("rate", "head_rate", "queries", "epochs", "steps", "batch", "clip"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise UsageError(f"the recipe's {name} is {getattr(self, name)}; it must be above 0")
        if self.batch < 2:
            raise UsageError(f"the recipe's batch is {self.batch}; the head's normalisation needs at least 2")
        if not 0 <= self.rarest < self.commonest <= 1:
            raise UsageError(
                f"the recipe's words are those in {self.rarest} to {self.commonest} of the images; expected shares, "
                "the first below the second"
            )
        if not self.weight_decay >= 0:
            raise UsageError(f"the recipe's weight_decay is {self.weight_decay}; it must not be below 0")
        for name, highest in (("warmup", 1), ("held_out", 0.9)):
            if not 0 <= getattr(self, name) <= highest:
                raise UsageError(f"the recipe's {name} is {getattr(self, name)}; expected a share from 0 to {highest}")

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as JSON data that `from_json` reads."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> WordsRecipe:
        """Return the recipe that a JSON object states; fields left out have their defaults. Raises `UsageError`."""
        return cls(**checked_fields(cls, content))


class Said(NamedTuple):
    """Which words are said of each image."""

    words: tuple[str, ...]
    """W of them, in the alphabet's order."""
    told: NDArray[np.bool_]
    """(N, W)"""


def words_said(records: Sequence[Record], locations: Sequence[str], recipe: WordsRecipe) -> Said:
    """Return the words of the answers about each image, of the N at `locations`, that tell images apart.

    A word is a run of Latin letters, in small ones. Raises `DataError` where no word is in a share of the images that
    the recipe admits.
    """
    by_image: dict[str, set[str]] = {location: set() for location in locations}
    for record in records:
        if (words := by_image.get(record.image.location)) is not None:
            words.update(WORD.findall(record.answer.lower()))
    counts = Counter(word for location in locations for word in by_image[location])
    count = len(locations)
    kept = tuple(sorted(w for w, n in counts.items() if recipe.rarest * count < n < recipe.commonest * count))
    if not kept:
        raise DataError(
            f"no word is said of {recipe.rarest:.1%} to {recipe.commonest:.0%} of the {count} images, so there is "
            "nothing to tell them apart by. Give more images, or leave the stage 'words' out"
        )
    told = np.array([[word in by_image[location] for word in kept] for location in locations], dtype=np.bool_)
    return Said(kept, told)


class WordsHead(nn.Module):
    """From a tower's tokens to a logit a word; dropped when the stage is over."""

    def __init__(self, width: int, queries: int, words: int) -> None:
        super().__init__()
        self.pool = Pool(width, queries)
        self.spread = nn.BatchNorm1d(queries * width)
        self.to_words = nn.Linear(queries * width, words)

    def forward(self, tokens: Sequence[Tensor]) -> Tensor:
        """Map the tokens of the one tower, (B, N, width), to logits (B, words)."""
        logits: Tensor = self.to_words(self.spread(self.pool(tokens[0])))
        return logits

    def begin_at(self, shares: NDArray[np.floating]) -> None:
        """Begin with what is known without looking: each word's share (W,) of the images."""
        known = torch.from_numpy(np.clip(shares, 1e-3, 1 - 1e-3)).to(self.to_words.bias)
        with torch.no_grad():
            self.to_words.bias.copy_(torch.logit(known))
            self.to_words.weight.mul_(0.1)
