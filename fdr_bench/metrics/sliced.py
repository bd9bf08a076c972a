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
from fdr_bench.metrics.resampling import Counts, Indices, Weights

Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]
NAMES = tuple(METRICS)
Key = tuple[int, ...]  # the cells whose samples are ranked together


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

    everything = having("all", {owner for _, owner in whose})
    ones = (having(f"generator:{name}", {-1, number}) for number, name in enumerate(generators))
    return Cells(np.append(starts, len(fake)).astype(np.int64), (everything, *ones))


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
        forced: Booleans | None = None,
        tuned_threshold: float | None = None,
    ) -> None:
        self._cells = cells
        self._pools: dict[Key, Pool] = {}
        self._meetings: dict[tuple[Key, Key], Meeting] = {}
        scored = ~np.isnan(score)
        for part in cells.slices:
            fakes, reals = _keys(part)
            for key in (*fakes, *reals, *((cell,) for cell in (*part.reals, *part.fakes))):
                samples = np.concatenate([np.arange(cells.bounds[c], cells.bounds[c + 1]) for c in key])
                if key not in self._pools and scored[samples].any():
                    self._pools[key] = pool(samples[scored[samples]], score)
            for one, other in ((f, r) for f in fakes for r in reals if f in self._pools and r in self._pools):
                self._meetings[one, other] = meeting(self._pools[one], self._pools[other])
        alone = {key[0]: found for key, found in self._pools.items() if len(key) == 1}
        self._fakes = frozenset(cell for part in cells.slices for cell in part.fakes)
        self._terms = {cell: calibration_terms(found, cell in self._fakes) for cell, found in alone.items()}
        self._unscored = [
            start + np.flatnonzero(~scored[start:stop]) for start, stop in pairwise(cells.bounds.tolist())
        ]
        self._cuts: dict[str, Mapping[int, int]] = {}
        if tuned_threshold is not None:
            self._cuts["tuned_right"] = {cell: found.above(tuned_threshold) for cell, found in alone.items()}
        self._masks = {"reached": reached}
        cuts = {cell: found.cut(called) for cell, found in alone.items()}
        if np.array_equal(answered, scored) and None not in cuts.values():
            self._cuts["right"] = {cell: cut for cell, cut in cuts.items() if cut is not None}
        else:  # there are verdicts, which need not follow the scores
            self._masks |= {"answered": answered, "right": (called == fake) & answered}
        self._masks = {name: mask for name, mask in self._masks.items() if not mask.all()}
        if forced is not None and forced.any():
            self._masks["forced"] = forced

    def values(self, weight: Weights) -> Floats:
        """Return every metric of every slice, `(B, slices, len(NAMES))`, under `weight: (B, N)`; NaN if undefined."""
        table = np.full((len(weight), len(self._cells.slices), len(NAMES)), NAN)
        level = {key: found.weights(weight) for key, found in self._pools.items()}
        sums = {key: running(weights) for key, weights in level.items()}
        counts = self._counts(weight, sums)
        calibrations = {
            cell: calibration_sums(level[cell,], sums[cell,][:, -1], terms) for cell, terms in self._terms.items()
        }
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

    def _counts(self, weight: Weights, sums: Mapping[Key, Counts]) -> dict[str, Floats]:
        """Return the drawn images of each cell that are reached, answered, scored, right …, `(B, C)` each."""
        scored = np.zeros((len(weight), len(self._unscored)))
        for cell in self._terms:
            scored[:, cell] = sums[cell,][:, -1]
        total = scored.copy()
        for cell, others in enumerate(self._unscored):
            total[:, cell] += weight[:, others].sum(axis=1, dtype=np.int32)
        none = np.zeros_like(scored)
        counts = {"scored": scored, "reached": total, "answered": total, "right": total, "forced": none}
        if "right" in self._cuts:
            counts["answered"] = scored
        for name, mask in self._masks.items():
            counts[name] = self._cell_sums(weight, mask)
        for name, cuts in self._cuts.items():
            counts[name] = np.zeros_like(total)
            for cell, above in cuts.items():
                called = sums[cell,][:, above]
                counts[name][:, cell] = called if cell in self._fakes else scored[:, cell] - called
        return counts

    def _cell_sums(self, weight: Weights, mask: Booleans) -> Floats:
        sums = np.zeros((len(weight), len(self._unscored)))
        for cell, (start, stop) in enumerate(pairwise(self._cells.bounds.tolist())):
            sums[:, cell] = (weight[:, start:stop] * mask[start:stop]).sum(axis=1, dtype=np.int32)
        return sums


def _keys(part: Slice) -> tuple[list[Key], list[Key]]:
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
        "forced_score_rate": share("forced", "scored", inside),
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
