"""How FACL is trained, as data: read from and written to JSON, checked when made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from fakereasoning.config import CLIP_MEAN, CLIP_STD, FakeReasoningConfig
from fakereasoning.recipe_fields import checked_fields
from fdr_bench.errors import UsageError, nearest
from fdr_bench.training.recipe import Recipe
from fdr_bench.types import View

Tower = Literal["clip", "dino"]
Precision = Literal["fp32", "bf16"]
TOWERS: tuple[Tower, ...] = get_args(Tower)
DUAL_RATES: Mapping[Tower, float] = {"dino": 1e-3}
SINGLE_RATES: Mapping[Tower, float] = {"clip": 3e-4}


@dataclass(frozen=True, slots=True, kw_only=True)
class FaclRecipe:
    """The stage that makes the vision side sensitive to forgery: towers, losses, augmentations, optimisation.

    An image is never mirrored: its sentences say left and right.
    """

    rates: Mapping[Tower, float] | None = None
    """Learning rates of the towers that learn. A tower that is not named, or has 0, is frozen and not read.

    None leaves CLIP as the base model knows it, and trains DINO: one sees what is in the picture, the other what is
    wrong with it. A model without DINO has its CLIP trained, more gently.
    """
    aligned: tuple[Tower, ...] | None = None
    """Towers whose tokens the contrastive losses read; None: all that learn.

    The others learn by evidence alone: a tower that is asked whether an image is a fake spends itself on the traces of
    the training generator, and what is wrong with the picture it does not learn.
    """
    head_rate: float = 1e-3
    """Learning rate of the heads and of the losses' scales."""
    cross_weight: float = 1.0
    """Weight of the loss of images against sentences."""
    intra_weight: float = 1.0
    """Weight of the loss of images against images."""
    evidence_weight: float = 0.0
    """Weight of what is wrong, at the places that show it, by the samples' regions (`fakereasoning.evidence`), a sum
    over its terms.

    With it the projectors of the towers that learn, and the fusion, learn too. Where `cross_weight` and `intra_weight`
    are 0 it is all that is learnt, of the fakes alone.
    """
    keep: Mapping[Tower, float] = field(default_factory=lambda: {"clip": 1.0})
    """Weight, for a tower that learns, of how far its tokens turn from what they were: it keeps what it knew."""
    queries: int = 4
    """Learned weightings of places by which a tower's tokens are pooled."""
    space: int = 128
    """Width of the space in which images are compared with each other."""
    temperature: float = 0.3
    """Of both losses at the start; then learned, and never below 0.01.

    At CLIP's 0.07, towers without pretraining fit the noise of single batches for long.
    """

    shift: int = 8
    """Images are moved by up to so many px, what comes in being reflected.

    With 0 a tower learns where its training generator's grid lies, and is at chance for others.
    """
    blur_probability: float = 0.1
    """Share of images that get a Gaussian blur of a uniform sigma out of `blur_sigma` (px); then JPEG likewise."""
    blur_sigma: tuple[float, float] = (0.0, 1.0)
    jpeg_probability: float = 0.1
    jpeg_quality: tuple[int, int] = (60, 100)

    epochs: float = 6.0
    steps: int | None = None
    """Steps in all, in place of `epochs`."""
    batch: int = 128
    """Images in a step; each is compared with all others of it."""
    weight_decay: float = 0.05
    """Decoupled; not applied to biases, norms and other vectors."""
    betas: tuple[float, float] = (0.9, 0.98)
    warmup: float = 0.05
    """Share of the training in which the learning rates rise from 0; from there they fall along half a cosine to 0."""
    clip: float | None = 1.0
    """Largest L2 norm of the gradient."""
    muon: float | None = None
    """The linear layers' matrices learn by Muon, at so many times their rates, in place of AdamW."""
    precision: Precision = "fp32"
    """Type of the matrix products (autocast); weights, losses and optimizer stay in float32."""
    held_out: float = 0.05
    """Share of the images, of each class and generator, kept from training for the measures."""

    def __post_init__(self) -> None:
        """Raise `UsageError` naming the first field that cannot be."""
        for name in ("rates", "keep"):
            for tower, value in (getattr(self, name) or {}).items():
                if tower not in TOWERS:
                    raise UsageError(
                        f"the recipe's {name} has '{tower}'; expected {', '.join(TOWERS)}.{nearest(str(tower), TOWERS)}"
                    )
                if not value >= 0:
                    raise UsageError(f"the recipe's {name} of {tower} is {value}; it must not be below 0")
        if self.precision not in get_args(Precision):
            raise UsageError(f"the recipe's precision is '{self.precision}'; expected fp32 or bf16")
        for name in ("queries", "space", "temperature", "epochs", "steps", "batch", "clip", "muon"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise UsageError(f"the recipe's {name} is {getattr(self, name)}; it must be above 0")
        weights = ("cross_weight", "intra_weight", "evidence_weight", "weight_decay")
        for name in ("head_rate", "shift", *weights):
            if not getattr(self, name) >= 0:
                raise UsageError(f"the recipe's {name} is {getattr(self, name)}; it must not be below 0")
        if self.batch < 2:
            raise UsageError(f"the recipe's batch is {self.batch}; FACL compares images and needs at least 2")
        for tower in self.aligned or ():
            if tower not in TOWERS:
                raise UsageError(
                    f"the recipe's aligned has '{tower}'; expected {', '.join(TOWERS)}.{nearest(str(tower), TOWERS)}"
                )
        if not (self.cross_weight or self.intra_weight or self.evidence_weight):
            raise UsageError(
                "a recipe with cross_weight, intra_weight and evidence_weight 0 has no loss; set one above 0"
            )
        for name, highest in (("blur_probability", 1), ("jpeg_probability", 1), ("warmup", 1), ("held_out", 0.9)):
            if not 0 <= getattr(self, name) <= highest:
                raise UsageError(f"the recipe's {name} is {getattr(self, name)}; expected a share from 0 to {highest}")

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as JSON data that `from_json` reads."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> FaclRecipe:
        """Return the recipe that a JSON object states; fields left out have their defaults. Raises `UsageError`."""
        return cls(**checked_fields(cls, content))

    def towers(self, config: FakeReasoningConfig) -> dict[Tower, float]:
        """Return the towers of a model that learn, with their rates. Raises `UsageError` where there is none."""
        there = TOWERS if config.dino is not None else TOWERS[:1]
        rates = self.rates
        if rates is None:
            rates = DUAL_RATES if config.dino is not None else SINGLE_RATES
        learning = {tower: rates[tower] for tower in there if rates.get(tower, 0) > 0}
        if not learning:
            raise UsageError(
                f"nothing to train: the model has the towers {', '.join(there)}, and the recipe gives none of them a "
                "rate above 0. Name one in 'rates'"
            )
        return learning

    def compared(self, config: FakeReasoningConfig) -> tuple[Tower, ...]:
        """Return the towers of a model whose tokens are compared: none where evidence alone is learnt.

        Raises `UsageError` where none of them learns.
        """
        if not (self.cross_weight or self.intra_weight):
            return ()
        learning = self.towers(config)
        found = tuple(tower for tower in learning if self.aligned is None or tower in self.aligned)
        if not found:
            raise UsageError(
                f"nothing to compare: the recipe's 'aligned' names none of the towers that learn, {', '.join(learning)}"
            )
        return found

    def views(self, side: int) -> Recipe:
        """Return the augmentations of images (side, side) as `fdr_bench.training.augment` takes them."""
        return Recipe(
            view=View(mean=CLIP_MEAN, std=CLIP_STD),
            blur_probability=self.blur_probability,
            blur_sigma=self.blur_sigma,
            jpeg_probability=self.jpeg_probability,
            jpeg_quality=self.jpeg_quality,
            pad=self.shift,
            crop=side,
            flip=0.0,
        )
