"""Two models' answers to the same images: the difference of each metric, its interval, and what chance would give.

Both are resampled on the same draws (see `metrics.resampling`), so what makes an image hard for both cancels out.
Shares of images have the exact McNemar test besides; the other metrics a normal test by the resamples' standard error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdr_bench.metrics import METRICS
from fdr_bench.metrics.resampling import Weights, clusters, percentile_interval, resampled
from fdr_bench.metrics.sliced import NAMES, Cells, Presorted, Slice, macro_values
from fdr_bench.metrics.statistics import mcnemar
from fdr_bench.metrics.text_metrics import TEXT_METRICS
from fdr_bench.scored_slices import Settings, View, macro_scores, slice_scores
from fdr_bench.scored_texts import ratios
from fdr_bench.types import Interval, Score

Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]
SHARES = ("acc", "acc@strict", "real_acc", "fake_acc", "failure_rate")  # each image is right or not: McNemar's test
NOTHING = 1e-12  # a difference below it is rounding


class Sums(NamedTuple):
    """One metric of reasoning on each sample: its value is the sum of `top` over that of `bottom`."""

    top: Floats  # (N,)
    bottom: Floats  # (N,) 0 where the sample does not count


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """One metric of one slice, of two models: `difference` is the second's value less the first's.

    `n` are the images that both values rest on. Where either value is undefined, so is the difference, and `reason`
    says why. `only_first` and `only_second` are the distinct images that one alone has right (shares only).
    """

    slice: str
    metric: str
    first: float | None
    second: float | None
    difference: float | None
    interval: Interval | None = None
    p_value: float | None = None
    only_first: int | None = None
    only_second: int | None = None
    n: int
    reason: str | None = None

    @property
    def gain(self) -> float | None:
        """The difference with the sign that makes an improvement positive."""
        if self.difference is None:
            return None
        return self.difference if higher_is_better(self.metric) else -self.difference


def higher_is_better(metric: str) -> bool:
    """Return which way a metric improves. Raises `KeyError` for a metric that is none."""
    return METRICS[metric].higher_is_better if metric in METRICS else TEXT_METRICS[metric].higher_is_better


def paired_detection(
    first: View, second: View, parts: Cells, *, metrics: Sequence[str], settings: Settings, threads: int = 1
) -> list[Paired]:
    """Compare two models' detection on the same samples: every slice, "macro" after the generators, × `metrics`.

    Both views must be of sets with the same samples in the same order.
    """
    this = first.this
    rows = [_tables(view, parts) for view in (first, second)]
    drawn = None
    if settings.resamples and len(this.fake):
        models = [_presorted(view, parts) for view in (first, second)]
        values = resampled(
            clusters(this.fake, this.generator, this.content),
            resamples=settings.resamples,
            seed=settings.seed,
            threads=threads,
            values=lambda weight: np.stack([model.values(weight) for model in models], axis=1),
        )
        drawn = np.concatenate(values)  # (resamples, 2, slices, metrics)
    columns = [NAMES.index(name) for name in metrics]
    slices: list[Slice | None] = [*parts.slices, *([None] if this.generators else [])]
    found = []
    for place, part in enumerate(slices):
        inside = first.inside(parts, part) if part else np.ones_like(this.fake)
        for column in columns:
            one, other = rows[0][place][column], rows[1][place][column]
            both = first.population(METRICS[one.metric]) & second.population(METRICS[one.metric])
            relevant = inside & both & first.wanted(METRICS[one.metric])
            values_of = None if drawn is None else _differences(drawn, rows, parts, place, column)
            found.append(
                _paired(
                    part.name if part else "macro",
                    one.metric,
                    (one.value, other.value),
                    values_of,
                    relevant=relevant,
                    content=this.content,
                    right=_right(first, second, one.metric) if part else None,
                    reason=one.reason or other.reason,
                    settings=settings,
                )
            )
    return found


def paired_reasoning(
    first: Mapping[str, Sums], second: Mapping[str, Sums], view: View, parts: Cells, *, settings: Settings
) -> list[Paired]:
    """Compare two models' reasoning in the metrics that both have: slices × metrics, without "macro".

    `view` says which samples there are; the sums stand in its order. 0 resamples: no intervals and no p-values.
    """
    names = [name for name in first if name in second]
    if not names:
        return []
    this = view.this
    tables = [np.stack([of[name] for name in names]) for of in (first, second)]  # (metrics, 2, N)
    sums = [np.concatenate([table[:, 0], table[:, 1]]).T for table in tables]  # (N, 2 · metrics)

    def values(weight: Weights) -> Floats:
        return np.stack([ratios(weight, each, parts) for each in sums], axis=1)

    drawn = None
    if settings.resamples and len(this.fake):
        groups = clusters(this.fake, this.generator, this.content)
        draws = resampled(groups, resamples=settings.resamples, seed=settings.seed, threads=1, values=values)
        drawn = np.concatenate(draws)  # (resamples, 2, slices, metrics)
    whole = values(np.ones((1, len(this.fake)), dtype=np.uint8))[0]
    found = []
    for place, part in enumerate(parts.slices):
        inside = view.inside(parts, part)
        for column, name in enumerate(names):
            pair = [None if np.isnan(value) else float(value) for value in whole[:, place, column]]
            counted = (first[name].bottom > 0) & (second[name].bottom > 0) & inside
            found.append(
                _paired(
                    part.name,
                    name,
                    (pair[0], pair[1]),
                    None if drawn is None else drawn[:, 1, place, column] - drawn[:, 0, place, column],
                    relevant=counted,
                    content=this.content,
                    right=None,
                    reason=None if None not in pair else "no text here that the metric could be taken of",
                    settings=settings,
                )
            )
    return found


def right_of(view: View) -> Booleans:
    """Return where a model is right in the strict reading, `(N,)`: answered, and called what it is."""
    return np.asarray(view.answered & (view.called == view.this.fake), dtype=np.bool_)


def _tables(view: View, parts: Cells) -> list[list[Score]]:
    rows = [slice_scores(view, parts, part) for part in parts.slices]
    return [*rows, macro_scores(view, rows)] if view.this.generators else rows


def _presorted(view: View, parts: Cells) -> Presorted:
    return Presorted(
        parts,
        view.this.fake,
        reached=view.reached,
        answered=view.answered,
        called=view.called,
        score=view.score,
        forced=view.forced,
    )


def _differences(
    drawn: Floats, rows: Sequence[Sequence[Sequence[Score]]], parts: Cells, place: int, column: int
) -> Floats:
    """Return the second's value less the first's in each resample, `(resamples,)`, of one slice or of "macro"."""
    if place < drawn.shape[2]:
        return np.asarray(drawn[:, 1, place, column] - drawn[:, 0, place, column])
    sides = []
    for side, table in enumerate(rows):
        defined = np.array([[score.value is not None for score in row] for row in table[:-1]])
        defined[1:] &= np.array([[bool(part.fakes)] for part in parts.slices[1:]])
        sides.append(macro_values(drawn[:, side], defined)[:, column])
    return np.asarray(sides[1] - sides[0])


def _right(first: View, second: View, metric: str) -> tuple[Booleans, Booleans] | None:
    if metric not in SHARES:
        return None
    if metric == "failure_rate":
        return first.answered, second.answered
    return right_of(first), right_of(second)


def _paired(
    part: str,
    metric: str,
    values: tuple[float | None, float | None],
    drawn: Floats | None,
    *,
    relevant: Booleans,
    content: NDArray[np.int64],
    right: tuple[Booleans, Booleans] | None,
    reason: str | None,
    settings: Settings,
) -> Paired:
    n = int(relevant.sum())
    if values[0] is None or values[1] is None or not n:
        why = reason or "no image that both answered"
        return Paired(slice=part, metric=metric, first=values[0], second=values[1], difference=None, n=n, reason=why)
    difference = values[1] - values[0]
    chosen = np.flatnonzero(relevant)
    chosen = chosen[np.unique(content[chosen], return_index=True)[1]]  # identical bytes are one observation
    interval, p_value = None, None
    only: tuple[int | None, int | None] = (None, None)
    if drawn is not None:
        method = f"paired {settings.method}"
        interval = percentile_interval(drawn, level=settings.level, method=method)
        p_value = normal_p(difference, drawn, len(chosen)) if interval else None
    if right is not None:
        test = mcnemar(right[0][chosen], right[1][chosen])
        only, p_value = (test.only_first, test.only_second), test.p_value
    return Paired(
        slice=part,
        metric=metric,
        first=values[0],
        second=values[1],
        difference=difference,
        interval=interval,
        p_value=p_value,
        only_first=only[0],
        only_second=only[1],
        n=n,
    )


def normal_p(difference: float, drawn: Floats, observations: int) -> float:
    """Return the two-sided p-value of no difference by the standard error of the resampled differences `(B,)`.

    Never under 2^(1 - observations), the least that exchanging the two models image by image could give.
    """
    if abs(difference) < NOTHING:
        return 1.0
    error = float(np.nanstd(drawn, ddof=1)) if len(drawn) > 1 else 0.0
    p_value = 2.0 * NormalDist().cdf(-abs(difference) / error) if error > NOTHING else 0.0
    return float(min(1.0, max(p_value, 2.0 ** (1 - observations))))
