"""The presorted weighted forms against the plain functions on images repeated as often as they were drawn."""

import numpy as np
import pytest

from fdr_bench.metrics import METRICS
from fdr_bench.metrics.resampling import cells, clusters, sample_weights
from fdr_bench.metrics.sliced import NAMES, Presorted, cells_of, macro_values

GENERATORS = ("a", "b", "c")
TUNED = 0.37


def answers(seed):
    """A set with shared and own reals, ties within and across classes, failures, verdicts in some and rows to come."""
    draws = np.random.default_rng(seed)
    n = int(draws.integers(30, 200))
    fake, generator = draws.random(n) < 0.5, draws.integers(-1 if seed % 2 else 0, 3, n)
    fake[generator == -1] = False
    order = np.argsort(cells(fake, generator), kind="stable")
    fake, generator = fake[order], generator[order]
    score = draws.random(n)
    if seed % 3:
        score = np.round(score * 8) / 8
    score[draws.random(n) < 0.1] = np.nan
    verdict = np.where(draws.random(n) < 0.3, draws.integers(0, 2, n), -1) if seed % 4 == 0 else np.full(n, -1)
    answered = ~np.isnan(score) | (verdict >= 0)
    reached = answered | (draws.random(n) < 0.5)
    called = np.where(verdict >= 0, verdict == 1, score > 0.5)
    forced = ~np.isnan(score) & (draws.random(n) < (seed % 3) / 2)
    return fake, generator, score, answered, reached, called, forced


def naive(name, fake, score, answered, reached, called, forced):
    metric, scored = METRICS[name], ~np.isnan(score)
    inside = reached if "answered" in metric.needs else answered if "called" in metric.needs else scored
    given = {"fake": fake, "score": score, "answered": answered, "called": called, "forced": forced}
    arrays = [TUNED if need == "threshold" else given[need][inside] for need in metric.needs]
    return metric.function(*arrays)


@pytest.mark.parametrize("seed", range(24))
def test_weighted_values_are_those_of_repeated_images(seed):
    fake, generator, *rest = answers(seed)
    parts = cells_of(fake, generator, GENERATORS)
    score, answered, reached, called, forced = rest
    model = Presorted(
        parts,
        fake,
        reached=reached,
        answered=answered,
        called=called,
        score=score,
        forced=forced,
        tuned_threshold=TUNED,
    )
    content = np.random.default_rng(seed).integers(0, len(fake), len(fake)) if seed % 5 == 0 else np.arange(len(fake))
    weight = sample_weights(clusters(fake, generator, content), seed, range(4))
    weight = np.concatenate([weight, np.ones((1, len(fake)), dtype=np.uint8)])
    found = model.values(weight)
    for row, repeats in enumerate(weight):
        for place, part in enumerate(parts.slices):
            inside = np.isin(generator, [-1, place - 1]) if place else np.ones(len(fake), dtype=bool)
            drawn = np.repeat(np.flatnonzero(inside), repeats[inside])
            for column, name in enumerate(NAMES):
                expected = naive(name, fake[drawn], *(values[drawn] for values in rest))
                assert found[row, place, column] == pytest.approx(expected, abs=1e-12, nan_ok=True), (part.name, name)


def test_slices_hold_a_generators_fakes_its_reals_and_the_shared_ones():
    # Samples sorted by cell: shared reals 0-1, real of a 2, real of c 3, fakes of a 4-5, of b 6.
    fake = np.array([0, 0, 0, 0, 1, 1, 1], dtype=bool)
    parts = cells_of(fake, np.array([-1, -1, 0, 2, 0, 0, 1]), GENERATORS)
    assert parts.bounds.tolist() == [0, 2, 3, 4, 6, 7]
    assert [tuple(part) for part in parts.slices] == [
        ("all", (0, 1, 2), (3, 4)),
        ("generator:a", (0, 1), (3,)),
        ("generator:b", (0,), (4,)),
        ("generator:c", (0, 2), ()),
    ]


def test_the_macro_mean_is_over_the_generators_that_have_the_value():
    # One metric on all, a, b, c; b is undefined in the whole set, c in the second resample only.
    table = np.array([[0.9, 0.2, np.nan, 0.6], [0.9, 0.4, np.nan, np.nan]])[:, :, None]
    means = macro_values(table, np.array([True, True, False, True])[:, None])
    assert means[0, 0] == pytest.approx(0.4) and np.isnan(means[1, 0])
