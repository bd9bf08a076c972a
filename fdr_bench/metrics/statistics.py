"""Whether two detectors differ: exact McNemar, paired bootstrap, and Holm over many comparisons.

McNemar, Psychometrika 12, 1947; Efron & Tibshirani, "An Introduction to the Bootstrap", 1993; Holm, Scandinavian
Journal of Statistics 6, 1979.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdr_bench.errors import UsageError
from fdr_bench.metrics import METRICS
from fdr_bench.metrics.detection import Booleans, Floats
from fdr_bench.metrics.resampling import Indices, cells, clusters, percentile_interval, resampled
from fdr_bench.metrics.sliced import NAMES, Presorted, cells_of
from fdr_bench.types import Interval


class McNemar(NamedTuple):
    """How many images only one of two detectors calls rightly, and how likely so uneven a split is by chance."""

    only_first: int
    only_second: int
    p_value: float


def mcnemar(first_right: Booleans, second_right: Booleans) -> McNemar:
    """Compare two accuracies on the same N images, each `bool (N,)`, by the exact two-sided binomial test.

    Images that both call rightly or both wrongly say nothing; where no other is left, p is 1. Assumes that the images
    are independent: identical ones should be in once.
    """
    first, second = int((first_right & ~second_right).sum()), int((second_right & ~first_right).sum())
    return McNemar(first, second, float(mcnemar_p(np.array([first]), np.array([second]))[0]))


def mcnemar_p(only_first: Indices, only_second: Indices) -> Floats:
    """Return the exact two-sided p-values of K comparisons, `(K,)`, by how many images one alone has right in each."""
    from scipy.special import bdtr

    fewer, both = np.minimum(only_first, only_second), only_first + only_second
    return np.asarray(np.minimum(1.0, 2.0 * bdtr(fewer.astype(np.float64), both, 0.5)), dtype=np.float64)


class Difference(NamedTuple):
    """The first detector's value minus the second's on the same images."""

    value: float
    interval: Interval | None  # None where too few resamples have the value
    p_value: float  # two-sided, of no difference; never under 1 / (resamples + 1)


def paired_bootstrap(
    fake: Booleans,
    first: Floats,
    second: Floats,
    *,
    metric: str = "ap",
    generator: Indices | None = None,
    content: Indices | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    threads: int = 1,
) -> Difference:
    """Compare two detectors' scores of the same N images, `float64 (N,)`, in one of the metrics of scores.

    Both are taken on the same resamples (see `resampling`): `generator: (N,)` numbers the generators, -1 a shared real;
    `content: (N,)` numbers identical bytes. Images that either did not score (NaN) are left out for both. The p-value
    is twice the smaller share of resamples on one side of zero, those at zero counting on both. NaN where a class is
    absent. Raises `UsageError` for a metric that does not rest on scores.
    """
    chosen = [name for name, known in METRICS.items() if known.needs == ("fake", "score")]
    if metric not in chosen:
        raise UsageError(f"{metric!r} cannot be compared by a paired bootstrap; choose one of {', '.join(chosen)}.")
    generator = np.full(len(fake), -1) if generator is None else generator
    content = np.arange(len(fake)) if content is None else content
    order = np.argsort(cells(fake, generator), kind="stable")
    order = order[~np.isnan(first[order]) & ~np.isnan(second[order])]
    fake, generator, content = fake[order], generator[order], content[order]
    first, second = first[order], second[order]
    function = METRICS[metric].function
    value = function(fake, first) - function(fake, second)
    if np.isnan(value):
        return Difference(value, None, float("nan"))
    everything = cells_of(fake, generator, ())
    shown = np.ones(len(fake), dtype=np.bool_)
    models = [
        Presorted(everything, fake, reached=shown, answered=shown, called=score > 0.5, score=score)
        for score in (first, second)
    ]
    column = NAMES.index(metric)
    drawn = resampled(
        clusters(fake, generator, content),
        resamples=resamples,
        seed=seed,
        threads=threads,
        values=lambda weight: models[0].values(weight)[:, 0, column] - models[1].values(weight)[:, 0, column],
    )
    differences = np.concatenate(drawn)
    method = f"paired stratified cluster bootstrap, {resamples} resamples, seed {seed}"
    return Difference(value, percentile_interval(differences, level=level, method=method), _two_sided(differences))


def _two_sided(differences: NDArray[np.float64]) -> float:
    defined = differences[~np.isnan(differences)]
    below, above = int((defined <= 0).sum()), int((defined >= 0).sum())
    return min(1.0, 2.0 * (min(below, above) + 1) / (len(defined) + 1))


def holm(p_values: Floats) -> Floats:
    """Return p-values adjusted for making K comparisons, `(K,)` in the order given, at most 1.

    Rejecting those at most α keeps the chance of any false rejection at α, however the comparisons depend. NaN
    (an undefined comparison) stays NaN and counts as none.
    """
    adjusted = np.full(len(p_values), np.nan)
    made = np.flatnonzero(~np.isnan(p_values))
    order = made[np.argsort(p_values[made], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return adjusted
