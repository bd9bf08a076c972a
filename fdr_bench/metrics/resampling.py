"""The stratified cluster bootstrap: which images a resample holds, and the interval that its values give.

Efron & Tibshirani, "An Introduction to the Bootstrap", 1993. Images with identical bytes are one cluster and are drawn
together, so a real image that several generators share is one observation. Clusters are drawn with replacement within
strata of class and generator, as many as there are, so a resample has the test set's mixture. The draws depend on the
seed, the resample's number and the clusters alone: every model of a set sees the same ones, whatever the batch size or
the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fdr_bench.types import Interval

Values = TypeVar("Values")
Counts = NDArray[np.int32]
Indices = NDArray[np.int64]
ENOUGH = 0.95  # share of the resamples in which a value must exist for its interval to be given
ELEMENTS = 1 << 20  # weights held at once by one thread: bounds memory, and 4 MB of them stay near the cache


class Clusters(NamedTuple):
    """Clusters of samples, numbered so that each stratum is one range of numbers."""

    of_sample: Indices  # (N,) cluster of each sample
    bounds: Indices  # (S + 1,) stratum s holds clusters bounds[s] … bounds[s + 1] - 1

    @property
    def plain(self) -> bool:
        """Whether sample i is cluster i, so that weights of clusters are weights of samples."""
        return bool(np.array_equal(self.of_sample, np.arange(len(self.of_sample))))


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
    return Clusters(number[of_content].astype(np.int64), np.append(starts, len(order)).astype(np.int64))


def draw(groups: Clusters, seed: int, resample: int) -> Counts:
    """Return how often resample number `resample` holds each cluster, `(clusters,)`: exact multinomial counts."""
    generator = np.random.default_rng([seed, resample])
    counts = np.empty(int(groups.bounds[-1]), dtype=np.int32)
    for start, stop in pairwise(groups.bounds.tolist()):
        size = stop - start
        counts[start:stop] = np.bincount(generator.integers(0, size, size), minlength=size)
    return counts


def sample_weights(groups: Clusters, seed: int, resamples: range) -> Counts:
    """Return how often each resample holds each sample, `(len(resamples), N)`."""
    drawn = np.stack([draw(groups, seed, resample) for resample in resamples])
    return drawn if groups.plain else drawn[:, groups.of_sample]


def batches(resamples: int, samples: int) -> Iterator[range]:
    """Split the resamples into ranges whose weights take at most about `ELEMENTS` numbers."""
    rows = max(1, min(resamples, ELEMENTS // max(samples, 1), 128))
    return (range(start, min(start + rows, resamples)) for start in range(0, resamples, rows))


def resampled(
    groups: Clusters, *, resamples: int, seed: int, threads: int, values: Callable[[Counts], Values]
) -> list[Values]:
    """Return `values(weights)` of each batch in order; NumPy frees the threads where it counts, sorts and sums."""

    def of_batch(batch: range) -> Values:
        return values(sample_weights(groups, seed, batch))

    ranges = list(batches(resamples, len(groups.of_sample)))
    if threads < 2 or len(ranges) < 2:
        return [of_batch(batch) for batch in ranges]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(of_batch, ranges))


def percentile_interval(values: NDArray[np.float64], *, level: float, method: str) -> Interval | None:
    """Return the central `level` of the resampled values (linear quantiles), NaN ones left out.

    None where the value exists in fewer than `ENOUGH` of the resamples: an interval of the lucky ones would be too
    narrow.
    """
    defined = values[~np.isnan(values)]
    if not len(values) or len(defined) < ENOUGH * len(values):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level, method)
