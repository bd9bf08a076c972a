"""The two image towers, as FakeReasoning reads them: CLIP before its last block, DINOv2 with its last attention map.

Radford et al., ICML 2021; Oquab et al., "DINOv2", TMLR 2024; read as in PRIS-CV/FakeReasoning at c1aec51. Both see one
tensor of pixels, normalised by CLIP's mean and deviation.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, Dinov2Config, Dinov2Model
from transformers.models.dinov2.modeling_dinov2 import Dinov2Layer

from fakereasoning.config import FakeReasoningConfig, Stem

OFFSET = 0.1
"""Added to the new side of DINO's position grid before it is divided by the old one, as DINOv2's hub models do."""


class VisualFeatures(NamedTuple):
    """What the towers give for B images: all that the trained parts need, so it may stand in for the pixels."""

    clip: Tensor
    """(B, N, width of CLIP)"""
    dino: Tensor | None = None
    """(B, N, width of DINO), or None without that tower."""
    attention: Tensor | None = None
    """Probabilities of DINO's last block, (B, heads, N + 1, N + 1), class token first; None where nobody reads them."""

    def rows(self, index: slice | Tensor) -> VisualFeatures:
        """Return the features of some of the images."""
        return VisualFeatures._make(None if part is None else part[index] for part in self)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> VisualFeatures:
        """Return the features on a device, as another type where one is given."""
        return VisualFeatures._make(None if part is None else part.to(device, dtype) for part in self)


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
            layers += [*_normalised(narrow, wide, 3, stride=2), nn.ReLU()]
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
        layers: list[nn.Module] = [*_normalised(3, first, 3), nn.ReLU()]
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
        self.first = nn.Sequential(*_normalised(narrow, wide, 3, stride=2), nn.ReLU())
        self.second = nn.Sequential(*_normalised(wide, wide, 3))
        self.shortcut = nn.Sequential(*_normalised(narrow, wide, 1, stride=2))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, narrow, H, W) to (B, wide, H / 2, W / 2)."""
        return torch.relu(self.second(self.first(x)) + self.shortcut(x))


class ClipTower(CLIPVisionModel):  # type: ignore[no-untyped-call]
    """CLIP's image tower, run up to the hidden state that is read."""

    def __init__(self, config: CLIPVisionConfig, select_layer: int, stem: nn.Module | None = None) -> None:
        super().__init__(config)
        if stem is not None:
            self.embeddings.patch_embedding = cast(nn.Conv2d, stem)
        # A hidden state's number counts the blocks before it; -1 is the last block's output.
        states = config.num_hidden_layers + 1
        self.blocks_read = range(states)[select_layer]

    def features(self, pixels: Tensor) -> Tensor:
        """Map (B, 3, side, side) to patch tokens (B, N, width): a hidden state without its class token."""
        hidden = self.pre_layrnorm(self.embeddings(pixels))
        for block in self.encoder.layers[: self.blocks_read]:
            hidden = block(hidden, None)
        patches: Tensor = hidden[:, 1:]
        return patches

    def unread(self) -> list[nn.Parameter]:
        """Return the parameters that no feature depends on."""
        blocks = self.encoder.layers[self.blocks_read :]
        return [*self.post_layernorm.parameters(), *blocks.parameters()]


class DinoTower(Dinov2Model):  # type: ignore[no-untyped-call]
    """DINOv2, read before its final norm, together with the attention map of its last block.

    Only the last block computes its attention the slow way that yields a map, and only where `with_attention`.
    """

    def __init__(self, config: Dinov2Config, *, with_attention: bool, stem: nn.Module | None = None) -> None:
        super().__init__(config)
        if stem is not None:
            self.embeddings.patch_embeddings.projection = cast(nn.Conv2d, stem)
        self.with_attention = with_attention
        if with_attention:
            last = cast(Dinov2Layer, self.encoder.layer[-1]).attention
            last.config = copy.copy(last.config)
            last.config._attn_implementation = "eager"

    def features(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map (B, 3, side, side) to patch tokens (B, N, width) and the map (B, heads, N + 1, N + 1) or None."""
        hidden = self._embed(pixels)
        *blocks, last = (cast(Dinov2Layer, block) for block in self.encoder.layer)
        for block in blocks:
            hidden = block(hidden)
        if not self.with_attention:
            return last(hidden)[:, 1:], None
        # The block by its parts, since as a whole it drops the map.
        attended, attention = last.attention(last.norm1(hidden))
        hidden = hidden + last.drop_path(last.layer_scale1(attended))
        hidden = hidden + last.drop_path(last.layer_scale2(last.mlp(last.norm2(hidden))))
        return hidden[:, 1:], attention

    def unread(self) -> list[nn.Parameter]:
        """Return the parameters that no feature depends on."""
        mask = self.embeddings.mask_token
        return [*self.layernorm.parameters(), *([] if mask is None else [mask])]

    def _embed(self, pixels: Tensor) -> Tensor:
        patches = self.embeddings.patch_embeddings(pixels)
        hidden = torch.cat((self.embeddings.cls_token.expand(len(patches), -1, -1), patches), dim=1)
        positions = resize_positions(self.embeddings.position_embeddings, round(patches.shape[1] ** 0.5))
        embedded: Tensor = self.embeddings.dropout(hidden + positions)
        return embedded


def resize_positions(positions: Tensor, grid: int) -> Tensor:
    """Return DINO's position embeddings (1, 1 + M, width) for a grid of `grid` × `grid` patches, (1, 1 + grid², width).

    The bicubic resize samples at the ratio (grid + 0.1) / √M as DINOv2's own models do, in float32. transformers'
    `Dinov2Model` samples at grid / √M, which moves the model's logits by about 0.01. A grid of its own size is left as
    it is. The class token's embedding never changes.
    """
    learned = round((positions.shape[1] - 1) ** 0.5)
    if learned == grid:
        return positions
    plane = positions[:, 1:].reshape(1, learned, learned, -1).permute(0, 3, 1, 2).float()
    ratio = (grid + OFFSET) / learned
    resized = nn.functional.interpolate(plane, scale_factor=(ratio, ratio), mode="bicubic", antialias=False)
    patches = resized.permute(0, 2, 3, 1).flatten(1, 2).to(positions.dtype)
    return torch.cat((positions[:, :1], patches), dim=1)


def build_clip(config: FakeReasoningConfig) -> ClipTower:
    """Return the CLIP tower of a config, freshly initialised."""
    return ClipTower(CLIPVisionConfig(**config.clip), config.select_layer, _stem(config.stem, config.clip))


def build_dino(config: FakeReasoningConfig) -> DinoTower | None:
    """Return the DINO tower of a config, freshly initialised, or None where it has none."""
    if config.dino is None:
        return None
    stem = _stem(config.dino_stem, config.dino)
    return DinoTower(Dinov2Config(**config.dino), with_attention=config.fusion == "faff", stem=stem)


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


STEMS: Mapping[Stem, type[ConvolutionStem | ResidualStem]] = {"convolutions": ConvolutionStem, "residual": ResidualStem}


def _stem(stem: Stem, tower: Mapping[str, Any]) -> nn.Module | None:
    return STEMS[stem](tower["hidden_size"], tower["patch_size"]) if stem in STEMS else None
