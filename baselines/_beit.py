"""A vision transformer in BEiT's layout: queries and values with a bias, keys without, absolute positions.

Bao, Dong, Piao, Wei, "BEiT: BERT Pre-Training of Image Transformers", ICLR 2022. MFM pre-trains it on images whose low
or high frequencies are masked (Xie et al., "Masked Frequency Modeling for Self-Supervised Visual Pre-Training",
ICLR 2023), and its files and those of SPAI bear these names.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional


class ViT(nn.Module):
    """Square images to the tokens after each block; the class token takes part and is not given out.

    Images are of `side` px, tokens of `patch` px. `leftovers` adds tensors that nothing passes through.
    """

    def __init__(self, *, side: int, patch: int, width: int, depth: int, heads: int, leftovers: bool) -> None:
        super().__init__()
        if side % patch:
            raise ValueError(f"a patch of {side} px cannot be cut into tokens of {patch} px")
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, width, patch, patch)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + (side // patch) ** 2, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        if leftovers:
            # The authors' code builds these beside what it uses, so their file holds them.
            self.cls_pos_embed = nn.Parameter(torch.zeros_like(self.pos_embed))
            self.actual_cls_token = nn.Parameter(torch.zeros_like(self.cls_token))
            self.cls_blocks = nn.ModuleList([Block(width, heads)])
            self.fc_norm = nn.LayerNorm(width)
            self.intermediate_fc_norm = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
            self.head = nn.Linear(depth * width, 2)
        for table in (self.cls_token, self.pos_embed):
            nn.init.normal_(table, 0.0, 0.02)

    def layers(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the tokens of normalised images (N, 3, side, side) after each block, without the class token."""
        tokens = self.get_submodule("patch_embed.proj")(x).flatten(2).transpose(1, 2)  # (N, T, width)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
            yield x[:, 1:]


class Block(nn.Module):
    """Self-attention and two linear layers, each on the layer-normed input and added to it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            OrderedDict(fc1=nn.Linear(width, 4 * width), act=nn.GELU(), fc2=nn.Linear(4 * width, width))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (N, T, width) to the same shape."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
    """Multi-head self-attention whose keys have no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (N, T, width) to the same shape."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        joint = functional.linear(x, self.qkv.weight, bias)
        q, k, v = joint.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (N, heads, T, width / heads)
        attended = functional.scaled_dot_product_attention(q, k, v)
        mixed: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return mixed
