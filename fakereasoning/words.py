"""Which words are said of an image, and of its places: what a tower without pretraining learns first.

Huang et al., "Classification Done Right for Vision-Language Pre-Training" (SuperClass), NeurIPS 2024: a tower that
tells which tokens stand in an image's text learns what a contrastive training or a captioner teaches it, without a
text model, and so sees several times as many images in a given time. Three things are other here. Every token is told
by itself (a sigmoid each, in place of their softmax), since a word of a small grammar is there or not. What tells them
is the projector behind the tower with the language model's own embeddings, place by place: an image token comes to say
"red" and "cone" where a red cone stands, in the vectors in which the language model reads and writes these words, so
that it only has to find and copy them. And where the data say what stands where, the places are told too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fakereasoning.facl_recipe import TOWERS, Precision, Tower
from fakereasoning.model import FakeReasoning
from fakereasoning.recipe_fields import checked_fields
from fakereasoning.records import Record
from fakereasoning.tokenizer import Codec
from fdr_bench.errors import DataError, UsageError, nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class WordsRecipe:
    """How a tower learns words: which words, optimisation. An image is never mirrored: its words say left and right."""

    tower: Tower = "clip"
    rate: float = 2e-3
    """Learning rate of the tower."""
    head_rate: float = 2e-3
    """Learning rate of the projector, of the embeddings, and of what is known without looking."""
    places_weight: float = 1.0
    """Weight of the places' words beside the images'; 0 leaves them out."""
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
    muon: float | None = None
    """The linear layers' matrices learn by Muon, at so many times their rates, in place of AdamW."""
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
        for name in ("rate", "head_rate", "epochs", "steps", "batch", "clip", "muon"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise UsageError(f"the recipe's {name} is {getattr(self, name)}; it must be above 0")
        if self.batch < 2:
            raise UsageError(f"the recipe's batch is {self.batch}; the stem's normalisation needs at least 2")
        if not 0 <= self.rarest < self.commonest <= 1:
            raise UsageError(
                f"the recipe's words are those in {self.rarest} to {self.commonest} of the images; expected shares, "
                "the first below the second"
            )
        for name in ("weight_decay", "places_weight"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"the recipe's {name} is {getattr(self, name)}; it must not be below 0")
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
    """Which tokens are said of each image."""

    ids: tuple[int, ...]
    """W of them, in order."""
    told: NDArray[np.bool_]
    """(N, W)"""


def words_said(records: Sequence[Record], locations: Sequence[str], codec: Codec, recipe: WordsRecipe) -> Said:
    """Return the tokens of the answers about each image, of the N at `locations`, that tell images apart.

    Raises `DataError` where no token is in a share of the images that the recipe admits.
    """
    by_image: dict[str, set[int]] = {location: set() for location in locations}
    for record in records:
        if (tokens := by_image.get(record.image.location)) is not None:
            tokens.update(codec.encode(record.answer))
    counts = Counter(token for location in locations for token in by_image[location])
    count = len(locations)
    kept = tuple(sorted(w for w, n in counts.items() if recipe.rarest * count < n < recipe.commonest * count))
    if not kept:
        raise DataError(
            f"no word is said of {recipe.rarest:.1%} to {recipe.commonest:.0%} of the {count} images, so there is "
            "nothing to tell them apart by. Give more images, or leave the stage 'words' out"
        )
    told = np.array([[token in by_image[location] for token in kept] for location in locations], dtype=np.bool_)
    return Said(kept, told)


class WordsHead(nn.Module):
    """From a tower's tokens to a logit a word, by parts of the model: they learn with the tower and stay.

        place = normalised(projector(tokens))                              (B, N, width)
        here  = known here + place · embeddings of the places' words       (B, N, V)
        image = known + log mean_N exp(place · embeddings of the words)    (B, W)

    The projected tokens of all images point about one way at first, so that no inner product would tell them apart:
    they are brought to mean 0 and deviation 1, and `fold` makes that a part of the projector.
    """

    def __init__(self, model: FakeReasoning, tower: Tower, words: Sequence[int], here: Sequence[int]) -> None:
        super().__init__()
        self.projector: nn.Sequential = getattr(model, f"{tower}_projector").float().requires_grad_()
        self.embeddings: nn.Module = model.language.get_input_embeddings().float().requires_grad_()
        self.spread = nn.BatchNorm1d(model.config.width, affine=False)
        self.known, self.known_here = nn.Parameter(torch.zeros(len(words))), nn.Parameter(torch.zeros(len(here)))
        self.register_buffer("words", torch.tensor(words, dtype=torch.long), persistent=False)
        self.register_buffer("here", torch.tensor(here, dtype=torch.long), persistent=False)

    def forward(self, tokens: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Map the tokens of the one tower, (B, N, width), to logits (B, words) and, place by place, (B, N, V)."""
        projected: Tensor = self.projector(tokens[0])
        place = self.spread(projected.flatten(0, 1)).unflatten(0, projected.shape[:2])
        said = (place @ self.embeddings(self.words).T).float()
        here = self.known_here + (place @ self.embeddings(self.here).T).float()
        return self.known + said.logsumexp(dim=1) - math.log(said.shape[1]), here

    def begin_at(self, shares: NDArray[np.floating], here: NDArray[np.floating]) -> None:
        """Begin with what is known without looking: each word's share (W,) of the images, (V,) of the things."""
        with torch.no_grad():
            for known, given in ((self.known, shares), (self.known_here, here)):
                known.copy_(torch.logit(torch.from_numpy(np.clip(given, 1e-3, 1 - 1e-3)).to(known)))

    def fold(self) -> None:
        """Make the normalisation a part of the projector's last layer: its tokens are then what the head has seen."""
        last = cast(nn.Linear, self.projector[-1])
        mean, variance = cast(Tensor, self.spread.running_mean), cast(Tensor, self.spread.running_var)
        scale = (variance + self.spread.eps).rsqrt()
        with torch.no_grad():
            last.weight.mul_(scale[:, None])
            last.bias.copy_((last.bias - mean) * scale)
        self.spread.reset_running_stats()
