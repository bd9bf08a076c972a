"""The heads of FACL: from a tower's tokens to the space of sentences, and to one for comparing images.

They are as good as linear, so that what they tell apart is plain in the tokens themselves: the tokens are what the
language model gets, and the heads are dropped when the stage is over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

LARGEST_SCALE = 100.0
"""Limit of the learned scales, as in CLIP: a temperature of 0.01."""


class Embeddings(NamedTuple):
    """Images as unit vectors (B, e): `cross` among the sentences, `intra` among images."""

    cross: Tensor
    intra: Tensor


class Pool(nn.Module):
    """Tokens to one vector: a few learned weightings of the places, side by side, since a trace may be local."""

    def __init__(self, width: int, queries: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, queries)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, N, width) to (B, queries · width)."""
        tokens = self.norm(tokens)
        weights = self.score(tokens).softmax(dim=1)  # (B, N, queries)
        pooled: Tensor = (weights.transpose(1, 2) @ tokens).flatten(1)
        return pooled


class Alignment(nn.Module):
    """The heads over one or two towers, with the scales of the losses."""

    def __init__(
        self, widths: Sequence[int], text_width: int, *, queries: int = 4, space: int = 128, temperature: float = 0.07
    ) -> None:
        """`widths` of the towers' tokens, `text_width` of the sentences, `space` of the images' own space."""
        super().__init__()
        self.pools = nn.ModuleList(Pool(width, queries) for width in widths)
        pooled = queries * sum(widths)
        # Pooled tokens of all images point about one way at first, so that no inner product would tell images apart.
        self.spread = nn.BatchNorm1d(pooled)
        self.to_text = nn.Linear(pooled, text_width)
        self.to_space = nn.Linear(pooled, space)
        self.log_scales = nn.Parameter(torch.full((2,), -math.log(temperature)))

    def forward(self, tokens: Sequence[Tensor]) -> Embeddings:
        """Embed images from the tokens (B, N, width) of each tower, in float32."""
        pooled = self.spread(torch.cat([pool(one) for pool, one in zip(self.pools, tokens, strict=True)], dim=1))
        return Embeddings(
            normalize(self.to_text(pooled).float(), dim=1), normalize(self.to_space(pooled).float(), dim=1)
        )

    def scales(self) -> tuple[Tensor, Tensor]:
        """Return what inner products are multiplied by: across modalities, and within images."""
        cross, intra = self.log_scales.exp().unbind()
        return cross, intra

    def limit_scales(self) -> None:
        """Bring the scales back to the largest allowed; to be called after every step of the optimizer."""
        with torch.no_grad():
            self.log_scales.clamp_(max=math.log(LARGEST_SCALE))
