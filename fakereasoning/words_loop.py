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


class WordsLoop(VisionLoop):
    """One tower learning words."""

    names = ("words",)

    def __init__(
        self,
        model: FakeReasoning,
        images: TrainingImages,
        said: Said,
        learnt: Index,
        held: Index,
        *,
        recipe: WordsRecipe,
        seed: int,
        device: str = "cpu",
        seconds: float | None = None,
    ) -> None:
        """`learnt` and `held` are rows of `said` and `images`; `seconds` is the budget, counted in `elapsed`."""
        self.recipe, self.said, self.held = recipe, said, held
        super().__init__(
            model,
            images,
            learnt,
            lambda widths: WordsHead(widths[0], recipe.queries, len(said.words)),
            recipe=recipe,
            rates={recipe.tower: recipe.rate},
            seed=seed,
            device=device,
            seconds=seconds,
        )
        self.shares = said.told[learnt].mean(axis=0)
        cast(WordsHead, self.heads).begin_at(self.shares)

    def losses(self, index: Index, random: np.random.Generator) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the cross-entropy of an image, summed over the words, and of a word."""
        pixels = normalised(self.images.take(index)).to(self.device)
        with self.autocast():
            logits: Tensor = self.heads(list(self.tokens(self.towers, pixels).values()))
        target = torch.from_numpy(self.said.told[index]).to(self.device, torch.float32)
        loss = binary_cross_entropy_with_logits(logits.float(), target, reduction="sum") / len(target)
        return loss, (loss.detach() / target.shape[1],)

    def measures(self) -> Mapping[str, float]:
        """Return `WordsMeasures` of the held-out images, by name."""
        if not len(self.held):
            return WordsMeasures(*(float("nan"),) * 4)._asdict()
        _, logits = self.look(self.held, lambda tokens: self.heads(tokens))
        return measured(logits, self.said.told[self.held], self.shares)._asdict()


def measured(logits: Floats, told: NDArray[np.bool_], shares: Floats) -> WordsMeasures:
    """Compare logits (N, W) with the words that are said (N, W); `shares` (W,) are what is known without looking."""
    from sklearn.metrics import average_precision_score

    target = torch.from_numpy(told.astype(np.float32))
    blind = np.clip(shares, 1e-3, 1 - 1e-3).astype(np.float32)
    blind_logits = torch.from_numpy(np.broadcast_to(np.log(blind / (1 - blind)), told.shape).copy())
    varied = np.flatnonzero(told.any(axis=0) & ~told.all(axis=0))
    nothing = float("nan")
    return WordsMeasures(
        loss=float(binary_cross_entropy_with_logits(torch.from_numpy(logits).float(), target)),
        blind=float(binary_cross_entropy_with_logits(blind_logits, target)),
        precision=float(np.mean([average_precision_score(told[:, w], logits[:, w]) for w in varied]))
        if len(varied)
        else nothing,
        blind_precision=float(told[:, varied].mean()) if len(varied) else nothing,
    )
