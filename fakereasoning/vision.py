"""The two image towers, as FakeReasoning reads them: CLIP before its last block, DINOv2 with its last attention map.

Radford et al., ICML 2021; Oquab et al., "DINOv2", TMLR 2024; read as in PRIS-CV/FakeReasoning at c1aec51. Both see one
tensor of pixels, normalised by CLIP's mean and deviation.
"""

from __future__ import annotations

import copy
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, Dinov2Config, Dinov2Model
from transformers.models.dinov2.modeling_dinov2 import Dinov2Layer

from fakereasoning.config import FakeReasoningConfig
from fakereasoning.stems import stem_of

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
    return ClipTower(CLIPVisionConfig(**config.clip), config.select_layer, stem_of(config.stem, config.clip))


def build_dino(config: FakeReasoningConfig) -> DinoTower | None:
    """Return the DINO tower of a config, freshly initialised, or None where it has none."""
    if config.dino is None:
        return None
    stem = stem_of(config.dino_stem, config.dino)
    return DinoTower(Dinov2Config(**config.dino), with_attention=config.fusion == "faff", stem=stem)
