"""Residual networks in torchvision's layout and key names, at any width and depth.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; the stride of a bottleneck is on its 3×3
convolution, as in torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Block = Literal["basic", "bottleneck"]
Stem = Literal["7x7/2+pool", "3x3/2+pool", "3x3/2", "3x3"]

EXPANSION: dict[Block, int] = {"basic": 1, "bottleneck": 4}


class Residual(nn.Module):
    """Two (basic: 3×3, 3×3) or three (bottleneck: 1×1, 3×3, 1×1) convolutions beside a shortcut."""

    def __init__(self, block: Block, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * EXPANSION[block]
        if block == "basic":
            plan = [(inputs, width, 3, stride), (width, width, 3, 1)]
        else:
            plan = [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)]
        self.depth = len(plan)
        for number, (before, after, kernel, step) in enumerate(plan, start=1):
            convolution = nn.Conv2d(before, after, kernel, step, padding=kernel // 2, bias=False)
            self.add_module(f"conv{number}", convolution)
            self.add_module(f"bn{number}", nn.BatchNorm2d(after))
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, ceil(H / stride), ceil(W / stride))."""
        shortcut = x if self.downsample is None else self.downsample(x)
        for number in range(1, self.depth + 1):
            x = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(x))
            if number < self.depth:
                x = self.relu(x)
        return self.relu(x + shortcut)


def stage(block: Block, inputs: int, width: int, depth: int, *, stride: int) -> nn.Sequential:
    """Return `depth` blocks in a row, the first of which has the stride."""
    outputs = width * EXPANSION[block]
    return nn.Sequential(
        *(
            Residual(block, outputs if position else inputs, width, 1 if position else stride)
            for position in range(depth)
        )
    )


class ResNet(nn.Module):
    """A residual network with one logit: stem, stages that halve the side (but the first), global mean, linear head.

    `stem` names its convolution's kernel and stride, and whether a 3×3 max-pool of stride 2 follows; `head` is the
    name of the linear layer in the state dict ("fc" in torchvision). With `zero_mean_stem` the first filters start with
    a mean of 0 over their window: they answer to differences between pixels instead of colour, and faint high-frequency
    traces are learnt in a few epochs from scratch.
    """

    def __init__(
        self,
        *,
        block: Block = "bottleneck",
        depths: Sequence[int] = (3, 4, 6, 3),
        widths: Sequence[int] = (64, 128, 256, 512),
        stem: Stem = "7x7/2+pool",
        head: str = "fc",
        dropout: float = 0.0,
        zero_mean_stem: bool = False,
        inputs: int = 3,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        kernel, stride = int(stem[0]), 2 if "/2" in stem else 1
        self.conv1 = nn.Conv2d(inputs, widths[0], kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1) if stem.endswith("+pool") else nn.Identity()
        channels = widths[0]
        self.stages = [f"layer{number}" for number in range(1, len(depths) + 1)]
        for name, depth, width in zip(self.stages, depths, widths, strict=True):
            self.add_module(name, stage(block, channels, width, depth, stride=1 if name == "layer1" else 2))
            channels = width * EXPANSION[block] if depth else channels
        self.dropout = nn.Dropout(dropout)
        self.head = head
        self.add_module(head, nn.Linear(channels, outputs))
        self.features_out = channels
        if not self.conv1.weight.is_meta:
            initialise(self, self.get_submodule(head))
            if zero_mean_stem:
                with torch.no_grad():
                    self.conv1.weight -= self.conv1.weight.mean(dim=(2, 3), keepdim=True)

    def features(self, x: Tensor) -> Tensor:
        """Return the globally pooled features of (B, inputs, H, W) as (B, channels of the last stage)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return x.mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (B, inputs, H, W) to logits (B,), high for fake; (B, outputs) where there are more."""
        logit: Tensor = self.get_submodule(self.head)(self.dropout(self.features(x)))
        return logit.squeeze(1)


def initialise(network: nn.Module, head: nn.Module) -> None:
    """Start a network for training: He-normal convolutions, and the head from N(0, 0.02) as CNNDetection's."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if isinstance(head, nn.Linear):
        nn.init.normal_(head.weight, 0.0, 0.02)
        nn.init.zeros_(head.bias)


def multiply_adds(network: nn.Module, side: int) -> int:
    """Return the multiply-adds of convolutions and linear layers for one image of `side` × `side` px."""
    total = 0

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, Tensor)
        positions = (
            output.numel() // output.shape[1] if isinstance(module, nn.Conv2d) else output.numel() // output.shape[-1]
        )
        total += weight.numel() * positions

    hooks = [
        module.register_forward_hook(count) for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    training = network.training
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, side, side))
    network.train(training)
    for hook in hooks:
        hook.remove()
    return total
