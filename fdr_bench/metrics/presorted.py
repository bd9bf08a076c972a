"""The detection metrics of many resamples at once, from scores that are sorted once.

A resample is a weight for every image: how often it was drawn. Sorted by falling score, the running sums of the weights
are the true and false positives at every threshold, so AP, AUROC, EER and TPR at a fixed FPR cost a few passes over the
images and no sorting. The weighted sums are exact integers; nothing is binned. Fakes and reals are ranked apart and
meet through positions found once, so one class's running sums serve every slice that holds it.

Shapes: B resamples, K distinct scores of a pool. With all weights one the values are those of `detection` and
`calibration`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fdr_bench.metrics.calibration import BINS, calibration_bin
from fdr_bench.metrics.detection import NAN, Booleans, Floats, allowed_alarms
from fdr_bench.metrics.resampling import Counts, Indices, Weights

Number = TypeVar("Number", np.int32, np.float64)
BLOCK = 1 << 13  # distinct scores worked on at once in float64: in the cache, and too few for BLAS to start threads


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Scored samples of one class, sorted by falling score and cut where the score changes."""

    samples: Indices  # (n,) their numbers, highest score first
    starts: Indices | None  # (K,) where each distinct score begins; None where no two are equal
    levels: Floats  # (K,) the distinct scores, falling

    def weights(self, weight: Weights) -> Weights | Counts:
        """Return the weight of each distinct score, `(B, K)`, from the samples' `weight: (B, N)`."""
        ranked = np.take(weight, self.samples, axis=1, mode="clip")
        return ranked if self.starts is None else np.add.reduceat(ranked, self.starts, axis=1, dtype=np.int32)

    def above(self, threshold: float) -> int:
        """Return how many of the distinct scores are strictly above `threshold`."""
        return int(np.searchsorted(-self.levels, -threshold, side="left"))

    def cut(self, called: Booleans) -> int | None:
        """Return how many of the distinct scores are called fake if those are the highest ones; None otherwise.

        `called: (N,)` is of all samples.
        """
        ranked = called[self.samples]
        count = int(ranked.sum())
        above = count if self.starts is None else int(np.searchsorted(self.starts, count))
        whole = self.starts is None or count == len(ranked) or self.starts[above] == count
        return above if whole and ranked[:count].all() else None


def pool(samples: Indices, score: Floats) -> Pool:
    """Sort `samples: (n,)` by their `score: (N,)`, the highest first. There must be at least one."""
    ranked = samples[np.argsort(-score[samples], kind="stable")]
    falling = score[ranked]
    first = np.append(True, falling[1:] != falling[:-1])
    if first.all():
        return Pool(ranked, None, falling)
    return Pool(ranked, np.flatnonzero(first), falling[first])


class Meeting(NamedTuple):
    """How many distinct scores of a pool of reals lie above, and at or above, each distinct score of the fakes."""

    above: Indices  # (K,)
    reached: Indices | None  # (K,) None where no fake has a real's score, so that it equals `above`


def meeting(fakes: Pool, reals: Pool) -> Meeting:
    """Locate every score of `fakes` among those of `reals`."""
    above = np.searchsorted(-reals.levels, -fakes.levels, side="left")
    reached = np.searchsorted(-reals.levels, -fakes.levels, side="right")
    return Meeting(above, None if np.array_equal(above, reached) else reached)


def running(weights: Weights | Counts) -> Counts:
    """Return the running sums of `(B, K)` weights with a leading zero, `(B, K + 1)`."""
    sums = np.zeros((weights.shape[0], weights.shape[1] + 1), dtype=np.int32)
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


def alarms(reals: Sequence[Counts], meetings: Sequence[Meeting]) -> tuple[Counts, Counts]:
    """Return the weight of the reals above, and at or above, each score of the fakes: two `(B, K)`.

    `reals` are `running` sums of each pool of reals. Both are one array where no fake has a real's score.
    """
    above = sum_of([np.take(sums, met.above, axis=1, mode="clip") for sums, met in zip(reals, meetings, strict=True)])
    if all(met.reached is None for met in meetings):
        return above, above
    ends = [met.above if met.reached is None else met.reached for met in meetings]
    return above, sum_of([np.take(sums, end, axis=1, mode="clip") for sums, end in zip(reals, ends, strict=True)])


def sum_of(parts: Sequence[NDArray[Number]]) -> NDArray[Number]:
    """Add arrays of one shape into the first of them, and return it."""
    total = parts[0]
    for part in parts[1:]:
        total += part
    return total


def ranked_values(
    fakes: Weights | Counts, reals: Sequence[Counts], meetings: Sequence[Meeting], *, hits: Counts
) -> dict[str, Floats]:
    """Return AP, AUROC, EER and TPR at fixed FPR for B resamples, `(B,)` each, NaN where a resample lacks a class.

    `fakes: (B, K)` are the weights of one pool of fakes, `hits: (B, K + 1)` their running sums, `reals` the running
    sums of the pools of reals that they are held against, `meetings` where they meet.
    """
    above, reached = alarms(reals, meetings)
    positives = hits[:, -1].astype(np.int64)
    negatives = np.stack([sums[:, -1] for sums in reals]).sum(axis=0, dtype=np.int64)
    gained, lost = np.zeros(len(hits)), np.zeros(len(hits))
    for start in range(0, fakes.shape[1], BLOCK):
        some = slice(start, start + BLOCK)
        weight, true = fakes[:, some].astype(np.float64), hits[:, 1:][:, some]
        # The denominator is zero only above the first drawn image, where the fakes' weight is zero too.
        gained += np.vecdot(weight, true / np.maximum(true + reached[:, some], 1))
        lost += np.vecdot(weight, (above[:, some] + reached[:, some]).astype(np.float64))
    absent = (positives == 0) | (negatives == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = {
            "ap": gained / positives,
            "auroc": 1.0 - lost / 2.0 / (positives.astype(np.float64) * negatives),
        }
    for name, limit in (("tpr@fpr1", 0.01), ("tpr@fpr5", 0.05)):
        values[name] = found_within(hits, reached, negatives, limit)
    values["eer"] = np.array(
        [
            NAN if gone else equal_error(hits[row], above[row], reached[row], int(positives[row]), int(negatives[row]))
            for row, gone in enumerate(absent)
        ]
    )
    for value in values.values():
        value[absent] = NAN
    return values


def found_within(hits: Counts, reached: Counts, negatives: Indices, limit: float) -> Floats:
    """Return the share of fakes found at the lowest score whose false positive rate is at most `limit`, `(B,)`."""
    shares = np.full(len(hits), NAN)
    for row, reals in enumerate(negatives.tolist()):
        if reals and hits[row, -1]:
            last = np.searchsorted(reached[row], allowed_alarms(reals, limit), side="right")
            shares[row] = hits[row, last] / hits[row, -1]
    return shares


def equal_error(hits: Counts, above: Counts, reached: Counts, positives: int, negatives: int) -> float:
    """Return the equal error rate of one resample: `hits: (K + 1,)`, `above` and `reached: (K,)`.

    Bisects for the first fake score where recall and false positive rate add up to one or more. Either the reals just
    above it crossed that line at constant recall, or its own group of equal scores did, on a straight line.
    """
    low, high, whole = 0, len(above) - 1, positives * negatives
    while low < high:
        middle = (low + high) // 2
        if int(hits[middle + 1]) * negatives + int(reached[middle]) * positives >= whole:
            high = middle
        else:
            low = middle + 1
    recall, false_rate = int(hits[low]) / positives, int(above[low]) / negatives
    if int(hits[low]) * negatives + int(above[low]) * positives >= whole:
        return 1.0 - recall
    rise, run = int(hits[low + 1]) / positives - recall, int(reached[low]) / negatives - false_rate
    return false_rate + run * (1.0 - recall - false_rate) / (rise + run)


class Calibration(NamedTuple):
    """Weighted sums of one pool; they add up over the pools of a slice."""

    gap: Floats  # (B, BINS) score minus truth, summed by bin
    squared: Floats  # (B,) squared difference of score and truth
    drawn: Floats  # (B,) images, repeats counted


class CalibrationTerms(NamedTuple):
    """What each distinct score of a pool adds to the calibration sums."""

    gap: Floats  # (K,)
    squared: Floats  # (K,)
    bins: Indices  # the bins that hold a score, in the pool's order
    starts: Indices  # where each of them begins


def calibration_terms(scored: Pool, fake: bool) -> CalibrationTerms:
    """Return the terms of one pool, all of whose samples are fake or all real."""
    gap = scored.levels - float(fake)
    bins = calibration_bin(scored.levels)
    starts = np.flatnonzero(np.append(True, bins[1:] != bins[:-1]))
    return CalibrationTerms(gap, gap**2, bins[starts], starts)


def calibration_sums(weights: Weights | Counts, drawn: Counts, terms: CalibrationTerms) -> Calibration:
    """Sum the terms under each resample's `weights: (B, K)`, which add up to `drawn: (B,)`."""
    gap = np.zeros((len(weights), BINS))
    gap[:, terms.bins] = np.add.reduceat(weights * terms.gap, terms.starts, axis=1)
    # einsum and not a matrix product: the threads of BLAS would get in the way of ours.
    squared = np.einsum("bk,k->b", weights, terms.squared)
    return Calibration(gap, squared, drawn.astype(np.float64))


def calibration_values(parts: Sequence[Calibration]) -> dict[str, Floats]:
    """Return "ece" and "brier" of a slice from the sums of its pools, `(B,)` each, NaN where nothing was drawn."""
    count = sum_of([part.drawn.copy() for part in parts])
    gap = np.abs(sum_of([part.gap.copy() for part in parts])).sum(axis=1)
    squared = sum_of([part.squared.copy() for part in parts])
    with np.errstate(divide="ignore", invalid="ignore"):
        return {"ece": np.where(count > 0, gap / count, NAN), "brier": np.where(count > 0, squared / count, NAN)}
