"""How a tower of a small model turns pixels into patches: convolutions in place of one large linear layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fakereasoning.config import Stem

FAINT = 0.05
"""Added to the deviation of an image that is brought to 1, in deviations of CLIP's pixels: noise stays noise."""
COLOUR = 4
"""One channel in so many of a split stem sees colour."""


class ConvolutionStem(nn.Sequential):
    """Pixels to patch embeddings by 3×3 convolutions of stride 2 in place of one large linear patch.

    Xiao et al., "Early Convolutions Help Transformers See Better", NeurIPS 2021: widths double up to the tower's, with
    batch normalisation and ReLU, then a 1×1 convolution. The patch size has to be a power of two.
    """

    def __init__(self, width: int, patch: int) -> None:
        depth = _halvings(patch)
        widths = [3, *(max(8, width >> (depth - 1 - level)) for level in range(depth))]
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            layers += [*_normalised(narrow, wide, 3, stride=2), nn.ReLU(inplace=True)]
        super().__init__(*layers, nn.Conv2d(widths[-1], width, 1))

    @property
    def weight(self) -> Tensor:
        """The last convolution's weight: where transformers looks up a patch embedding's type."""
        return cast(Tensor, self[-1].weight)


class ResidualStem(nn.Sequential):
    """Pixels to patch embeddings by a small residual network whose first layer looks at every pixel.

    A 3×3 convolution at full resolution, residual blocks (He et al., CVPR 2016) that halve it and double the width, and
    a last 3×3 convolution of stride 2 to the tower's width. The patch size has to be a power of two, and above 1. A
    trace shows wherever the grid of the patches lies; the first filters start with a mean of 0 and so answer to
    differences between pixels in place of colour: a camera's faint mosaic, and its absence, are learnt in hundreds of
    steps. It costs about twice what `ConvolutionStem` costs.
    """

    def __init__(self, width: int, patch: int) -> None:
        first = max(8, width // 12)
        widths = [first << level for level in range(_halvings(patch))]
        layers: list[nn.Module] = [*_normalised(3, first, 3), nn.ReLU(inplace=True)]
        layers += [Residual(narrow, wide) for narrow, wide in pairwise(widths)]
        super().__init__(*layers, nn.Conv2d(widths[-1], width, 3, stride=2, padding=1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        start = cast(nn.Conv2d, self[0]).weight
        with torch.no_grad():
            start -= start.mean(dim=(2, 3), keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, width, H / patch, W / patch)."""
        # With the channels last these few, wide planes are convolved a fifth faster on a processor.
        embedded: Tensor = super().forward(x.contiguous(memory_format=torch.channels_last))
        return embedded

    @property
    def weight(self) -> Tensor:
        """The last convolution's weight: where transformers looks up a patch embedding's type."""
        return cast(Tensor, self[-1].weight)


class Residual(nn.Module):
    """Two 3×3 convolutions, the first of stride 2, beside a 1×1 shortcut, each with batch normalisation."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.first = nn.Sequential(*_normalised(narrow, wide, 3, stride=2), nn.ReLU(inplace=True))
        self.second = nn.Sequential(*_normalised(wide, wide, 3))
        self.shortcut = nn.Sequential(*_normalised(narrow, wide, 1, stride=2))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, narrow, H, W) to (B, wide, H / 2, W / 2)."""
        return self.second(self.first(x)).add_(self.shortcut(x)).relu_()


class SplitStem(nn.Module):
    """Pixels to patch embeddings by two stacks of convolutions: one sees colour, the other only structure.

    Colours are told apart within a few steps, and a network that sees all at once then spends its channels on them:
    with fourteen words about ground and light to tell, a stack of convolutions had learnt the eight of colour after 300
    steps and was at chance for the pattern of the ground and the side of the light, which it learnt in 150 steps
    where no colours were asked for. So the larger stack gets brightness alone, of which the mean around each pixel is
    taken away and the deviation over the image is made 1. A part of the width is the other's, which sees the pixels
    as they are; a 1×1 convolution joins both. The patch size has to be a power of two.
    """

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.reach = patch // 2
        self.colour = _stack(3, width // COLOUR, patch)
        self.structure = _stack(1, width - width // COLOUR, patch)
        self.join = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, width, H / patch, W / patch)."""
        joined = torch.cat((self.colour(_last(x)), self.structure(_last(contrast(x, self.reach)))), dim=1)
        embedded: Tensor = self.join(joined)
        return embedded

    @property
    def weight(self) -> Tensor:
        """The last convolution's weight: where transformers looks up a patch embedding's type."""
        return self.join.weight


def contrast(x: Tensor, reach: int) -> Tensor:
    """Map pixels (B, 3, H, W) to brightness (B, 1, H, W) against its mean within `reach` px, at a deviation of 1.

    What lies beyond the edge is reflected. An image of one colour gives zeros. Computed in float32.
    """
    grey = x.float().mean(dim=1, keepdim=True)
    around = nn.functional.pad(grey, (reach,) * 4, mode="reflect")
    # Down, then across: the same mean for a tenth of the work.
    for kernel in ((2 * reach + 1, 1), (1, 2 * reach + 1)):
        around = nn.functional.avg_pool2d(around, kernel, stride=1)
    against = grey - around
    scaled: Tensor = against / (against.std(dim=(2, 3), keepdim=True) + FAINT)
    return scaled.to(x.dtype)


def fold(module: nn.Module) -> None:
    """Put each batch normalisation of a tower into the convolution before it, which then does both.

    For evaluation alone, and for good: the weights' names are no longer those of a checkpoint. Last bits change.
    """
    for part in module.modules():
        if isinstance(part, nn.Sequential):
            for at, (layer, behind) in enumerate(pairwise(list(part))):
                if isinstance(layer, nn.Conv2d) and isinstance(behind, nn.BatchNorm2d):
                    part[at], part[at + 1] = fuse_conv_bn_eval(layer.eval(), behind.eval()), nn.Identity()


def _stack(channels: int, width: int, patch: int) -> nn.Sequential:
    """Return pairs of 3×3 convolutions, the first of each of stride 2, that double their channels up to the width."""
    depth = _halvings(patch)
    widths = [channels, *(max(8, width >> (depth - 1 - level)) for level in range(depth - 1)), width]
    layers: list[nn.Module] = []
    for narrow, wide in pairwise(widths):
        layers += [*_normalised(narrow, wide, 3, stride=2), nn.ReLU(inplace=True)]
        layers += [*_normalised(wide, wide, 3), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _last(x: Tensor) -> Tensor:
    """Return the same values with the channels last: so few, wide planes are convolved a fifth faster."""
    return x.contiguous(memory_format=torch.channels_last)


def _normalised(narrow: int, wide: int, kernel: int, *, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    """Return a convolution that keeps the side, but for its stride, and the normalisation of what it gives."""
    convolution = nn.Conv2d(narrow, wide, kernel, stride, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(wide)


def _halvings(patch: int) -> int:
    """Return how often a patch is halved. Raises `ValueError` where it is no power of two, or 1."""
    depth = patch.bit_length() - 1
    if 2**depth != patch or not depth:
        raise ValueError(f"a stack of convolutions halves the image {depth} times, which gives no patch of {patch}")
    return depth


STEMS: Mapping[Stem, Callable[[int, int], nn.Module]] = {
    "convolutions": ConvolutionStem,
    "residual": ResidualStem,
    "split": SplitStem,
}


def stem_of(stem: Stem, tower: Mapping[str, Any]) -> nn.Module | None:
    """Return the stem of a tower of these keywords; None for "patch", its own linear patches."""
    return STEMS[stem](tower["hidden_size"], tower["patch_size"]) if stem in STEMS else None
