"""Which records are trained on together, and which are held out."""

from __future__ import annotations

import numpy as np
import pytest

from fakereasoning.batches import Batches, hold_out

LENGTHS = np.random.default_rng(0).integers(20, 300, 403).tolist()


def epoch(batches: Batches, number: int, process: int = 0) -> list[list[int]]:
    return [list(index) for step in range(batches.steps) for index in batches.step(number, step, process)]


@pytest.mark.parametrize("by_length", [True, False])
def test_an_epoch_has_each_record_at_most_once_and_leaves_out_less_than_a_step(by_length):
    batches = Batches(LENGTHS, batch=8, accumulation=3, by_length=by_length, seed=1)
    seen = [record for index in epoch(batches, 0) for record in index]
    assert batches.steps == 403 // 8 // 3
    assert len(seen) == len(set(seen)) == batches.steps * 24


def test_processes_share_a_step_that_one_process_would_do_alone():
    alone = Batches(LENGTHS, batch=8, accumulation=4, seed=1)
    shared = Batches(LENGTHS, batch=8, accumulation=2, processes=2, seed=1)
    assert shared.steps == alone.steps
    both = [shared.step(2, 3, process) for process in range(2)]
    of_two = sorted(list(index) for parts in both for index in parts)
    assert of_two == sorted(list(index) for index in alone.step(2, 3))


def test_batches_are_a_function_of_seed_and_epoch():
    one, same, other = (Batches(LENGTHS, batch=8, seed=seed) for seed in (5, 5, 6))
    assert epoch(one, 1) == epoch(same, 1)
    assert epoch(one, 0) != epoch(one, 1)
    assert epoch(one, 0) != epoch(other, 0)


def test_records_of_one_length_side_by_side_pad_much_less():
    def padding(by_length: bool) -> float:
        batches = epoch(Batches(LENGTHS, batch=8, by_length=by_length), 0)
        return sum(8 * max(LENGTHS[i] for i in index) - sum(LENGTHS[i] for i in index) for index in batches)

    assert padding(True) < 0.1 * padding(False)


def test_fewer_records_than_a_batch_are_one_batch_and_than_a_step_repeat():
    batches = Batches([5, 9, 7], batch=8, accumulation=2)
    assert batches.steps == 1
    assert [sorted(index) for index in batches.step(0, 0)] == [[0, 1, 2], [0, 1, 2]]


def test_all_records_of_an_image_are_held_out_together():
    images = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    held = hold_out(images, 0.4, seed=3)
    assert held.sum() == 4
    assert all(held[2 * i] == held[2 * i + 1] for i in range(5))
    assert np.array_equal(held, hold_out(images, 0.4, seed=3))
    assert len({tuple(hold_out(images, 0.4, seed=seed)) for seed in range(20)}) > 3


@pytest.mark.parametrize(("images", "share", "count"), [([0, 1, 2], 0.0, 0), ([0], 0.5, 0), ([0, 1], 0.01, 1)])
def test_little_is_held_out_of_few_images(images, share, count):
    assert hold_out(images, share, seed=0).sum() == count
