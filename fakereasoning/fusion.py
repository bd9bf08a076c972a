"""Forgery-Aware Feature Fusion: CLIP's tokens ask DINO's, guided by where DINO itself looked.

Gao et al., "FakeReasoning", arXiv 2503.21210 v3; as in PRIS-CV/FakeReasoning at c1aec51, whose code differs from the
paper's equation 5: full projections with biases, the class token cut from the map, and 1e-6 inside the logarithm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LOG_EPS = 1e-6
NORM_EPS = 1e-6


class AttentionBias(nn.Module):
    """DINO's attention map as a bias on the scores of the fusion: an MLP over the heads of each pair of patches."""

    def __init__(self, heads: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(heads, hidden, 1), nn.GELU(), nn.Conv2d(hidden, heads, 1))

    def forward(self, attention: Tensor) -> Tensor:
        """Map probabilities (B, heads, N + 1, N + 1), the class token first, to (B, heads, N, N).

        The class token's row and column are cut and what is left is not normalised again.
        """
        bias: Tensor = self.layers(torch.log(attention[:, :, 1:, 1:] + LOG_EPS))
        return bias


class FAFF(nn.Module):
    """One block of cross-attention: queries are CLIP's tokens, keys and values DINO's, and a map may bias the scores.

        bias   = MLP(log(map + 1e-6))                                   (B, heads, N, N)
        scores = (W_q clip)(W_k dino)ᵀ / √(width / heads) + bias        (B, heads, N, N)
        x      = norm(clip + merge(softmax(scores) W_v dino))           (B, N, width)
        out    = norm(x + W_2 ReLU(W_1 x))                              (B, N, width)

    In training, dropout acts on the attention weights, after the ReLU and on both branches that are added.
    """

    def __init__(self, width: int, heads: int, hidden: int, bias_hidden: int | None, dropout: float) -> None:
        """Make a block; `bias_hidden` None makes one that cannot take a map ("cross-attention")."""
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.bias = None if bias_hidden is None else AttentionBias(heads, bias_hidden)
        self.query, self.key, self.value, self.merge = (nn.Linear(width, width) for _ in range(4))
        self.norm_attention = nn.LayerNorm(width, eps=NORM_EPS)
        self.expand, self.contract = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm_expansion = nn.LayerNorm(width, eps=NORM_EPS)

    def forward(self, clip: Tensor, dino: Tensor, attention: Tensor | None = None) -> Tensor:
        """Fuse projected tokens (B, N, width) and (B, N, width) into (B, N, width).

        `attention` is the map (B, heads, N + 1, N + 1), the class token first; None leaves the bias out, which the
        block with a bias permits too: it is then the plain cross-attention of the same weights.
        """
        bias = self.bias_of(attention)
        query, key, value = (
            layer(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, tokens in ((self.query, clip), (self.key, dino), (self.value, dino))
        )
        dropout = self.dropout if self.training else 0.0
        attended = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
        merged = self.merge(attended.transpose(1, 2).flatten(2))
        fused: Tensor = self.norm_attention(clip + self._drop(merged))
        expanded = self._drop(nn.functional.relu(self.expand(fused)))
        out: Tensor = self.norm_expansion(fused + self._drop(self.contract(expanded)))
        return out

    def bias_of(self, attention: Tensor | None) -> Tensor | None:
        """Return the bias on the scores, (B, heads, N, N), or None without a map or without a network for it."""
        return None if self.bias is None or attention is None else self.bias(attention)

    def _drop(self, branch: Tensor) -> Tensor:
        return nn.functional.dropout(branch, self.dropout, self.training)


def interleave(clip: Tensor, dino: Tensor) -> Tensor:
    """Return the tokens (B, N, width) of both towers as (B, 2 N, width): CLIP's and DINO's of a place side by side.

    The fusion of the base model, Tong et al., "Eyes Wide Shut?", CVPR 2024.
    """
    return torch.stack((clip, dino), dim=2).flatten(1, 2)
