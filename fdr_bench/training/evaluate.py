"""Accuracy and loss of a network on held-out images."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fdr_bench.training.pixels import ImageSet, Pixels
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


def evaluate(network: nn.Module, images: ImageSet, view: View, device: torch.device) -> Validation:
    """Return accuracy and loss of a network in evaluation mode; images of one shape are a batch.

    The images' geometry is the view's own. A logit of exactly 0 counts as real, as a score of 0.5 does on the board.
    """
    import torch

    network.eval()
    logits = np.empty(len(images.fake), dtype=np.float64)
    with torch.inference_mode():
        for start in range(0, len(logits), BATCH):
            index = np.arange(start, min(start + BATCH, len(logits)))
            pixels = images.take(index)
            shapes = [image.shape for image in pixels]
            for shape in dict.fromkeys(shapes):
                members = [n for n, other in enumerate(shapes) if other == shape]
                stack = np.stack([pixels[n] for n in members])
                logits[index[members]] = network(normalised(stack, view, device)).double().cpu().numpy()
    target = images.fake.astype(np.float64)
    loss = np.logaddexp(0, logits) - logits * target
    return Validation(float(((logits > 0) == images.fake).mean()), float(loss.mean()), len(logits))


def normalised(pixels: Pixels, view: View, device: torch.device) -> torch.Tensor:
    """Return (x / 255 - mean) / std as float32 (B, 3, H, W) of uint8 RGB (B, H, W, 3), in channels-last memory.

    The order of the channels and the number in the place of 255 are the view's.
    """
    import torch

    mean = torch.tensor(view.mean, device=device)
    std = torch.tensor(view.std, device=device)
    values = torch.from_numpy(pixels).to(device).float() / view.divisor
    if view.order == "bgr":
        values = values.flip(-1)
    return ((values - mean) / std).permute(0, 3, 1, 2)
