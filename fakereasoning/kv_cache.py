"""Keys and values of what has been read, in memory that grows now and then and not with every token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

CHUNK = 128
"""Positions by which the memory grows."""


class RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]  # transformers annotates no __init_subclass__
    """One block's keys and values, (B, heads, L, width of a head), with room for more behind them.

    transformers' own layer copies all it has for each token, which costs more than the rest of a small model's step.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.length = 0
        self._room: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Take in the keys and values of new positions; return those of all positions, as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, self.length = self.length, self.length + key_states.shape[-2]
        room = self._reserve(key_states, value_states, start)
        for whole, new in zip(room, (key_states, value_states), strict=True):
            whole[:, :, start : self.length] = new
        return self._show(room)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only the rows at `indices`, in that order."""
        if self._room is not None:
            self._room = (self._room[0][indices], self._room[1][indices])
            self._show(self._room)

    def _reserve(self, keys: Tensor, values: Tensor, used: int) -> tuple[Tensor, Tensor]:
        """Return room for `self.length` positions, the first `used` of which are filled."""
        if self._room is not None and self._room[0].shape[-2] >= self.length:
            return self._room
        places = -(-self.length // CHUNK) * CHUNK
        larger = [torch.empty(*new.shape[:2], places, new.shape[3], dtype=new.dtype, device=new.device)
                  for new in (keys, values)]  # fmt: skip
        for old, new in zip(self._room or (), larger, strict=False):
            new[:, :, :used] = old[:, :, :used]
        self._room = (larger[0], larger[1])
        return self._room

    def _show(self, room: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        keys, values = (whole[:, :, : self.length] for whole in room)
        self.keys, self.values = keys, values
        return keys, values


def roomy_cache(blocks: int) -> Cache:
    """Return an empty cache for a language model of so many blocks."""
    return Cache(layers=[RoomyLayer() for _ in range(blocks)])
