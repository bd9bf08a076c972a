"""Keys and values of what has been read, in memory that grows now and then and not with every token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

CHUNK = 128
"""Positions by which the memory grows."""
TOGETHER = 32
"""Rows whose products are in memory at a time."""
ONE_TOKEN = "one-token"
"""The name by which transformers knows `attend`."""


class RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]  # transformers annotates no __init_subclass__
    """One block's keys and values, (B, heads, L, width of a head), with room for more behind them.

    transformers' own layer copies all it has for each token, which costs more than the rest of a small model's step.
    On a processor, in float32, all heads of a position lie together, as `attend` reads them.
    """

    def __init__(self, rows: int) -> None:
        """`rows` is B: they may come in several parts, each read from its first position, before any goes on."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.rows, self.length = rows, 0
        self._come = 0
        self._room: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Take in the keys and values of new positions; return those of all positions, as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self._come < self.rows:
            return self._begin(key_states, value_states)
        start, self.length = self.length, self.length + key_states.shape[-2]
        room = self._reserve(key_states, value_states, start)
        for whole, new in zip(room, (key_states, value_states), strict=True):
            whole[:, :, start : self.length] = new
        return self._show(room)

    def _begin(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Take in the first positions of some rows. They attend to themselves alone, and fastest as they came."""
        start, self._come = self._come, self._come + len(keys)
        length = keys.shape[-2]
        self._room = room = self._room or self._larger(keys, values, length)
        for whole, new in zip(room, (keys, values), strict=True):
            whole[start : self._come, :, :length] = new
        if self._come == self.rows:
            self.length = length
            self._show(room)
        return keys, values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only the rows at `indices`, in that order; those that stay in their places are not copied."""
        self.rows = self._come = len(indices)
        if self._room is not None:
            moved = (indices != torch.arange(len(indices), device=indices.device)).nonzero().squeeze(1)
            for whole in self._room:
                used = whole[:, :, : self.length]
                used[moved] = used[indices[moved]]
            self._room = (self._room[0][: self.rows], self._room[1][: self.rows])
            self._show(self._room)

    def _reserve(self, keys: Tensor, values: Tensor, used: int) -> tuple[Tensor, Tensor]:
        """Return room for `self.length` positions, the first `used` of which are filled."""
        assert self._room is not None
        if self._room[0].shape[-2] < self.length:
            larger = self._larger(keys, values, self.length)
            for old, new in zip(self._room, larger, strict=True):
                new[:, :, :used] = old[:, :, :used]
            self._room = larger
        return self._room

    def _larger(self, keys: Tensor, values: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Return empty room for a length, and for what is soon written behind it."""
        _, heads, _, width = keys.shape
        places = room_for(length)
        if keys.device.type == "cpu" and keys.dtype == torch.float32:
            together = (self.rows, places, heads, width)
            return keys.new_empty(together).transpose(1, 2), values.new_empty(together).transpose(1, 2)
        apart = (self.rows, heads, places, width)
        return keys.new_empty(apart), values.new_empty(apart)

    def _show(self, room: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        keys, values = (whole[:, :, : self.length] for whole in room)
        self.keys, self.values = keys, values
        return keys, values


def roomy_cache(blocks: int, rows: int) -> Cache:
    """Return an empty cache for a language model of so many blocks that reads so many rows."""
    return Cache(layers=[RoomyLayer(rows) for _ in range(blocks)])


def room_for(length: int) -> int:
    """Return how many positions memory is taken for where a length of them is filled: in `CHUNK`s, one ahead."""
    return -(-length // CHUNK) * CHUNK + CHUNK


class Scratch:
    """Memory for products that are summed at once: taken anew each time it would cost more than the products."""

    def __init__(self) -> None:
        self._kept = torch.empty(0)

    def like(self, tensor: Tensor) -> Tensor:
        """Return room of a float32 tensor's shape, with whatever was last in it."""
        if self._kept.numel() < tensor.numel():
            self._kept = torch.empty(2 * tensor.numel())
        return self._kept[: tensor.numel()].view(tensor.shape)


@contextmanager
def attention_over(language: PreTrainedModel) -> Iterator[None]:
    """Let a language model attend by `attend` meanwhile, where it would by torch's own kernels."""
    before = language.config._attn_implementation
    if before == "sdpa":
        language.set_attn_implementation(ONE_TOKEN)
    try:
        yield
    finally:
        language.set_attn_implementation(before)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    scratch: Scratch | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers' "sdpa" does, by products and sums where one token asks what `RoomyLayer` keeps.

    torch's kernel, made for many queries, takes a fifth longer.
    """
    many = query.shape[2] > 1 or query.dtype != torch.float32 or key.shape[1] != query.shape[1]
    if many or scratch is None or scaling is None or query.device.type != "cpu":
        told: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return told
    asks, keys, values = ((each.transpose(1, 2)) for each in (query * scaling, key, value))  # (B, 1 or L, heads, width)
    given = []
    for start in range(0, len(asks), TOGETHER):
        rows = slice(start, start + TOGETHER)
        products = scratch.like(keys[rows])
        scores = torch.mul(keys[rows], asks[rows], out=products).sum(dim=-1).transpose(1, 2)  # (b, heads, L)
        if attention_mask is not None:
            scores = scores.masked_fill(~attention_mask[rows, :, 0], -torch.inf)
        shares = scores.softmax(dim=-1).transpose(1, 2)[..., None]
        given.append(torch.mul(values[rows], shares, out=products).sum(dim=1, keepdim=True))
    return torch.cat(given), None


AttentionInterface.register(ONE_TOKEN, attend)
AttentionMaskInterface.register(ONE_TOKEN, sdpa_mask)
