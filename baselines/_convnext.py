"""ConvNeXt trunks at any width and depth, in timm's key names ("stem", "stages.0.blocks.0.conv_dw", …).

Liu, Mao, Wu, Feichtenhofer, Darrell, Xie, "A ConvNet for the 2020s", CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation of each pixel over its channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Perceptron(nn.Module):
    """Linear, exact GELU, linear."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, inputs) to (…, outputs)."""
        mapped: Tensor = self.fc2(self.act(self.fc1(x)))
        return mapped


class Block(nn.Module):
    """A 7×7 convolution within each channel, then a perceptron at each pixel, scaled by `gamma`, beside a shortcut."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 1e-6))
        self.conv_dw = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.mlp = Perceptron(width, 4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape."""
        inner = self.mlp(self.norm(self.conv_dw(x).permute(0, 2, 3, 1))) * self.gamma
        return x + inner.permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Blocks of one width, after a normalised 2×2 convolution of stride 2 in all stages but the first."""

    def __init__(self, inputs: int, width: int, depth: int, eps: float, *, halve: bool) -> None:
        super().__init__()
        self.downsample: nn.Module = nn.Identity()
        if halve:
            self.downsample = nn.Sequential(ChannelNorm(inputs, eps=eps), nn.Conv2d(inputs, width, 2, 2))
        self.blocks = nn.Sequential(*(Block(width, eps) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, width, H, W), or half of the sides."""
        mapped: Tensor = self.blocks(self.downsample(x))
        return mapped


class ConvNeXt(nn.Module):
    """4×4 patches to the map of the last stage; what comes after it is under `head` in who derives from this.

    The default size is ConvNeXt-B's. A side of 32 px becomes one.
    """

    def __init__(
        self, *, depths: Sequence[int] = (3, 3, 27, 3), widths: Sequence[int] = (128, 256, 512, 1024), eps: float = 1e-6
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 4, 4), ChannelNorm(widths[0], eps=eps))
        before = [widths[0], *widths]
        self.stages = nn.Sequential(
            *(
                Stage(inputs, width, depth, eps, halve=number > 0)
                for number, (inputs, width, depth) in enumerate(zip(before[:-1], widths, depths, strict=True))
            )
        )
        self.features_out = widths[-1]

    def features(self, x: Tensor) -> Tensor:
        """Map normalised images (B, 3, H, W) to (B, features_out, H // 32, W // 32) with four stages."""
        mapped: Tensor = self.stages(self.stem(x))
        return mapped


def initialise(network: nn.Module) -> None:
    """Start a ConvNeXt for training: weights from N(0, 0.02), biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and not module.weight.is_meta:
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
