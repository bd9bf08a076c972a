"""The trainer's parts: split, schedule, pace, decoding, evaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss

from fdr_bench.errors import DataError
from fdr_bench.images import apply_view, decode
from fdr_bench.training import pixels
from fdr_bench.training.evaluate import Validation, evaluate
from fdr_bench.training.loop import average, freeze, set_training
from fdr_bench.training.pixels import Geometry, load, normalised
from fdr_bench.training.schedule import Pace, rate
from fdr_bench.training.split import hold_out
from fdr_bench.types import CenterCrop, View

from .made import RECIPE, VIEW, MemoryImage, Tiny, made, sample


def test_the_split_takes_the_same_share_of_every_generator_and_class():
    groups = [(True, "gan", 40), (True, "diffusion", 20), (False, None, 100)]
    samples = [sample(n, fake=fake, generator=generator) for fake, generator, count in groups for n in range(count)]
    held = hold_out(samples, 0.1, seed=0)
    counts = {generator: 0 for _, generator, _ in groups}
    for each, is_held in zip(samples, held, strict=True):
        counts[each.generator] += is_held
    assert counts == {"gan": 4, "diffusion": 2, None: 10}
    assert np.array_equal(held, hold_out(samples, 0.1, seed=0))
    assert not np.array_equal(held, hold_out(samples, 0.1, seed=1))


def test_a_small_stratum_is_held_out_from_but_never_emptied():
    samples = [*(sample(n, fake=True, generator="gan") for n in range(2)), sample(0, fake=False, generator=None)]
    assert sorted(hold_out(samples, 0.01, seed=0)[:2]) == [False, True]
    assert not hold_out(samples, 0.9, seed=0)[2]
    assert not hold_out(samples, 0.0, seed=0).any()


@pytest.mark.parametrize(
    ("schedule", "fraction", "share"),
    # warm-up over the first fifth; 0.6 is half of the rest, where both curves are at a half; cos(pi / 4) is 0.7071
    [("cosine", 0.1, 0.5), ("cosine", 0.2, 1), ("cosine", 0.4, 0.853553), ("cosine", 0.6, 0.5), ("cosine", 1, 0),
     ("one-cycle", 0.1, 0.5), ("one-cycle", 0.4, 0.75), ("one-cycle", 0.6, 0.5), ("one-cycle", 1, 0)],
)  # fmt: skip
def test_the_rate_rises_in_the_warm_up_and_falls_to_zero(schedule, fraction, share):
    recipe = replace(RECIPE, schedule=schedule, warmup=0.2, lr=0.4)
    assert rate(recipe, fraction) == pytest.approx(0.4 * share, abs=1e-6)


def test_without_a_budget_the_pace_goes_by_steps_alone():
    pace = Pace(10, None)
    assert [pace.at(step, elapsed=1000.0, reserve=0) for step in (0, 4, 9)] == pytest.approx([0.05, 0.45, 0.95])
    assert not pace.over


def test_a_budget_that_binds_takes_the_pace_to_one_when_the_time_is_spent():
    pace = Pace(1000, 120.0)
    # 20 s had gone by before training, and validation will take 10: 90 are left.
    assert pace.at(0, elapsed=20, reserve=10) == pytest.approx(0.0005)
    assert pace.at(1, elapsed=65, reserve=10) == pytest.approx(0.5)
    assert pace.at(2, elapsed=66, reserve=0) == pytest.approx(0.5), "it never falls"
    assert not pace.over
    pace.at(3, elapsed=110, reserve=10)
    assert pace.over


def test_a_budget_that_is_spent_before_training_ends_it_at_once():
    pace = Pace(10, 30.0)
    assert pace.at(0, elapsed=40, reserve=0) == 1.0


def test_decoding_in_other_processes_gives_the_same_images(monkeypatch):
    samples = made(40).samples
    alone, _ = load(samples, Geometry(VIEW), workers=1, advance=lambda n: None)
    monkeypatch.setattr(pixels, "ALONE", 0)
    apart, _ = load(samples, Geometry(VIEW), workers=2, advance=lambda n: None)
    assert np.array_equal(alone.pixels, apart.pixels)
    assert alone.sha256 == apart.sha256


def test_images_beyond_the_memory_limit_are_decoded_again_for_every_batch():
    samples = made(10).samples
    kept, _ = load(samples, Geometry(VIEW), workers=1, advance=lambda n: None)
    dropped, _ = load(samples, Geometry(VIEW), workers=1, advance=lambda n: None, memory=100)
    assert dropped.pixels is None
    index = np.array([7, 2])
    assert np.array_equal(np.stack(dropped.take(index)), kept.take(index))
    assert np.array_equal(np.stack(dropped.keep(np.arange(10) > 7).take(np.array([1]))), kept.take(np.array([9])))


def test_an_image_that_breaks_during_training_ends_it_with_its_name():
    images, _ = load(made(4).samples, Geometry(VIEW), workers=1, advance=lambda n: None, memory=1)
    broken = [replace(each, image=MemoryImage("gone.png", b"")) for each in images.samples]
    with pytest.raises(DataError, match=r"gone\.png.*has the file changed"):
        images._replace(samples=broken).take(np.array([0]))


def test_evaluation_gives_scikit_learns_accuracy_and_loss_on_images_of_mixed_sizes():
    samples = [sample(n, fake=n % 3 == 0, side=8 if n % 2 else 11) for n in range(30)]
    torch.manual_seed(0)
    network = Tiny(8)
    images, _ = load(samples, Geometry(VIEW), workers=1, advance=lambda n: None)
    network.eval()
    with torch.inference_mode():
        score = [
            torch.sigmoid(network(torch.from_numpy(apply_view(VIEW, decode(s.image.read(), s.id).pixels))[None])).item()
            for s in samples
        ]
    fake = [s.label == "fake" for s in samples]
    found = evaluate(network, images, VIEW, torch.device("cpu"))
    assert found.accuracy == accuracy_score(fake, np.array(score) > 0.5)
    assert found.loss == pytest.approx(log_loss(fake, score), abs=1e-6)
    assert found.n == 30


def test_the_better_validation_has_the_higher_accuracy_and_then_the_lower_loss():
    assert Validation(0.9, 0.5, 10).better_than(Validation(0.8, 0.1, 10))
    assert Validation(0.9, 0.1, 10).better_than(Validation(0.9, 0.5, 10))
    assert not Validation(0.9, 0.5, 10).better_than(Validation(0.9, 0.5, 10))


@pytest.mark.parametrize("rest", [{}, {"order": "bgr"}, {"order": "bgr", "divisor": 100.0}])
def test_the_trainers_tensor_is_the_detectors(rest):
    view = View(steps=(CenterCrop(8),), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), **rest)
    image = decode(sample(0, fake=True, side=10).image.read(), "x").pixels
    ours = normalised(Geometry(view)(image)[None], view, torch.device("cpu"))
    assert ours[0].numpy() == pytest.approx(apply_view(view, image), abs=1e-6)
    assert ours.is_contiguous(memory_format=torch.channels_last)


def test_frozen_modules_keep_still_in_training_mode():
    network = Tiny(4)
    freeze(network, ("conv.*", "norm.*"))
    set_training(network)
    assert not network.norm.training and not network.conv.training
    assert network.head.training and network.drop.training


def test_the_average_moves_by_the_decay_and_copies_integers():
    averaged, network = Tiny(2), Tiny(2)
    with torch.no_grad():
        averaged.head.bias.fill_(1.0)
        network.head.bias.fill_(3.0)
        network.norm.num_batches_tracked.fill_(7)
    average(averaged, network, decay=0.75)
    assert averaged.head.bias.item() == pytest.approx(0.75 * 1 + 0.25 * 3)
    assert averaged.norm.num_batches_tracked.item() == 7
