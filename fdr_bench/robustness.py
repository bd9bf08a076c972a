"""How models bear perturbations: a curve over each family's levels with its area, and what file formats gave away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdr_bench.answered_sets import AnsweredSet, Plan, read_plan, read_set
from fdr_bench.answers import read_labels
from fdr_bench.data.perturbed import ALIGNED
from fdr_bench.errors import RunError, UsageError
from fdr_bench.metrics.statistics import mcnemar
from fdr_bench.perturbations import FAMILIES, Perturbation
from fdr_bench.store import Row, read_scores, write_json

FILE = "robustness.json"
METRICS = ("acc", "balanced_acc", "ap", "auroc")
Scores = Mapping[tuple[str, str, str], Row]  # (model, dataset, metric) -> the row over all samples


class Changed(NamedTuple):
    """A set of a run that was made of another: its name, and the perturbation; None of an aligned one."""

    dataset: str
    base: str
    perturbation: Perturbation | None


def robustness(run: Path, *, metric: str = "acc") -> tuple[list[Row], list[Row]]:
    """Return the curves, and the comparisons of aligned with original formats, of a scored run.

    A curve is a row {model, dataset, family, metric, points, area, reason}; its points {level, strength, value,
    interval, n, n_missing} begin with the unchanged images (level None, strength 0). The area is that under straight
    lines between the points, over the strength and divided by the largest: the mean of the metric along the way. None,
    with a reason, where a point has no value or none has a strength. Raises `RunError` where the run has neither, or an
    aligned set is not of its base's samples; `UsageError` for another metric.
    """
    if metric not in METRICS:
        raise UsageError(f"robustness is told of {', '.join(METRICS)}, not of '{metric}'")
    plan = read_plan(run)
    changed = changed_sets(plan.fingerprints)
    if not changed:
        raise RunError(
            f"{run} has no perturbed or aligned sets: run with --perturb jpeg:95..30 or --align-format jpeg:95."
        )
    scores = {(row["model"], row["dataset"], row["metric"]): row for row in read_scores(run) if row["slice"] == "all"}
    models = dict.fromkeys(model for model, _, name in scores if name == metric)
    curves = []
    for base, family in dict.fromkeys((each.base, each.perturbation.family) for each in changed if each.perturbation):
        mine = [each for each in changed if each.base == base and each.perturbation]
        steps = {
            each.dataset: each.perturbation for each in mine if each.perturbation and each.perturbation.family == family
        }
        curves += [
            _curve(scores, model, base, family, metric, steps) for model in models if (model, base, metric) in scores
        ]
    return curves, [row for each in changed if each.perturbation is None for row in _aligned(run, plan, each)]


def write_robustness(run: Path) -> int:
    """Write robustness.json of a scored run, for boards: ACC's curves and what formats gave away; return how many.

    `sets` in it are the perturbed sets, which the curves stand for. A run without perturbed or aligned sets has no such
    file. Raises `RunError` where the run has not been scored.
    """
    changed = changed_sets(read_plan(run).fingerprints)
    if not changed:
        (run / FILE).unlink(missing_ok=True)
        return 0
    curves, aligned = robustness(run)
    perturbed = [each.dataset for each in changed if each.perturbation]
    write_json(run / FILE, {"schema": 1, "curves": curves, "aligned": aligned, "sets": perturbed})
    return len(curves) + len(aligned)


def changed_sets(names: Iterable[str]) -> list[Changed]:
    """Return the sets among `names` that are called "BASE~FAMILY-LEVEL" or "BASE~aligned-…", their base being there."""
    known, found = list(names), []
    for name in known:
        base, mark, label = name.rpartition("~")
        family, _, level = label.partition("-")
        if not mark or base not in known:
            continue
        if family == ALIGNED:
            found.append(Changed(name, base, None))
        elif family in FAMILIES:
            try:
                number = float(level)
            except ValueError:
                continue
            if FAMILIES[family].low <= number <= FAMILIES[family].high:
                found.append(Changed(name, base, Perturbation(family, number)))
    return found


def _curve(scores: Scores, model: str, base: str, family: str, metric: str, steps: Mapping[str, Perturbation]) -> Row:
    ordered = sorted(steps, key=lambda dataset: steps[dataset].strength)
    points = [_point(scores.get((model, base, metric)), None, 0.0)]
    points += [
        _point(scores.get((model, dataset, metric)), steps[dataset].level, steps[dataset].strength)
        for dataset in ordered
    ]
    without = [point for point in points if point["value"] is None]
    area = None if without else curve_area([p["strength"] for p in points], [p["value"] for p in points])
    reason = None
    if without:
        level = "the unchanged images" if without[0]["level"] is None else f"{family} {without[0]['level']:g}"
        reason = f"{metric} at {level}: {without[0]['reason']}"
    elif area is None:
        reason = "the only level does nothing, so there is no way to take the mean along"
    row = {"model": model, "dataset": base, "family": family, "metric": metric, "points": points}
    return {**row, "area": area, "reason": reason}


def _point(score: Row | None, level: float | None, strength: float) -> Row:
    if score is None:
        found: Row = {"value": None, "interval": None, "n": 0, "n_missing": 0, "reason": "not scored"}
    else:
        found = {name: score.get(name) for name in ("value", "interval", "n", "n_missing", "reason")}
    return {"level": level, "strength": strength, **found}


def curve_area(strengths: Sequence[float], values: Sequence[float]) -> float | None:
    """Return the mean height of the straight lines through the points, (N,) ascending; None for fewer than two.

    Trapezoid rule over the strength, divided by its range: a constant metric has itself as its area.
    """
    x, y = np.asarray(strengths, dtype=np.float64), np.asarray(values, dtype=np.float64)
    width = float(x[-1] - x[0]) if len(x) else 0.0
    return float(((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2).sum() / width) if width > 0 else None


def _aligned(run: Path, plan: Plan, changed: Changed) -> list[Row]:
    """Return for each model its ACC on the same images in their own formats and in one, with the exact McNemar test."""
    rows = []
    for model, threshold in plan.thresholds.items():
        if plan.skipped & {(model, None), (model, changed.base), (model, changed.dataset)}:
            continue
        own, one = (read_set(run, plan, name, [model]) for name in (changed.base, changed.dataset))
        if _samples(own) != _samples(one):
            raise RunError(
                f"{run}: {changed.dataset} has other samples than {changed.base}, so that no image has a pair. "
                "Run both anew."
            )
        before, after = own.answers[model], one.answers[model]
        both: NDArray[np.bool_] = before.answered & after.answered
        right = [(answers.called(threshold) == this.fake)[both] for answers, this in ((before, own), (after, one))]
        row: Row = {"model": model, "dataset": changed.base, "aligned": changed.dataset.rpartition("~")[2]}
        row |= {"original": None, "in_one_format": None, "difference": None, "p": None}
        if both.any():
            first, second = float(right[0].mean()), float(right[1].mean())
            p = float(mcnemar(right[0], right[1]).p_value)
            row |= {"original": first, "in_one_format": second, "difference": second - first, "p": p}
        rows.append({**row, "n": int(both.sum()), "n_missing": int((~both).sum())})
    return rows


def _samples(this: AnsweredSet) -> list[tuple[str, bool]]:
    ids = read_labels(this.samples).ids.take(this.order).to_pylist()
    return list(zip(ids, this.fake.tolist(), strict=True))
