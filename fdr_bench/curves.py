"""Write the curves that a board draws of each model on each set: RUN/curves.json.

Each entry has model, dataset, n (scored images of both classes) and
    roc    [[false positive rate, true positive rate], …] from (0, 0) to (1, 1)
    pr     [[recall, precision], …] by rising recall, one point a threshold: steps, no straight lines between
    bins   [{"score", "fake", "n", "low", "high"}, …] of the reliability diagram: mean P(fake) and share of fakes in
           each of fifteen equal bins that holds images, with the 95 % Wilson interval of the share
Curves are thinned to what can be seen: no two kept points of a curve lie nearer than 1/250 of it, but for its ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fdr_bench.answered_sets import read_plan, read_set
from fdr_bench.metrics.calibration import BINS, calibration_bin
from fdr_bench.metrics.detection import Booleans, Floats, operating_points
from fdr_bench.store import Row, write_json

POINTS = 250
NORMAL_975 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


def write_curves(run: Path) -> int:
    """Write curves.json of a run from its predictions; return the number of models × sets that have any.

    A model without scores, or whose scored images are all of one class, has no curve. Raises `RunError` where the
    folder is no run or a line of it is damaged.
    """
    plan = read_plan(run)
    entries: list[Row] = []
    for dataset in plan.fingerprints:
        models = [name for name in plan.thresholds if not plan.skipped & {(name, None), (name, dataset)}]
        if not models:
            continue
        this = read_set(run, plan, dataset, models)
        for model, answers in this.answers.items():
            scored = ~np.isnan(answers.score)
            fake, score = this.fake[scored], answers.score[scored]
            if fake.any() and not fake.all():
                entries.append({"model": model, "dataset": dataset, "n": len(fake), **curves(fake, score)})
    write_json(run / "curves.json", {"schema": 1, "curves": entries})
    return len(entries)


def curves(fake: Booleans, score: Floats) -> Row:
    """Return the three curves of `fake, score: (N,)`, both classes present."""
    points = operating_points(fake, score)
    found, alarms = points.true_positives, points.false_positives
    fakes, reals = int(fake.sum()), int((~fake).sum())
    roc = np.stack([np.append(0, alarms) / reals, np.append(0, found) / fakes], axis=1)
    pr = np.stack([found / fakes, found / (found + alarms)], axis=1)
    return {"roc": _thinned(roc), "pr": _thinned(pr), "bins": reliability(fake, score)}


def reliability(fake: Booleans, score: Floats) -> list[Row]:
    """Return the bins that hold images, by rising score."""
    place = calibration_bin(score)
    counts = np.bincount(place, minlength=BINS)
    scores, fakes = (np.bincount(place, weights=values, minlength=BINS) for values in (score, fake))
    rows = []
    for bin in np.flatnonzero(counts).tolist():
        n = int(counts[bin])
        low, high = wilson(int(fakes[bin]), n)
        rows.append({
            "score": round(float(scores[bin]) / n, 5), "fake": round(float(fakes[bin]) / n, 5), "n": n,
            "low": round(low, 5), "high": round(high, 5),
        })  # fmt: skip
    return rows


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson, JASA 22, 1927). `n` is at least 1."""
    square = NORMAL_975**2
    centre = (hits + square / 2) / (n + square)
    half = NORMAL_975 / (n + square) * math.sqrt(hits * (n - hits) / n + square / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def _thinned(curve: NDArray[np.float64]) -> list[list[float]]:
    """Return the points of a curve `(K, 2)` without those that lie closer to the last kept one than can be seen."""
    kept: list[Sequence[float]] = []
    for number, point in enumerate(curve.tolist()):
        ends = number in (0, len(curve) - 1)
        if ends or max(abs(point[0] - kept[-1][0]), abs(point[1] - kept[-1][1])) >= 1 / POINTS:
            kept.append(point)
    return [[round(x, 5), round(y, 5)] for x, y in kept]
