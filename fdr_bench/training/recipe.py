"""How a detector is trained, as data: the recipe, and what a detector offers to be trainable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from fdr_bench.types import DetectorCard, View

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Augmentations, optimisation and validation of one detector at one size.

    A training image passes, on 8-bit RGB and in this order, `resize`, blur, JPEG, `tile`, `pad`, random `crop`, flip;
    then /255 and the mean and std of `view`. Validation images pass `view`, which the weights' card keeps as well.
    """

    view: View
    """Preprocessing at evaluation."""

    resize: int | tuple[int, int] | None = None
    """Before all else, as `types.Resize` (bilinear): shorter side, or (height, width) exactly."""
    blur_probability: float = 0.0
    """Share of images that get a Gaussian blur, channel after channel, of a uniform sigma out of `blur_sigma` (px)."""
    blur_sigma: tuple[float, float] = (0.0, 3.0)
    jpeg_probability: float = 0.0
    """Share of images encoded and decoded as JPEG, after the blur, at a uniform integer quality of `jpeg_quality`."""
    jpeg_quality: tuple[int, int] = (30, 100)
    tile: int | None = None
    """Repeat images until both sides reach this many px."""
    pad: int = 0
    """Reflect this many px on every side before the crop."""
    crop: int | None = None
    """Side of a random square crop in px (smaller images are padded with black first); None keeps the whole image."""
    flip: float = 0.5
    """Probability of a horizontal flip."""

    epochs: int = 10
    batch: int = 64
    lr: float = 1e-3
    """Highest learning rate of AdamW."""
    weight_decay: float = 0.01
    """Decoupled; not applied to biases, normalisation and other vectors."""
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["cosine", "one-cycle"] = "cosine"
    """Decay after the warm-up: half a cosine, or the straight line of one-cycle, both down to 0."""
    warmup: float = 0.05
    """Share of the training in which the learning rate rises from 0 in a straight line."""
    label_smoothing: float = 0.0
    """A target t becomes t * (1 - label_smoothing) + label_smoothing / 2."""
    ema: float = 0.0
    """Decay per step of an averaged copy of the weights, which is then what is validated and saved; 0: none."""
    clip: float | None = None
    """Largest L2 norm of the gradient."""
    balance: bool = True
    """Weigh the classes so that each counts for half of the loss, whatever their numbers."""
    freeze: tuple[str, ...] = ()
    """Shell patterns of parameter names that are not trained, such as "visual.*"."""
    save: tuple[str, ...] = ("*",)
    """Shell patterns of the state's names that the weights file keeps; the rest comes with `network`."""
    storage: Literal["float32", "float16"] = "float32"
    """Type in which the weights file keeps floating-point tensors; the network computes in float32 all the same."""

    validation: float = 0.05
    """Share of the training data held out for early stopping, the same within each generator and class."""
    patience: int | None = None
    """Epochs without a better validation accuracy after which training ends; None: never before its time."""


class Trainable(Protocol):
    """A detector class that `fdr_bench.training.train` can train."""

    card: ClassVar[DetectorCard]

    @classmethod
    def sizes(cls) -> Mapping[str, Mapping[str, object]]:
        """Return the named sizes, such as "small" or "scenes", each with the keywords of `network`."""

    @classmethod
    def network(cls, **architecture: object) -> nn.Module:
        """Return the network at its initialisation: normalised float32 (B, 3, H, W) to logits (B,), fake positive.

        Or to logits (B, 2) of real and fake. `fdr_bench.training.network` has what else a network may offer.
        """

    @classmethod
    def recipe(cls, size: str) -> Recipe:
        """Return how a network of this size is trained."""
