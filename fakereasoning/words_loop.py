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
from fakereasoning.vision_loop import Floats, Index, VisionLoop
from fakereasoning.words import NOTHING, Said, SaidHere, WordsHead, WordsRecipe


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
        shown = here.rows[learnt]
        things = here.told[shown[shown >= 0]]
        cast(WordsHead, self.heads).begin_at(self.shares, things.mean(axis=0) if len(things) else here.told.sum(axis=0))

    def losses(self, index: Index, random: np.random.Generator) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the loss of an image, and of it the cross-entropy of a word, and that of a word of a thing's place."""
        pixels = normalised(self.images.take(index)).to(self.device)
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


def places_loss(logits: Tensor, here: SaidHere, index: Index) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy, summed over the V words, of a place where a thing stands, and of one where none does.

    `logits` (B, N, V) are of the images at `index` (B,); 0 where there is no such place.
    """
    rows = torch.from_numpy(here.rows[index])
    on, off = rows >= 0, rows == NOTHING
    told = torch.from_numpy(here.told[rows[on].numpy()]).to(logits)
    things = binary_cross_entropy_with_logits(logits[on.to(logits.device)], told, reduction="sum") / max(1, len(told))
    empty = logits[off.to(logits.device)]
    nothing = binary_cross_entropy_with_logits(empty, torch.zeros_like(empty), reduction="sum") / max(1, len(empty))
    return things, nothing


def mean_precision(logits: Floats, told: NDArray[np.bool_]) -> float:
    """Return the mean over words of the average precision of logits (N, W) for who has them (N, W).

    Words that all or none have are out; NaN where there are no others.
    """
    from sklearn.metrics import average_precision_score

    varied = np.flatnonzero(told.any(axis=0) & ~told.all(axis=0)) if len(told) else []
    if not len(varied):
        return float("nan")
    return float(np.mean([average_precision_score(told[:, w], logits[:, w]) for w in varied]))


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
