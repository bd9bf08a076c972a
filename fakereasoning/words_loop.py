"""The steps of learning words, and how well held-out images' words are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from fakereasoning.model import FakeReasoning
from fakereasoning.pixels import TrainingImages, normalised
from fakereasoning.places import SaidHere, mean_precision, places_loss, shares_here
from fakereasoning.vision_loop import Floats, Index, Pixels, VisionLoop
from fakereasoning.words import Said, WordsHead, WordsRecipe


class WordsMeasures(NamedTuple):
    """Over held-out images; NaN where there are none."""

    loss: float
    """Cross-entropy a word, in nats."""
    blind: float
    """The same of each word's share of the training images, told without looking."""
    precision: float
    """Mean over words of the average precision of their logit; words that all or none of the images have are out."""
    blind_precision: float
    """Mean of those words' shares: the average precision by chance."""
    place_precision: float = float("nan")
    """As `precision`, of the words of things among the places where one stands."""


class WordsLoop(VisionLoop):
    """One tower, its projector and the embeddings learning words."""

    names = ("words", "places")

    def __init__(
        self,
        model: FakeReasoning,
        images: TrainingImages,
        said: Said,
        here: SaidHere,
        learnt: Index,
        held: Index,
        *,
        recipe: WordsRecipe,
        seed: int,
        device: str = "cpu",
        seconds: float | None = None,
    ) -> None:
        """`learnt` and `held` are rows of `images` and of what is said; `seconds` is the budget of `elapsed`."""
        self.recipe, self.said, self.here, self.held = recipe, said, here, held
        super().__init__(
            model,
            images,
            learnt,
            lambda _: WordsHead(model, recipe.tower, said.ids, here.ids),
            recipe=recipe,
            rates={recipe.tower: recipe.rate},
            seed=seed,
            device=device,
            seconds=seconds,
        )
        self.shares = said.told[learnt].mean(axis=0)
        cast(WordsHead, self.heads).begin_at(self.shares, shares_here(here, learnt))

    def losses(self, index: Index, seen: Pixels) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the loss of an image, and of it the cross-entropy of a word, and that of a word of a thing's place."""
        pixels = normalised(seen, self.device)
        with self.autocast():
            logits, here = self.heads(list(self.tokens(self.towers, pixels).values()))
        target = torch.from_numpy(self.said.told[index]).to(self.device, torch.float32)
        words = binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(target)
        things, nothing = places_loss(here, self.here, index)
        loss = words + self.recipe.places_weight * (things + nothing)
        return loss, (words.detach() / target.shape[1], things.detach() / max(1, len(self.here.ids)))

    def measures(self) -> Mapping[str, float]:
        """Return `WordsMeasures` of the held-out images, by name."""
        if not len(self.held):
            return WordsMeasures(*(float("nan"),) * 5)._asdict()
        _, logits = self.look(self.held, lambda tokens: self.heads(tokens)[0])
        _, here = self.look(self.held, lambda tokens: self.heads(tokens)[1])
        rows = self.here.rows[self.held]
        told = self.here.told[rows[rows >= 0]]
        found = measured(logits, self.said.told[self.held], self.shares)
        return found._replace(place_precision=mean_precision(here[rows >= 0], told))._asdict()


def measured(logits: Floats, told: NDArray[np.bool_], shares: Floats) -> WordsMeasures:
    """Compare logits (N, W) with the words that are said (N, W); `shares` (W,) are what is known without looking."""
    target = torch.from_numpy(told.astype(np.float32))
    blind = np.clip(shares, 1e-3, 1 - 1e-3).astype(np.float32)
    blind_logits = torch.from_numpy(np.broadcast_to(np.log(blind / (1 - blind)), told.shape).copy())
    varied = np.flatnonzero(told.any(axis=0) & ~told.all(axis=0))
    nothing = float("nan")
    return WordsMeasures(
        loss=float(binary_cross_entropy_with_logits(torch.from_numpy(logits).float(), target)),
        blind=float(binary_cross_entropy_with_logits(blind_logits, target)),
        precision=mean_precision(logits, told),
        blind_precision=float(told[:, varied].mean()) if len(varied) else nothing,
    )
