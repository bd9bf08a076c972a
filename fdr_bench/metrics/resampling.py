"""The stratified cluster bootstrap: which images a resample holds, and the interval that its values give.

Efron & Tibshirani, "An Introduction to the Bootstrap", 1993. Images with identical bytes are one cluster and are drawn
together, so a real image that several generators share is one observation. Clusters are drawn with replacement within
strata of class and generator, as many as there are, so a resample has the test set's mixture. The draws depend on the
seed, the resample's number and the clusters alone: every model of a set sees the same ones, whatever the batch size or
the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from statistics import NormalDist
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fdr_bench.types import Interval

Values = TypeVar("Values")
Weights = NDArray[np.uint8]
Counts = NDArray[np.int32]
Indices = NDArray[np.int64]
ENOUGH = 0.95  # share of the resamples in which a value must exist for its interval to be given
ELEMENTS = 1 << 18  # weights held at once by one thread, so that what is made of them stays in the cache
MANY = 4096  # clusters in a stratum from which counts are drawn in one pass
OPEN = 255


class Clusters(NamedTuple):
    """Clusters of samples, numbered so that each stratum is one range of numbers."""

    of_sample: Indices  # (N,) cluster of each sample
    bounds: Indices  # (S + 1,) stratum s holds clusters bounds[s] … bounds[s + 1] - 1
    plain: bool  # sample i is cluster i, so that weights of clusters are weights of samples


def cells(fake: NDArray[np.bool_], generator: Indices) -> Indices:
    """Code class and generator as one number, `(N,)`: reals come before fakes; generator -1 is none."""
    return fake * (int(generator.max(initial=-1)) + 2) + generator + 1


def clusters(fake: NDArray[np.bool_], generator: Indices, content: Indices) -> Clusters:
    """Return the clusters of N samples with the same `content: (N,)`, which codes identical bytes.

    A cluster lies in the stratum of its class and generator. Those over several generators form one stratum a class,
    and those over both classes (one file listed as real and as fake) another, rather than strata too small to vary.
    Samples sorted by `cells` with distinct contents give `plain` clusters.
    """
    cell = cells(fake, generator)
    _, first, of_content = np.unique(content, return_index=True, return_inverse=True)
    stratum = cell[first]
    if len(first) < len(cell):
        lowest, highest = stratum.copy(), stratum.copy()
        np.minimum.at(lowest, of_content, cell)
        np.maximum.at(highest, of_content, cell)
        fakes = int(generator.max()) + 2  # the first cell of the fakes
        shared = cell.max() + 1 + (lowest >= fakes) + (highest >= fakes)
        stratum = np.where(lowest == highest, stratum, shared)
    order = np.lexsort((first, stratum))
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    ranked = stratum[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1])) if len(ranked) else np.zeros(0, dtype=np.int64)
    of_sample = number[of_content].astype(np.int64)
    plain = bool(np.array_equal(of_sample, np.arange(len(cell))))
    return Clusters(of_sample, np.append(starts, len(order)).astype(np.int64), plain)


def draw(groups: Clusters, seed: int, resample: int) -> Weights:
    """Return how often resample number `resample` holds each cluster, `(clusters,)`: exact multinomial counts.

    A count never reaches 255: drawing one of 256 clusters so often in as many draws has a chance under 1e-500.
    """
    generator = np.random.default_rng([seed, resample])
    counts = np.empty(int(groups.bounds[-1]), dtype=np.uint8)
    for start, stop in pairwise(groups.bounds.tolist()):
        size = stop - start
        counts[start:stop] = (
            np.bincount(generator.integers(0, size, size), minlength=size)
            if size < MANY
            else multinomial_of_many(generator, size)
        )
    return counts


def multinomial_of_many(generator: np.random.Generator, size: int) -> Weights:
    """Return the counts of `size` draws out of `size` clusters, in one pass without random access.

    Independent Poisson counts given their sum are multinomial. So draw them with a mean a little under one, keep them
    if the sum is at most `size`, and draw what is lacking one by one. Each Poisson count is its inverse distribution at
    a uniform number: sixteen bits of it are looked up, and where they leave the count open, 53 more decide.
    """
    edges, table = poisson_table(1.0 - 4.0 / math.sqrt(size))
    while True:
        words = generator.integers(0, 2**64 - 1, -(-size // 4), dtype=np.uint64, endpoint=True)
        bits = words.view(np.uint16)[:size]
        counts = np.take(table, bits, mode="clip")
        undecided = np.flatnonzero(counts == OPEN)
        uniform = (bits[undecided] + generator.random(len(undecided))) / 65536
        counts[undecided] = np.searchsorted(edges, uniform, side="right")
        lacking = size - int(counts.sum(dtype=np.int64))
        if lacking >= 0:
            np.add.at(counts, generator.integers(0, size, lacking), np.uint8(1))
            return counts


@lru_cache(maxsize=256)
def poisson_table(mean: float) -> tuple[NDArray[np.float64], Weights]:
    """Return the Poisson distribution function, and the count for each 16-bit prefix of a uniform number.

    `OPEN` marks the prefixes that hold a step of the function.
    """
    terms = [math.exp(-mean)]
    while terms[-1] > 1e-20:
        terms.append(terms[-1] * mean / len(terms))
    edges = np.cumsum(terms)
    lowest = np.searchsorted(edges, np.arange(65536) / 65536, side="right")
    highest = np.searchsorted(edges, np.arange(1, 65537) / 65536, side="left")
    return edges, np.where(lowest == highest, lowest, OPEN).astype(np.uint8)


def sample_weights(groups: Clusters, seed: int, resamples: range) -> Weights:
    """Return how often each resample holds each sample, `(len(resamples), N)`."""
    drawn = np.stack([draw(groups, seed, resample) for resample in resamples])
    return drawn if groups.plain else np.take(drawn, groups.of_sample, axis=1, mode="clip")


def batches(resamples: int, samples: int) -> Iterator[range]:
    """Split the resamples into ranges whose weights take at most about `ELEMENTS` numbers."""
    rows = max(1, min(resamples, ELEMENTS // max(samples, 1), 128))
    return (range(start, min(start + rows, resamples)) for start in range(0, resamples, rows))


def resampled(
    groups: Clusters, *, resamples: int, seed: int, threads: int, values: Callable[[Weights], Values]
) -> list[Values]:
    """Return `values(weights)` of each batch in order; NumPy frees the threads where it counts, sorts and sums."""

    def of_batch(batch: range) -> Values:
        return values(sample_weights(groups, seed, batch))

    ranges = list(batches(resamples, len(groups.of_sample)))
    if threads < 2 or len(ranges) < 2:
        return [of_batch(batch) for batch in ranges]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(of_batch, ranges))


def _enough(values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the defined values, or None where too few resamples have one: the interval would be of the lucky ones."""
    defined = values[~np.isnan(values)]
    return defined if len(values) and len(defined) >= ENOUGH * len(values) else None


def percentile_interval(values: NDArray[np.float64], *, level: float, method: str) -> Interval | None:
    """Return the central `level` of the resampled values (linear quantiles), or None where too few are defined."""
    defined = _enough(values)
    if defined is None:
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level, f"percentiles of {method}")


def logit_interval(value: float, values: NDArray[np.float64], *, level: float, method: str) -> Interval | None:
    """Return the normal interval around log(value / (1 - value)) by the resamples' standard error, taken back.

    For values in [0, 1]. In sets of a hundred images it holds the truth more nearly as often as it says than
    percentiles do, whose ends lag behind the skew. Percentiles at 0 and 1, where the scale has no place, or without any
    spread. None where too few resamples are defined.
    """
    defined = _enough(values)
    if defined is None:
        return None
    error = float(defined.std(ddof=1)) if len(defined) > 1 else 0.0
    if error < 1e-12 or not 0.0 < value < 1.0:
        return percentile_interval(values, level=level, method=method)
    centre, reach = math.log(value / (1 - value)), _normal(level) * error / (value * (1 - value))
    low, high = ((1 + math.tanh((centre + sign * reach) / 2)) / 2 for sign in (-1, 1))
    return Interval(low, high, level, f"logit-normal, {method}")


def debiased_interval(value: float, values: NDArray[np.float64], *, level: float, method: str) -> Interval | None:
    """Return the normal interval around the value less its bootstrap bias, cut at 0 and stretched to hold the value.

    For the calibration error, which noise in its bins can only raise: the resamples lie above the value by about as
    much as the value lies above the truth. None where too few resamples are defined.
    """
    defined = _enough(values)
    if defined is None:
        return None
    centre = 2 * value - float(defined.mean())
    reach = _normal(level) * float(defined.std(ddof=1)) if len(defined) > 1 else 0.0
    low, high = max(0.0, min(centre - reach, value)), min(1.0, max(centre + reach, value))
    return Interval(low, high, level, f"bias-corrected normal, {method}")


def _normal(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)


def alike_interval(share: float, observations: int, *, level: float) -> Interval:
    """Return the exact (Clopper-Pearson) interval of a share of 0 or 1 in `observations` independent images.

    Resampling images that are all alike gives the share again and an interval of no width; the binomial distribution
    knows what else would have shown them alike. In the closed form that 0 and 1 have, (1 - level) / 2 at each end.
    """
    far = ((1 - level) / 2) ** (1 / observations)
    low, high = (far, 1.0) if share == 1.0 else (0.0, 1.0 - far)
    return Interval(low, high, level, f"exact binomial, {observations} images alike")
