"""What a network may offer the trainer beyond one logit an image: two logits, inputs beside the pixels, its own loss.

Each is a method that a network has or lacks. Without any of them a network maps pixels to logits, and the loss is the
recipe's cross-entropy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from fdr_bench.training.pixels import ImageSet, normalised
from fdr_bench.training.recipe import Recipe
from fdr_bench.types import Sample

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

FEATURES_AT_ONCE = 128
"""Images in one pass of a network's frozen part."""


@runtime_checkable
class ReadsSamples(Protocol):
    """A network whose `forward` takes more than pixels, such as an image's caption."""

    def read_samples(self, samples: Sequence[Sample]) -> Tensor:
        """Return what stands beside the pixels, a row a sample, (N, ...): the last argument of `forward`.

        It is asked once, before the training. What it makes of the label may only go into `training_loss`.
        """


@runtime_checkable
class OwnLoss(Protocol):
    """A network that is trained by more than the cross-entropy of its logits."""

    def training_loss(self, x: Tensor, *beside: Tensor, fake: Tensor, classify: Classify) -> Tensor:
        """Return the scalar to minimise for images x (B, 3, H, W) of classes `fake` (B,), bool.

        `classify` is the recipe's weighted and smoothed cross-entropy, a scalar, of logits (B,) or (B, 2).
        """


@runtime_checkable
class FrozenPart(Protocol):
    """A network that begins with a part that is not trained, whose `forward` takes what that part gives as well."""

    def frozen_features(self, x: Tensor) -> Tensor:
        """Return features (B, D) of images (B, 3, H, W): `forward` and `training_loss` make the same of both."""


Classify = Callable[["Tensor"], "Tensor"]


def read_samples(network: nn.Module, samples: Sequence[Sample]) -> tuple[Tensor, ...]:
    """Return a tuple of what `network` takes beside the pixels of these samples, (N, ...), or of nothing."""
    return (network.read_samples(samples),) if isinstance(network, ReadsSamples) and samples else ()


def frozen_features(
    network: nn.Module, recipe: Recipe, images: ImageSet, device: torch.device, *, mirrored: bool = True
) -> Tensor | None:
    """Return the features of all images, each as it is and mirrored, (N, 2, D): then they are computed once.

    Without `mirrored` each is taken as it is alone, (N, 1, D). None where the network has no frozen part, or where a
    training image is varied by more than a flip.
    """
    import torch

    varied = recipe.blur_probability or recipe.jpeg_probability or recipe.tile or recipe.pad
    pixels = images.pixels
    if not isinstance(network, FrozenPart) or varied or not isinstance(pixels, np.ndarray) or not len(pixels):
        return None
    if recipe.crop is not None and pixels.shape[1:3] != (recipe.crop, recipe.crop):
        return None
    network.eval()
    found = []
    with torch.no_grad():
        for start in range(0, len(pixels), FEATURES_AT_ONCE):
            some = pixels[start : start + FEATURES_AT_ONCE]
            turned = (some, some[:, :, ::-1]) if mirrored else (some,)
            both = (normalised(np.ascontiguousarray(each), recipe.view, device) for each in turned)
            found.append(torch.stack([network.frozen_features(x) for x in both], dim=1).cpu())
    return torch.cat(found)


def features_ahead(
    network: nn.Module, recipe: Recipe, training: ImageSet, held: ImageSet, device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    """Return `frozen_features` of the training images, (N, 2, D), and of the held-out ones, (M, D); None as there."""
    found = frozen_features(network, recipe, training, device)
    known = None if found is None else frozen_features(network, recipe, held, device, mirrored=False)
    return found, None if known is None else known[:, 0]


def fake_logit(output: Tensor) -> Tensor:
    """Return logits (B,), high for fake, of an output (B,), or (B, 2) of the classes real and fake.

    Of two logits it is their difference: its sigmoid is their softmax, and its binary cross-entropy theirs, label
    smoothing included.
    """
    return output if output.ndim == 1 else output[:, 1] - output[:, 0]
