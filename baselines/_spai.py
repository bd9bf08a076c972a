"""The network of SPAI: a ViT sees each patch, its low and its high frequencies; how they agree is judged over patches.

Karageorgiou, Papadopoulos, Kompatsiaris, Gavves, "Any-Resolution AI-Generated Image Detection by Spectral Learning",
CVPR 2025. Modules bear the names of the authors' checkpoint.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines._beit import ViT
from baselines._checkpoints import build_from, find_state, load_strictly, read_checkpoint
from baselines._torch import IMAGENET
from fdr_bench.errors import WeightsError
from fdr_bench.weights import packaged_path
from fdr_bench.weights_card import read_card

PATCHES_AT_ONCE = 16
"""Patches in one pass of the ViT, each three times; it bounds memory whatever the image's size."""


class SPAINet(nn.Module):
    """Images of any size in [0, 1] to one logit, by patches of `side` px without overlap.

    `patch`, `width`, `depth` and `heads` are the ViT's; `cutoff` is the radius of the low frequencies; `projected` the
    width that its blocks are compared in. An image of fewer patches than `fewest` is seen in its corners and centre.
    `queries` heads of `query_width` weigh the patches. `leftovers` are tensors that no feature passes through.
    """

    def __init__(
        self,
        *,
        side: int = 224,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        cutoff: int = 16,
        projected: int = 1024,
        fewest: int = 4,
        queries: int = 12,
        query_width: int = 128,
        dropout: float = 0.5,
        leftovers: bool = True,
    ) -> None:
        super().__init__()
        self.side, self.fewest = side, fewest
        features = 6 * depth + projected
        vit = ViT(side=side, patch=patch, width=width, depth=depth, heads=heads, leftovers=leftovers)
        self.mfvit = SpectralViT(vit, frequency_mask(side, cutoff), FeaturesProcessor(width, depth, projected, dropout))
        self.to_kv = nn.Linear(features, 2 * queries * query_width, bias=False)
        self.patch_aggregator = nn.Parameter(torch.empty(queries, 1, query_width))
        self.to_out = nn.Sequential(nn.Linear(queries * query_width, features, bias=False), nn.Dropout(dropout))
        self.norm = nn.LayerNorm(features)
        self.cls_head = Head(features, dropout)
        nn.init.normal_(self.patch_aggregator, 0.0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to logits (B,), high for fake. Raises `ValueError` where a side is shorter than a patch."""
        patches = cut(x, self.side, self.fewest)
        each = patches.flatten(0, 1).split(PATCHES_AT_ONCE)
        features = torch.cat([self.mfvit(some) for some in each]).unflatten(0, patches.shape[:2])
        logit: Tensor = self.cls_head(self.norm(self.attend(features)))
        return logit.squeeze(1)

    def attend(self, features: Tensor) -> Tensor:
        """Return the learned queries' summary (B, F) of the features of all patches (B, P, F)."""
        queries, _, query_width = self.patch_aggregator.shape
        # (B, P, 2 * queries * query_width) -> (2, B, queries, P, query_width)
        keys, values = self.to_kv(features).unflatten(2, (2, queries, query_width)).permute(2, 0, 3, 1, 4)
        query = self.patch_aggregator.expand(len(features), -1, -1, -1).to(keys.dtype)
        summary: Tensor = self.to_out(functional.scaled_dot_product_attention(query, keys, values).flatten(1))
        return summary


class SpectralViT(nn.Module):
    """Patches, their low-pass and their high-pass versions through one ViT, to features of how these differ."""

    frequencies_mask: Tensor

    def __init__(self, vit: ViT, mask: Tensor, processor: FeaturesProcessor) -> None:
        super().__init__()
        self.vit = vit
        self.features_processor = processor
        # Part of the state, as in the authors' file: a checkpoint brings its own.
        self.register_buffer("frequencies_mask", mask)

    def forward(self, patches: Tensor) -> Tensor:
        """Map patches (N, 3, side, side) in [0, 1] to features (N, 6 * depth + projected)."""
        versions = torch.cat([patches, *divide(patches, self.frequencies_mask)])
        features: Tensor = self.features_processor(self.vit.layers(normalise(versions)))
        return features


class FeaturesProcessor(nn.Module):
    """What the ViT's blocks tell of a patch: how its three versions agree, and a summary of the patch itself."""

    def __init__(self, width: int, depth: int, projected: int, dropout: float) -> None:
        super().__init__()
        self.patch_projector = nn.Module()
        self.patch_projector.projectors = nn.ModuleList(
            Projector(width, projected, dropout, normed=True) for _ in range(depth)
        )
        self.original_features_processor = Summary(depth, projected, dropout)

    def forward(self, layers: Iterable[Tensor]) -> Tensor:
        """Map the tokens after each block, (3 N, T, width) in the order patch, low, high, to features (N, F)."""
        projectors = self.get_submodule("patch_projector.projectors").children()
        agreements, summaries = [], []
        for tokens, projector in zip(layers, projectors, strict=True):
            patch, low, high = projector(tokens).chunk(3)  # (N, T, projected)
            pairs = ((patch, low), (patch, high), (low, high))
            cosines = [functional.cosine_similarity(one, other, dim=-1) for one, other in pairs]
            agreements.append(torch.stack([moment for cosine in cosines for moment in moments(cosine)], dim=1))
            summaries.append(torch.cat(moments(patch), dim=1))
        agreement = torch.stack(agreements, dim=2).flatten(1)  # (N, 6, depth): means and deviations by pair, then block
        return torch.cat([agreement, self.original_features_processor(torch.stack(summaries, dim=1))], dim=1)


class Summary(nn.Module):
    """The patch's own features: those of every block projected, summed with learned weights, projected again."""

    def __init__(self, depth: int, projected: int, dropout: float) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(1, depth, projected))
        self.proj1 = Projector(2 * projected, projected, dropout, activated=True)
        self.proj2 = Projector(projected, projected, dropout, activated=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map means and deviations over tokens (N, depth, 2 * projected) to (N, projected)."""
        summary: Tensor = self.proj2((self.alpha.softmax(dim=1) * self.proj1(x)).sum(dim=1))
        return summary


class Projector(nn.Module):
    """Two linear layers with a GELU between them, perhaps one after them, and layer norm behind (and before)."""

    def __init__(
        self, inputs: int, outputs: int, dropout: float, *, normed: bool = False, activated: bool = False
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(inputs) if normed else nn.Identity()
        self.projector = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(inputs, outputs),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(outputs, outputs),
            nn.GELU() if activated else nn.Identity(),
        )
        self.norm2 = nn.LayerNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        projected: Tensor = self.norm2(self.projector(self.norm1(x)))
        return projected


class Head(nn.Module):
    """Three linear layers to one logit."""

    def __init__(self, features: int, dropout: float) -> None:
        super().__init__()
        hidden = 3 * features
        first, second, third = nn.Linear(features, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 1)
        drops = nn.Dropout(dropout), nn.Dropout(dropout)
        self.head = nn.Sequential(first, nn.ReLU(), drops[0], second, nn.ReLU(), drops[1], third)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, features) to (B, 1)."""
        logit: Tensor = self.head(x)
        return logit


def cut(x: Tensor, side: int, fewest: int) -> Tensor:
    """Return the patches (B, P, 3, side, side) of images (B, 3, H, W).

    They lie edge to edge from the top left, and what is left over at the right and below is not seen. Where there are
    fewer than `fewest` of them they are the four corners and the centre instead, which may overlap or coincide.
    """
    height, width = x.shape[-2:]
    rows, columns = height // side, width // side
    if not rows or not columns:
        raise ValueError(f"SPAI needs at least {side}x{side} px; the image is {width}x{height}")
    if rows * columns >= fewest:
        grid = x[..., : rows * side, : columns * side].unflatten(-1, (columns, side)).unflatten(-3, (rows, side))
        return grid.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # (B, 3, rows, side, columns, side) before
    down, right = height - side, width - side
    # Python's round goes to the even integer at a half, as the crop of the authors' library does.
    corners = [(0, 0), (0, right), (down, 0), (down, right), (round(down / 2), round(right / 2))]
    return torch.stack([x[..., top : top + side, left : left + side] for top, left in corners], dim=1)


def divide(patches: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the low-pass and high-pass versions of patches (N, 3, side, side), both cut to [0, 1].

    `mask` (side, side) is 1 at the frequencies that are low, with frequency 0 at index side // 2.
    """
    # No half-precision transform takes every side, and its rounding would pass for high frequencies.
    exact = patches if patches.dtype in (torch.float32, torch.float64) else patches.float()
    spectrum = torch.fft.fft2(exact)
    mask = torch.fft.ifftshift(mask).to(exact.dtype)
    versions = (torch.fft.ifft2(spectrum * part).real.clamp(0, 1) for part in (mask, 1 - mask))
    low, high = (version.to(patches.dtype) for version in versions)
    return low, high


def normalise(x: Tensor) -> Tensor:
    """Return pictures in [0, 1], (N, 3, side, side), minus ImageNet's mean, over its deviation."""
    mean, std = (x.new_tensor(IMAGENET[name])[:, None, None] for name in ("mean", "std"))
    return (x - mean) / std


def frequency_mask(side: int, cutoff: int) -> Tensor:
    """Return int64 (side, side): 1 nearer than `cutoff` to the middle, else 0.

    On an even side both middle rows (and columns) are at distance 0, while frequency 0 is at the second: the circle
    lies half a pixel off, as in the official code.
    """
    position = torch.arange(side)
    distance = torch.maximum((side - 1) // 2 - position, position - side // 2)
    return (distance[:, None] ** 2 + distance**2 < cutoff**2).long()


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the unbiased standard deviation over dimension 1."""
    return x.mean(dim=1), x.std(dim=1)


def build(vit: str | None = None, **architecture: Any) -> SPAINet:
    """Return the network of these keywords at its initialisation.

    `vit` is the folder, inside a package, that `python -m baselines.train_mfm` wrote: its ViT, which stays as it is,
    and the frequencies that it knows as low.
    """
    if vit is None:
        return SPAINet(**architecture)
    folder = packaged_path(vit)
    network = SPAINet(**read_card(folder).architecture, **architecture, leftovers=False)
    path = folder / "model.safetensors"
    state = {name.removeprefix("vit."): tensor for name, tensor in find_state(read_checkpoint(path), path).items()}
    load_strictly(network.mfvit.vit.requires_grad_(False), state, str(path))
    return network


def from_file(path: Path, architecture: dict[str, Any]) -> nn.Module:
    """Return the network of a trained checkpoint.

    Raises `WeightsError` where a tensor is missing, unknown or of another shape, or where the file is the backbone's
    pre-training alone. The official loader drops every name without "encoder." from a file that has one with it; here
    nothing is dropped.
    """
    # The authors' file keeps its configuration beside the state: a dict with attributes, of a library not needed here.
    state = find_state(read_checkpoint(path, inert={"yacs.config.CfgNode": OrderedDict}), path)
    if any(name.startswith("encoder.") for name in state) and not any(name.startswith("mfvit.") for name in state):
        raise WeightsError(
            f"{path} holds the masked-frequency pre-training of the backbone (names with 'encoder.'), not a trained "
            "SPAI; expected the authors' spai.pth, whose names begin with 'mfvit.'"
        )
    return build_from(partial(SPAINet, **architecture), state, str(path))
