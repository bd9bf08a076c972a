"""The cache of keys and values holds what transformers' own would."""

from __future__ import annotations

import torch
from transformers.cache_utils import DynamicLayer

from fakereasoning.kv_cache import CHUNK, RoomyLayer, roomy_cache
from tests.fakereasoning.tiny import noise


def test_positions_are_kept_in_order_through_growth_and_the_leaving_of_rows():
    ours, theirs = RoomyLayer(), DynamicLayer()
    rows = 4
    for number, length in enumerate([CHUNK - 2, 1, 1, 1, CHUNK, 3]):
        keys, values = (noise(rows, 2, length, 5, seed=2 * number + which) for which in (0, 1))
        for got, expected in zip(ours.update(keys, values), theirs.update(keys, values), strict=True):
            assert torch.equal(got, expected)
        assert ours.get_seq_length() == theirs.get_seq_length()
        assert ours.get_mask_sizes(1) == theirs.get_mask_sizes(1)
        if number == 2:
            index = torch.tensor([3, 1])
            ours.batch_select_indices(index)
            theirs.batch_select_indices(index)
            rows = 2
    assert torch.equal(ours.keys, theirs.keys)


def test_a_token_is_written_into_memory_that_is_there():
    layer = RoomyLayer()
    layer.update(*[noise(1, 1, 3, 2)] * 2)
    place = layer.keys.data_ptr()
    layer.update(*[noise(1, 1, 1, 2)] * 2)
    assert layer.keys.data_ptr() == place and layer.keys.shape[-2] == 4


def test_a_cache_has_a_layer_a_block_and_is_empty():
    cache = roomy_cache(3)
    assert len(cache) == 3 and cache.get_seq_length() == 0
