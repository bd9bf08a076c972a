"""Two halves of a batch that are written side by side on a processor: as if there were one."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from fakereasoning import decoding, generation
from fakereasoning.generation import LEAST_OF_TWO, generate
from fakereasoning.model import FakeReasoning
from tests.fakereasoning.numbers import VOCABULARY, Numbers
from tests.fakereasoning.tiny import noise, tiny_model


@pytest.fixture(scope="module")
def model() -> FakeReasoning:
    return tiny_model(tied=False)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_two_halves_side_by_side_give_what_one_batch_gives(model, monkeypatch):
    codec, many = Numbers(VOCABULARY), noise(2 * LEAST_OF_TWO + 1, 3, 16, 16, seed=8)
    monkeypatch.setattr(decoding, "READ_AT_ONCE", 4)
    began: list[tuple[str, int, int]] = []
    tokens = generation._Images.tokens

    def counted(images, index):
        began.append((threading.current_thread().name, torch.get_num_threads(), len(index)))
        return tokens(images, index)

    monkeypatch.setattr(generation._Images, "tokens", counted)
    halves = generate(model, codec, pixels=many, max_new_tokens=12, batch=len(many), temperature=0.7)
    assert torch.get_num_threads() == 2
    # Each with half of the threads, and neither in the thread that asks.
    assert {count for _, count, rows in began if rows > 1} == {1}
    assert sorted(rows for _, _, rows in began if rows > 1) == [LEAST_OF_TWO, LEAST_OF_TWO + 1]
    assert threading.current_thread().name not in {name for name, _, _ in began}
    began.clear()
    torch.set_num_threads(1)
    whole = generate(model, codec, pixels=many, max_new_tokens=12, batch=len(many), temperature=0.7)
    assert [rows for _, _, rows in began if rows > 1] == [len(many)]
    assert [each.ids for each in halves] == [each.ids for each in whole]
    assert len({each.ids for each in whole}) > LEAST_OF_TWO


@pytest.mark.usefixtures("two_threads")
def test_a_failure_in_one_half_comes_out(model, monkeypatch):
    def broken(images, index):
        raise MemoryError("no room for keys")

    monkeypatch.setattr(generation._Images, "tokens", broken)
    with pytest.raises(MemoryError, match="no room for keys"):
        generate(model, Numbers(VOCABULARY), pixels=noise(LEAST_OF_TWO, 3, 16, 16), max_new_tokens=2)
    assert torch.get_num_threads() == 2
