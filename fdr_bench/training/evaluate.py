"""Accuracy and loss of a network on held-out images."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fdr_bench.training.network import fake_logit
from fdr_bench.training.pixels import ImageSet, normalised
from fdr_bench.types import View

if TYPE_CHECKING:
    import torch
    from torch import nn

BATCH = 256


class Validation(NamedTuple):
    """Share of correct answers at a score of 0.5, and mean binary cross-entropy in nats, over n images."""

    accuracy: float
    loss: float
    n: int

    def better_than(self, other: Validation) -> bool:
        """True where the accuracy is higher, or the same at a lower loss."""
        return (self.accuracy, -self.loss) > (other.accuracy, -other.loss)


def evaluate(
    network: nn.Module,
    images: ImageSet,
    view: View,
    device: torch.device,
    beside: tuple[torch.Tensor, ...] = (),
    features: torch.Tensor | None = None,
) -> Validation:
    """Return accuracy and loss of a network in evaluation mode; images of one shape are a batch.

    `beside` has what the network takes beside the pixels, `features` (N, D) what its frozen part makes of them, a row
    an image. The images' geometry is the view's own. A
    logit of exactly 0 counts as real, as a score of 0.5 does on the board.
    """
    import torch

    network.eval()
    logits = np.empty(len(images.fake), dtype=np.float64)
    with torch.inference_mode():
        for start in range(0, len(logits), BATCH):
            index = np.arange(start, min(start + BATCH, len(logits)))
            if features is not None:
                rows = [each[index].to(device) for each in (features, *beside)]
                logits[index] = fake_logit(network(*rows)).double().cpu().numpy()
                continue
            pixels = images.take(index)
            shapes = [image.shape for image in pixels]
            for shape in dict.fromkeys(shapes):
                members = [n for n, other in enumerate(shapes) if other == shape]
                stack = np.stack([pixels[n] for n in members])
                rows = [each[index[members]].to(device) for each in beside]
                output = fake_logit(network(normalised(stack, view, device), *rows))
                logits[index[members]] = output.double().cpu().numpy()
    target = images.fake.astype(np.float64)
    loss = np.logaddexp(0, logits) - logits * target
    return Validation(float(((logits > 0) == images.fake).mean()), float(loss.mean()), len(logits))
