"""Every detection metric of every slice of a set, for many resamples at once.

A slice is the whole set, or one generator's fakes with its own reals and the shared ones. Samples stand sorted by cell
(class and generator), so a slice is a few ranges, and what was counted or ranked for a cell serves every slice with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdr_bench.metrics import METRICS
from fdr_bench.metrics.detection import NAN
from fdr_bench.metrics.presorted import (
    CalibrationTerms,
    Meeting,
    Pool,
    calibration_sums,
    calibration_terms,
    calibration_values,
    meeting,
    pool,
    ranked_values,
    running,
)
from fdr_bench.metrics.resampling import Counts, Indices

Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]
NAMES = tuple(METRICS)


class Slice(NamedTuple):
    """A part of a set by the cells it holds: indices into `Cells.bounds`, each class's in rising order."""

    name: str
    reals: tuple[int, ...]
    fakes: tuple[int, ...]


class Cells(NamedTuple):
    """The ranges of samples with one class and generator: cell c is samples bounds[c] … bounds[c + 1] - 1."""

    bounds: Indices  # (C + 1,)
    slices: tuple[Slice, ...]  # "all", then one a generator


def cells_of(fake: Booleans, generator: Indices, generators: Sequence[str]) -> Cells:
    """Return the cells and slices of N samples sorted by `resampling.cells`. Generator -1 is shared by all."""
    edge = np.append(True, (fake[1:] != fake[:-1]) | (generator[1:] != generator[:-1])) if len(fake) else fake
    starts = np.flatnonzero(edge)
    whose = [(bool(fake[start]), int(generator[start])) for start in starts]

    def having(name: str, wanted: set[int]) -> Slice:
        reals = [cell for cell, (is_fake, owner) in enumerate(whose) if owner in wanted and not is_fake]
        fakes = [cell for cell, (is_fake, owner) in enumerate(whose) if owner in wanted and is_fake]
        return Slice(name, tuple(reals), tuple(fakes))

    everything = having("all", set(range(-1, len(generators))))
    ones = (having(f"generator:{name}", {-1, number}) for number, name in enumerate(generators))
    return Cells(np.append(starts, len(fake)).astype(np.int64), (everything, *ones))


class Masks(NamedTuple):
    """What one model did on N samples, as 0 or 1 in int32, `(N,)`; None is all ones."""

    reached: Counts | None
    answered: Counts | None
    right: Counts
    scored: Counts | None
    tuned_right: Counts | None  # at the validation threshold; None without one


class Presorted:
    """One model's answers to a set, sorted once: `values(weight)` gives its metrics under any weights."""

    def __init__(
        self,
        cells: Cells,
        fake: Booleans,
        *,
        reached: Booleans,
        answered: Booleans,
        called: Booleans,
        score: Floats,
        tuned_threshold: float | None = None,
    ) -> None:
        self._cells = cells
        scored = ~np.isnan(score)
        right = (called == fake) & answered
        tuned = None if tuned_threshold is None else ((score > tuned_threshold) == fake) & scored
        self._masks = Masks(
            _mask(reached),
            _mask(answered),
            right.astype(np.int32),
            _mask(scored),
            None if tuned is None else tuned.astype(np.int32),
        )
        self._pools: dict[tuple[int, ...], Pool] = {}
        self._meetings: dict[tuple[tuple[int, ...], tuple[int, ...]], Meeting] = {}
        for part in cells.slices:
            fakes, reals = _keys(part)
            for key in (*fakes, *reals, *((cell,) for cell in (*part.reals, *part.fakes))):
                samples = np.concatenate([np.arange(cells.bounds[c], cells.bounds[c + 1]) for c in key])
                if key not in self._pools and scored[samples].any():
                    self._pools[key] = pool(samples[scored[samples]], score)
            for one, other in ((f, r) for f in fakes for r in reals if f in self._pools and r in self._pools):
                self._meetings[one, other] = meeting(self._pools[one], self._pools[other])
        self._terms: dict[int, CalibrationTerms] = {
            key[0]: calibration_terms(found, bool(fake[found.samples[0]]))
            for key, found in self._pools.items()
            if len(key) == 1
        }

    def values(self, weight: Counts) -> Floats:
        """Return every metric of every slice, `(B, slices, len(NAMES))`, under `weight: (B, N)`; NaN if undefined."""
        table = np.full((len(weight), len(self._cells.slices), len(NAMES)), NAN)
        counts = self._counts(weight)
        level = {key: found.weights(weight) for key, found in self._pools.items()}
        sums = {key: running(weights) for key, weights in level.items()}
        calibrations = {cell: calibration_sums(level[cell,], terms) for cell, terms in self._terms.items()}
        for number, part in enumerate(self._cells.slices):
            values = _counted_values(counts, part)
            inside = [calibrations[cell] for cell in (*part.reals, *part.fakes) if cell in calibrations]
            if inside:
                values |= calibration_values(inside)
            fakes, reals = ([key for key in keys if key in self._pools] for keys in _keys(part))
            if fakes and reals:
                values |= ranked_values(
                    level[fakes[0]],
                    [sums[key] for key in reals],
                    [self._meetings[fakes[0], key] for key in reals],
                    hits=sums[fakes[0]],
                )
            for name, value in values.items():
                table[:, number, NAMES.index(name)] = value
        return table

    def _counts(self, weight: Counts) -> dict[str, Floats]:
        """Return the drawn images of each cell, all and those under each mask, `(B, C)` each."""
        total = self._cell_sums(weight, None)
        counts = {"total": total}
        for name, mask in self._masks._asdict().items():
            counts[name] = total if mask is None else self._cell_sums(weight, mask)
        if self._masks.tuned_right is None:
            del counts["tuned_right"]
        return counts

    def _cell_sums(self, weight: Counts, mask: Counts | None) -> Floats:
        bounds = self._cells.bounds.tolist()
        sums = np.zeros((len(weight), len(bounds) - 1))
        for cell, (start, stop) in enumerate(pairwise(bounds)):
            inside = weight[:, start:stop]
            sums[:, cell] = inside.sum(axis=1) if mask is None else np.einsum("bn,n->b", inside, mask[start:stop])
        return sums


def _mask(chosen: Booleans) -> Counts | None:
    return None if chosen.all() else chosen.astype(np.int32)


def _keys(part: Slice) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Return the pools of a slice: its fakes together, and its reals together or, for one generator, by cell.

    By cell, the shared reals are sorted and summed once for all generators.
    """
    fakes = [part.fakes] if part.fakes else []
    if part.name == "all":
        return fakes, [part.reals] if part.reals else []
    return fakes, [(cell,) for cell in part.reals]


def _counted_values(counts: Mapping[str, Floats], part: Slice) -> dict[str, Floats]:
    """Return the metrics of a slice that are shares of counts, `(B,)` each."""
    inside = [*part.reals, *part.fakes]

    def share(top: str, bottom: str, cells: Sequence[int]) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(counts[top][:, cells].sum(axis=1) / counts[bottom][:, cells].sum(axis=1))

    values = {
        "acc": share("right", "answered", inside),
        "acc@strict": share("right", "reached", inside),
        "real_acc": share("right", "answered", part.reals),
        "fake_acc": share("right", "answered", part.fakes),
        "failure_rate": 1.0 - share("answered", "reached", inside),
    }
    values["balanced_acc"] = (values["real_acc"] + values["fake_acc"]) / 2
    if "tuned_right" in counts:
        values["acc@validation"] = share("tuned_right", "scored", inside)
    return values


def macro_values(table: Floats, defined: Booleans) -> Floats:
    """Return the mean over generators of `(B, slices, M)` values, `(B, M)`.

    `defined: (slices, M)` says which values the whole set has; a resample that lacks one of those has no mean.
    """
    chosen = defined.copy()
    chosen[0] = False  # "all" is no generator
    total = np.where(chosen, table, 0.0).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(total / chosen.sum(axis=0))
