"""The network of AIDE: residuals of four windows through two ResNets, and the whole image through a ConvNeXt."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines._checkpoints import build_from, find_state, read_checkpoint
from baselines._clip import ImageTower, small_tower
from baselines._convnext import ChannelNorm, ConvNeXt, Perceptron, initialise
from baselines._resnet import Block, ResNet, Stem
from baselines._torch import CLIP, IMAGENET
from baselines._windows import SIDE, choose_windows
from fdr_bench.weights import packaged_path

ROUND = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
"""Steps (down, right) to the eight neighbours of a pixel, clockwise from the top left."""

BY_ROWS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""The same, row after row."""

AXES = ((1, 1), (-1, 0), (-1, 1), (0, 1))


class NormalisedMap(ConvNeXt):
    """A ConvNeXt whose last map is normalised pixel by pixel before its mean is taken."""

    def __init__(self, *, depths: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__(depths=depths, widths=widths, eps=1e-5)
        self.head = nn.ModuleDict({"norm": ChannelNorm(self.features_out, eps=1e-5)})

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (B, 3, H, W) to (B, features_out)."""
        pooled: Tensor = self.head["norm"](self.features(x)).mean(dim=(2, 3))
        return pooled


class AIDENet(nn.Module):
    """Two logits of [semantic embedding, mean of the windows' features]; the default size is the paper's.

    `depths` and `widths` are the ConvNeXt's, in whose place `trunk` may stand; what begins with `residual_` is of the
    two ResNets, whose last layer of `unused` outputs is in the checkpoint though nothing reads it.
    """

    def __init__(
        self,
        *,
        depths: Sequence[int] = (3, 4, 30, 3),
        widths: Sequence[int] = (384, 768, 1536, 3072),
        semantic: int = 256,
        residual_depths: Sequence[int] = (3, 4, 6, 3),
        residual_widths: Sequence[int] = (64, 128, 256, 512),
        residual_block: Block = "bottleneck",
        residual_stem: Stem = "7x7/2+pool",
        unused: int = 1000,
        hidden: int = 1024,
        trunk: NormalisedMap | ImageTower | None = None,
    ) -> None:
        super().__init__()
        filters = srm_filters()
        self.hpf = nn.ModuleDict({"hpf": nn.Conv2d(3, len(filters), 5, padding=2, bias=False).requires_grad_(False)})
        shape = {"depths": residual_depths, "widths": residual_widths, "block": residual_block, "stem": residual_stem}
        residual = partial(ResNet, inputs=len(filters), outputs=unused, **shape)  # type: ignore[arg-type]
        self.model_min = residual()
        self.model_max = residual()
        self.openclip_convnext_xxl = NormalisedMap(depths=depths, widths=widths) if trunk is None else trunk
        self.convnext_proj = nn.Sequential(nn.Linear(self.openclip_convnext_xxl.features_out, semantic))
        self.fc = Perceptron(semantic + self.model_min.features_out, hidden, 2)
        if trunk is None:
            initialise(self.openclip_convnext_xxl)
        with torch.no_grad():
            self.hpf["hpf"].weight.copy_(filters)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 5, 3, 256, 256) to logits (B, 2) of real and fake.

        The five are windows of the lowest, highest, second lowest and second highest grade, enlarged, and the whole
        image, all with ImageNet's statistics.
        """
        return self.judge(x[:, :4], x[:, 4])

    def judge(self, windows: Tensor, whole: Tensor) -> Tensor:
        """Map four windows (B, 4, 3, h, w), in the order of `forward`, and whole images (B, 3, H, W) to logits."""
        low = self.window_features(self.model_min, windows[:, (0, 2)])
        high = self.window_features(self.model_max, windows[:, (1, 3)])
        semantic = self.convnext_proj(self.openclip_convnext_xxl(to_clip_statistics(whole)))
        logits: Tensor = self.fc(torch.cat([semantic, (low + high) / 4], dim=1))
        return logits

    def residuals(self, windows: Tensor) -> Tensor:
        """Return what the 30 filters make of windows (N, 3, h, w), beyond whose edges is 0: (N, 30, h, w)."""
        filtered: Tensor = self.hpf["hpf"](windows)
        return filtered

    def window_features(self, network: nn.Module, windows: Tensor) -> Tensor:
        """Return the sum over an image's windows of the features of their residuals: (B, n, 3, H, W) to (B, C)."""
        assert isinstance(network, ResNet)
        features = network.features(self.residuals(windows.flatten(0, 1)))
        return features.unflatten(0, windows.shape[:2]).sum(dim=1)


class ChoosingAIDE(AIDENet):
    """The network on whole images alone, out of which it takes the four windows itself, at their own size."""

    def residuals(self, windows: Tensor) -> Tensor:
        """Return the residuals (N, 30, h - 4, w - 4) of windows, where no filter reaches over the edge.

        At the paper's size that edge is a fiftieth of a window, here a quarter, and far above all residuals.
        """
        return super().residuals(windows)[..., 2:-2, 2:-2]

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) of at least 32 px a side, with ImageNet's statistics, to logits (B, 2)."""
        return self.judge(chosen_windows(x), x)


def chosen_windows(x: Tensor) -> Tensor:
    """Return the windows (B, 4, 3, 32, 32) of images normalised by ImageNet's statistics, as `choose_windows` does."""
    mean, std = (x.new_tensor(IMAGENET[name])[:, None, None] for name in ("mean", "std"))
    pixels = ((x.detach() * std + mean) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return torch.stack(
        [
            torch.stack([image[:, top : top + SIDE, left : left + SIDE] for top, left in choose_windows(each)])
            for image, each in zip(x, pixels, strict=True)
        ]
    )


def build(clip: str | None = None, **architecture: Any) -> AIDENet:
    """Return the network of these keywords at its initialisation, or one on a trained CLIP inside a package.

    The latter's image tower, which stays as it is, has the ConvNeXt's place.
    """
    if clip is None:
        return AIDENet(**architecture)
    return ChoosingAIDE(trunk=small_tower(packaged_path(clip)).requires_grad_(False), **architecture)


def to_clip_statistics(x: Tensor) -> Tensor:
    """Turn images that were normalised by ImageNet's mean and deviation (B, 3, H, W) into ones normalised by CLIP's."""
    mean, std, clip_mean, clip_std = (
        torch.tensor(values, dtype=x.dtype, device=x.device)[:, None, None]
        for values in (IMAGENET["mean"], IMAGENET["std"], CLIP["mean"], CLIP["std"])
    )
    return (x * std + mean - clip_mean) / clip_std


def srm_filters() -> Tensor:
    """Return the 30 normalised filters of the Spatial Rich Model, the same in all channels: (30, 3, 5, 5).

    Fridrich and Kodovsky, "Rich Models for Steganalysis of Digital Images", IEEE TIFS 2012. Eight differences of first
    order, four of second and eight of third, four edges of 3×3 and of 5×5 each turned by quarters, and two squares.
    """
    along = torch.zeros(30, 5, 5, dtype=torch.float64)
    lines = [(step, {0: -1.0, 1: 1.0}, 1) for step in BY_ROWS]
    lines += [(step, {-1: 1.0, 0: -2.0, 1: 1.0}, 2) for step in AXES]
    lines += [(step, {-1: 1.0, 0: -3.0, 1: 3.0, 2: -1.0}, 3) for step in ROUND]
    for number, ((down, right), coefficients, divisor) in enumerate(lines):
        for far, coefficient in coefficients.items():
            along[number, 2 + far * down, 2 + far * right] = coefficient / divisor
    square3 = torch.tensor([[0, 0, 0, 0, 0], [0, -1, 2, -1, 0], [0, 2, -4, 2, 0], [0, -1, 2, -1, 0], [0, 0, 0, 0, 0]])
    square5 = torch.tensor(
        [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]
    )
    for first, last, square, divisor in ((20, 28, square3, 4), (24, 29, square5, 12)):
        edge = square.double() / divisor
        along[last] = edge
        edge = torch.cat([edge[:3], torch.zeros(2, 5, dtype=torch.float64)])  # the upper half and the middle
        for quarter in range(4):
            along[first + quarter] = edge.rot90(-quarter)
    return along.float()[:, None].repeat(1, 3, 1, 1)


def from_file(path: Path, architecture: Mapping[str, Any]) -> nn.Module:
    """Return the network of an official checkpoint, {"model": state dict, "args": Namespace, …}, or of a bare state.

    Raises `WeightsError` where a tensor is missing, unknown or of another shape.
    """
    state = find_state(read_checkpoint(path, inert={"argparse.Namespace": Namespace}), path)
    return build_from(partial(AIDENet, **architecture), state, str(path))
