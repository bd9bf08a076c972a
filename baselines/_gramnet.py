"""The network of Gram-Net: a ResNet-18 whose features at six depths are also described by their Gram matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from baselines._checkpoints import build_from, find_state, read_checkpoint
from baselines._resnet import Block, ResNet, Stem, initialise
from fdr_bench.errors import WeightsError

DESCRIBED = 32
"""Numbers that describe the texture at one depth."""


class Names(NamedTuple):
    """What the convolutions of one texture branch are called: on the features, and twice on their Gram matrix."""

    features: str
    first: str
    second: str


BRANCHES = (
    Names("conv_interi_0", "gi_fc1", "gi_fc2"),  # of the image
    Names("conv_inter0_0", "g0_fc1", "g0_fc2"),  # of the first convolution
    Names("conv_inter1_0", "g_fc1r", "g_fc2r"),  # after the max-pool
    Names("conv_inter2_0", "g2_fc1", "g2_fc2"),  # after stages 1 to 3
    Names("conv_inter3_0", "g3_fc1", "g3_fc2"),
    Names("conv_inter4_0", "g4_fc1", "g4_fc2"),
)


class Scale(nn.Module):
    """One learnt factor."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return x times the factor."""
        return x * self.scale


class GramNetwork(ResNet):
    """Pooled features of the trunk with 32 numbers of texture at each of six depths, and two linear layers on them.

    `texture` is the channels of which Gram matrices are made, `hidden` the width between the two linear layers. With
    two `classes` the first is fake and the second real, as in the authors' own version.
    """

    def __init__(
        self,
        *,
        block: Block = "basic",
        depths: Sequence[int] = (2, 2, 2, 2),
        widths: Sequence[int] = (64, 128, 256, 512),
        stem: Stem = "7x7/2+pool",
        zero_mean_stem: bool = False,
        texture: int = 32,
        hidden: int = 512,
        classes: int = 1,
    ) -> None:
        super().__init__(
            block=block, depths=depths, widths=widths, stem=stem, head="fcnewr", zero_mean_stem=zero_mean_stem
        )
        self.scale = Scale()
        added: list[nn.Module] = []
        for names, channels in zip(BRANCHES, [3, *self.channels()[:-1]], strict=True):
            branch = (convolution(channels, texture, 1), convolution(1, 16, 2), convolution(16, DESCRIBED, 2))
            for name, module in zip(names, branch, strict=True):
                self.add_module(name, module)
                added.append(module)
        inputs = self.features_out + len(BRANCHES) * DESCRIBED
        last = nn.Linear(hidden, classes)
        self.fcnewr = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Dropout(0.5), last)
        if not self.conv1.weight.is_meta:
            initialise(nn.ModuleList(added), last)

    def features(self, x: Tensor) -> Tensor:
        """Return the pooled features of (B, 3, H, W) followed by the six textures: (B, 704) in the paper's width."""
        textures = [self.texture(x, BRANCHES[0])]
        x = self.relu(self.bn1(self.conv1(x)))
        textures.append(self.texture(x, BRANCHES[1]))
        x = self.maxpool(x)
        textures.append(self.texture(x, BRANCHES[2]))
        for names, stage in zip((*BRANCHES[3:], None), self.stages, strict=True):
            x = self.get_submodule(stage)(x)
            if names is not None:
                textures.append(self.texture(x, names))
        return torch.cat([x.mean(dim=(2, 3)), *textures], dim=1)

    def texture(self, x: Tensor, names: Names) -> Tensor:
        """Return the 32 numbers that describe the texture of features (B, channels, H, W) of any size."""
        gram = gram_matrix(self.get_submodule(names.features)(x)).unsqueeze(1)
        described: Tensor = self.get_submodule(names.second)(self.get_submodule(names.first)(gram))
        scaled: Tensor = self.scale(described.mean(dim=(2, 3)))
        return scaled

    def channels(self) -> list[int]:
        """Return the channels after the first convolution, the max-pool and each stage."""
        found = [self.conv1.out_channels] * 2
        for stage in self.stages:
            norms = [module for module in self.get_submodule(stage).modules() if isinstance(module, nn.BatchNorm2d)]
            found.append(norms[-1].num_features if norms else found[-1])
        return found


def convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Return a 3×3 convolution with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def gram_matrix(x: Tensor) -> Tensor:
    """Return the inner products of the channels of (B, C, H, W), over C·H·W: (B, C, C)."""
    # Divided before and not after: in half precision the sum over all pixels would overflow.
    flat = x.flatten(2) / math.sqrt(x[0].numel())
    return flat @ flat.transpose(1, 2)


def from_file(path: Path, *, classes: int, conversion: str) -> nn.Module:
    """Return the paper's network with a checkpoint of the benchmark (one class) or of the authors (two).

    Raises `WeightsError` where a tensor is missing, unknown or of another shape, and for a pickled module, with the
    `conversion` that it needs.
    """
    state = find_state(read_checkpoint(path, conversion=conversion), path, under=("netC", "state_dict"))
    last = state.get("fcnewr.3.bias")
    if last is not None and last.shape in {(1,), (2,)} and len(last) != classes:
        other = "official" if classes == 2 else "official-original"
        raise WeightsError(
            f"{path} has {len(last)} outputs, and this preset's network {classes}; use it with --models gramnet@{other}"
        )
    return build_from(lambda: GramNetwork(classes=classes), state, str(path))
