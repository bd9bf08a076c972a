"""The cache of keys and values holds what transformers' own would."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from fakereasoning.kv_cache import (
    CHUNK,
    ONE_TOKEN,
    TOGETHER,
    RoomyLayer,
    Scratch,
    attend,
    attention_over,
    room_for,
    roomy_cache,
)
from tests.fakereasoning.tiny import noise, tiny_model


def test_positions_are_kept_in_order_through_growth_and_the_leaving_of_rows():
    rows = 4
    ours, theirs = RoomyLayer(rows), DynamicLayer()
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
    layer = RoomyLayer(1)
    layer.update(*[noise(1, 1, 3, 2)] * 2)
    place = layer.keys.data_ptr()
    layer.update(*[noise(1, 1, 1, 2)] * 2)
    assert layer.keys.data_ptr() == place and layer.keys.shape[-2] == 4


def test_a_cache_has_a_layer_a_block_and_is_empty():
    cache = roomy_cache(3, 2)
    assert len(cache) == 3 and cache.get_seq_length() == 0


def test_rows_may_come_in_parts_and_then_go_on_together():
    ours, whole = RoomyLayer(5), DynamicLayer()
    first = noise(5, 2, 7, 4, seed=1), noise(5, 2, 7, 4, seed=2)
    for rows in (slice(0, 2), slice(2, 4), slice(4, 5)):
        assert ours.get_seq_length() == 0
        part = [each[rows] for each in first]
        # They attend to themselves alone.
        assert all(torch.equal(got, given) for got, given in zip(ours.update(*part), part, strict=True))
    whole.update(*first)
    assert ours.get_seq_length() == 7
    later = noise(5, 2, 1, 4, seed=3), noise(5, 2, 1, 4, seed=4)
    for got, expected in zip(ours.update(*later), whole.update(*later), strict=True):
        assert torch.equal(got, expected)


def test_there_is_room_for_some_more_without_growing():
    assert [room_for(length) for length in (1, CHUNK, CHUNK + 1)] == [2 * CHUNK, 2 * CHUNK, 3 * CHUNK]


# ---------------------------------------------------------------- attention of one token


def asked(rows: int, heads: int = 3, length: int = 9) -> list[torch.Tensor]:
    """Return a query, keys and values as they come out of a `RoomyLayer`."""
    layer = RoomyLayer(rows)
    layer.update(noise(rows, heads, length - 1, 8, seed=1), noise(rows, heads, length - 1, 8, seed=2))
    return [noise(rows, 3, 1, 8), *layer.update(noise(rows, heads, 1, 8, seed=3), noise(rows, heads, 1, 8, seed=4))]


@pytest.mark.parametrize("rows", [1, TOGETHER, 2 * TOGETHER + 3])
@pytest.mark.parametrize("masked", [False, True])
def test_one_token_attends_as_by_the_kernel_of_torch(rows, masked):
    query, keys, values = asked(rows)
    mask = None
    if masked:
        mask = torch.ones(rows, 1, 1, 9, dtype=torch.bool)
        mask[:, :, :, : rows % 4 + 1] = False
    got, _ = attend(nn.Module(), query, keys, values, mask, scaling=0.3, scratch=Scratch())
    expected, _ = sdpa_attention_forward(nn.Module(), query, keys, values, mask, scaling=0.3)
    assert got.shape == expected.shape == (rows, 1, 3, 8)
    assert torch.allclose(got, expected, atol=1e-6)


def test_what_else_is_asked_goes_to_the_kernel(monkeypatch):
    gone = []

    def counted(*arguments, **options):
        gone.append(arguments[1].shape)
        return sdpa_attention_forward(*arguments, **options)

    monkeypatch.setattr("fakereasoning.kv_cache.sdpa_attention_forward", counted)
    query, keys, values = asked(2)
    attend(nn.Module(), query, keys, values, None, scaling=0.3, scratch=Scratch())
    assert not gone
    attend(nn.Module(), query.repeat(1, 1, 2, 1), keys, values, None, scaling=0.3, scratch=Scratch())
    attend(nn.Module(), query.bfloat16(), keys.bfloat16(), values.bfloat16(), None, scaling=0.3, scratch=Scratch())
    grouped = nn.Module()
    grouped.num_key_value_groups = 3
    attend(grouped, query, keys[:, :1], values[:, :1], None, scaling=0.3, scratch=Scratch())
    assert len(gone) == 3


def test_memory_for_products_is_taken_once_for_what_fits():
    scratch = Scratch()
    small = scratch.like(noise(2, 3))
    assert small.shape == (2, 3)
    assert scratch.like(noise(4, 3)).data_ptr() == small.data_ptr()
    assert scratch.like(noise(40, 3)).shape == (40, 3)


def test_a_language_model_attends_so_for_a_while_and_then_as_before():
    language = tiny_model(tied=False).language
    with pytest.raises(ZeroDivisionError), attention_over(language):
        assert language.config._attn_implementation == ONE_TOKEN
        raise ZeroDivisionError
    assert language.config._attn_implementation == "sdpa"
    language.set_attn_implementation("eager")
    with attention_over(language):
        assert language.config._attn_implementation == "eager"
