"""Reasoning metrics of each slice of a set, for models and beside them for texts that no image went into.

A slice's value is a ratio of two sums over its samples (see `text_terms`), so a resample's value is the ratio of the
weighted sums. The draws are those of the detection metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fdr_bench.answered_sets import AnsweredSet
from fdr_bench.answered_texts import References
from fdr_bench.errors import WeightsError
from fdr_bench.judge.marks import StoredJudge, judged_terms
from fdr_bench.metrics.resampling import Weights, clusters, logit_interval, percentile_interval, resampled
from fdr_bench.metrics.sliced import Cells, Slice, macro_values
from fdr_bench.metrics.text_metrics import NEEDS, TEXT_METRICS
from fdr_bench.scored_slices import Settings, View
from fdr_bench.text_terms import SetTexts, Terms, Texts
from fdr_bench.types import Interval, Score

if TYPE_CHECKING:
    from fdr_bench.metrics.sentences import SentenceEncoder

Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]
Table = Mapping[str, Mapping[str, Terms]]  # giver -> metric -> terms


def text_scores(
    this: AnsweredSet,
    references: References,
    views: Mapping[str, View],
    parts: Cells,
    settings: Settings,
    threads: int,
    judges: Sequence[StoredJudge] = (),
) -> list[Score]:
    """Return every reasoning score of the models in `views`, then of the baselines where the set has references.

    Marks that `judges` gave stand behind the other metrics of a model.

    Slices stand as for detection: "all", one a generator, "macro".
    """
    texts = SetTexts(references, this.fake, packaged_encoder(), seed=settings.seed)
    table: dict[str, Mapping[str, Terms]] = {}
    for name, view in views.items():
        mine = written_texts(view)
        marks = judged_terms(judges, this.dataset, name, references.ids, mine, texts.given)
        table[name] = texts.terms(mine) | marks
    if texts.given.any():
        table |= {name: texts.terms(written) for name, written in texts.baselines.items()}
    rows = {
        giver: [slice_text_scores(this, giver, terms, parts, part) for part in parts.slices]
        for giver, terms in table.items()
    }
    if this.generators:
        for giver, terms in table.items():
            rows[giver].append(_macro_scores(this, giver, terms, rows[giver]))
    if settings.resamples and len(this.fake):
        rows = _with_intervals(this, table, rows, parts, settings, threads)
    return [score for of_giver in rows.values() for row in of_giver for score in row]


def packaged_encoder() -> SentenceEncoder | str:
    """Return the packaged encoder, or why it cannot be had."""
    from fdr_bench.metrics.sentences import minilm

    try:
        return minilm()
    except WeightsError as error:
        return str(error)


def written_texts(view: View) -> Texts:
    """Return a model's texts. One without an answer beside it is not usable."""
    given = view.this.answers[view.model].reasoning
    texts = [None] * len(view.reached) if given is None else given.to_pylist()
    usable = np.array([text is not None for text in texts], dtype=np.bool_) & view.answered
    written = [text if use and text else "" for text, use in zip(texts, usable.tolist(), strict=True)]
    return Texts(written, usable, view.reached, view.called)


def _inside(parts: Cells, part: Slice, count: int) -> Booleans:
    inside = np.zeros(count, dtype=np.bool_)
    for cell in (*part.reals, *part.fakes):
        inside[parts.bounds[cell] : parts.bounds[cell + 1]] = True
    return inside


def slice_text_scores(
    this: AnsweredSet, giver: str, table: Mapping[str, Terms], parts: Cells, part: Slice
) -> list[Score]:
    inside = _inside(parts, part, len(this.fake))
    scores = []
    for name, terms in table.items():
        bottom = float(terms.bottom[inside].sum())
        reason = _why_undefined(name, terms, inside, bottom)
        value = reason or float(terms.top[inside].sum()) / bottom
        scores.append(_score(this, giver, part.name, name, value, terms, inside))
    return scores


def _score(
    this: AnsweredSet, giver: str, part: str, metric: str, value: float | str, terms: Terms, inside: Booleans
) -> Score:
    counted = int((terms.counted & inside).sum())
    return Score(
        model=giver,
        dataset=this.dataset,
        slice=part,
        metric=metric,
        value=None if isinstance(value, str) else value,
        reason=value if isinstance(value, str) else None,
        n=counted,
        n_missing=int((terms.relevant & inside & ~terms.usable).sum()),
    )


def _why_undefined(name: str, terms: Terms, inside: Booleans, bottom: float) -> str:
    """Return why a metric does not exist on a slice; empty where it does."""
    metric = TEXT_METRICS.get(name)
    if not inside.any():
        return "no images in this slice"
    if terms.reason:
        return terms.reason
    relevant = terms.relevant & inside
    if metric is None:  # a judge's
        return "" if bottom else f"the judge marked none of {int(relevant.sum())} samples here"
    if not relevant.any():
        return f"the set gives no {NEEDS[metric.needs]} here"
    if not (terms.counted & inside).any():
        if metric.strict or metric.needs == "shown":
            return "not reached yet: the run has no rows of these images"
        return f"no usable reasoning: none of {int(relevant.sum())} images has a text and an answer"
    return "" if bottom else "the texts make no claim that this could be taken of"


def _macro_scores(
    this: AnsweredSet, giver: str, table: Mapping[str, Terms], rows: Sequence[Sequence[Score]]
) -> list[Score]:
    """Return the unweighted mean of each metric over the generators with fakes where it is defined."""
    with_fakes = sorted(set(this.generator[this.fake].tolist()) - {-1})
    scores = []
    for column, (name, terms) in enumerate(table.items()):
        ones = {number: rows[number + 1][column] for number in with_fakes}
        values = {number: score.value for number, score in ones.items() if score.value is not None}
        reasons = sorted({score.reason for score in ones.values() if score.reason})
        several = "undefined for every generator, for several reasons" if reasons else "no generator has fakes"
        value = float(np.mean(list(values.values()))) if values else reasons[0] if len(reasons) == 1 else several
        over = np.isin(this.generator, [-1, *(values or ones)])
        scores.append(_score(this, giver, "macro", name, value, terms, over))
    return scores


def _with_intervals(
    this: AnsweredSet,
    table: Table,
    rows: Mapping[str, Sequence[Sequence[Score]]],
    parts: Cells,
    settings: Settings,
    threads: int,
) -> dict[str, list[list[Score]]]:
    """Return the scores with their intervals, all givers resampled on the same draws."""
    columns = [terms for of_giver in table.values() for terms in of_giver.values()]
    sums = np.stack([each.top for each in columns] + [each.bottom for each in columns], axis=1)  # (N, 2 · columns)
    drawn = resampled(
        clusters(this.fake, this.generator, this.content),
        resamples=settings.resamples,
        seed=settings.seed,
        threads=threads,
        values=lambda weight: ratios(weight, sums, parts),
    )
    values = np.concatenate(drawn)  # (resamples, slices, columns)
    found: dict[str, list[list[Score]]] = {}
    start = 0
    for giver, of_giver in rows.items():
        mine = values[:, :, start : start + len(table[giver])]
        start += len(table[giver])
        if this.generators:
            defined = np.array([[score.value is not None for score in row] for row in of_giver[:-1]])
            defined[1:] &= np.array([[bool(part.fakes)] for part in parts.slices[1:]])
            mine = np.concatenate([mine, macro_values(mine, defined)[:, None]], axis=1)
        found[giver] = [
            [
                replace(score, interval=_interval(score, mine[:, place, column], settings))
                for column, score in enumerate(row)
            ]
            for place, row in enumerate(of_giver)
        ]
    return found


def ratios(weight: Weights, sums: Floats, parts: Cells) -> Floats:
    """Return every column's value on every slice under `weight: (B, N)`, (B, slices, columns); NaN if undefined."""
    cells = np.stack(
        [
            weight[:, start:stop].astype(np.float64) @ sums[start:stop]
            for start, stop in pairwise(parts.bounds.tolist())
        ],
        axis=1,
    )  # (B, cells, 2 · columns)
    of_slices = np.stack([cells[:, [*part.reals, *part.fakes]].sum(axis=1) for part in parts.slices], axis=1)
    half = sums.shape[1] // 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(of_slices[:, :, :half] / of_slices[:, :, half:])


def _interval(score: Score, values: Floats, settings: Settings) -> Interval | None:
    if score.value is None or score.n < 2:
        return None
    if score.metric.endswith("@above-blind") or score.metric.startswith("css"):  # may be negative
        return percentile_interval(values, level=settings.level, method=settings.method)
    return logit_interval(score.value, values, level=settings.level, method=settings.method)
