"""Score a run folder: predictions × metrics × slices -> scores.json. Needs no model, no image and no network.

Two readings of images without an answer stand side by side: *official* leaves them out and says how many (n_missing),
*strict* (`acc@strict`) counts them as wrong. A model that by its card states verdicts answers by these; a score without
one counts in the metrics of scores alone. What was not reached yet in an unfinished run counts in n_missing only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fdr_bench.answered_sets import AnsweredSet, Plan, Tuning, read_plan, read_set
from fdr_bench.errors import UsageError
from fdr_bench.metrics import METRICS
from fdr_bench.metrics.resampling import (
    alike_interval,
    clusters,
    debiased_interval,
    logit_interval,
    resampled,
)
from fdr_bench.metrics.sliced import Cells, Presorted, cells_of, macro_values
from fdr_bench.scored_slices import Settings, View, macro_scores, slice_scores
from fdr_bench.types import Interval, Score

SCHEMA = 1
SHARES = (  # of images, each of them one or the other
    "acc", "acc@strict", "real_acc", "fake_acc", "acc@validation", "failure_rate", "forced_score_rate",
)  # fmt: skip
Floats = NDArray[np.float64]


def score_run(
    run: Path,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    validation: Path | None = None,
    threads: int | None = None,
) -> list[Score]:
    """Score every model on every set of a run, write scores.json atomically and return the scores.

    `validation` is another run of the same models; acc@validation uses the thresholds found there. 0 resamples: no
    intervals. `threads` changes the time only (None: one a core, up to eight). Raises `RunError` where the folder is no
    run or a line of it is damaged.
    """
    if resamples < 0 or not 0 < level < 1:
        raise UsageError(f"{resamples} resamples at level {level}: expected 0 or more, and a level between 0 and 1.")
    plan = read_plan(run)
    tuned = Tuning(plan, validation)
    settings = Settings(resamples, level, seed)
    scores: list[Score] = []
    partial: list[dict[str, object]] = []
    for dataset in plan.fingerprints:
        models = [name for name in plan.thresholds if not plan.skipped & {(name, None), (name, dataset)}]
        if not models:
            continue
        this = read_set(run, plan, dataset, models)
        for model, answers in this.answers.items():
            if not answers.reached.all():
                rows = int(answers.reached.sum())
                partial.append({"model": model, "dataset": dataset, "rows": rows, "samples": len(answers.reached)})
        thresholds = {model: tuned.threshold(model, dataset) for model in models}
        workers = threads or min(os.cpu_count() or 1, 8)
        scores += score_set(this, plan.thresholds, thresholds, settings, workers)
        scores += score_reasoning(run, this, plan, settings, workers)
    write_scores(run / "scores.json", plan.run, settings, validation, partial, scores)
    return scores


def score_set(
    this: AnsweredSet,
    thresholds: Mapping[str, float],
    tuned: Mapping[str, float | str],
    settings: Settings,
    threads: int,
) -> list[Score]:
    """Return every score of one set: models × slices × metrics, "macro" after the generators."""
    parts = cells_of(this.fake, this.generator, this.generators)
    views = {model: View.of(this, model, thresholds[model], tuned[model]) for model in this.answers}
    table: dict[str, list[list[Score]]] = {}
    for model, view in views.items():
        table[model] = [slice_scores(view, parts, part) for part in parts.slices]
        if this.generators:
            table[model].append(macro_scores(view, table[model]))
    if settings.resamples and len(this.fake):
        intervals = set_intervals(parts, views, table, settings, threads)
        for model, rows in table.items():
            table[model] = [
                [replace(score, interval=interval) for score, interval in zip(row, found, strict=True)]
                for row, found in zip(rows, intervals[model], strict=True)
            ]
    return [score for rows in table.values() for row in rows for score in row]


def score_reasoning(run: Path, this: AnsweredSet, plan: Plan, settings: Settings, threads: int) -> list[Score]:
    """Return the reasoning scores of the models that give any, and of texts that no image went into; else nothing.

    The libraries that it takes are imported where a model reasons, and not before.
    """
    models = [name for name, given in this.answers.items() if name in plan.reasoning or given.reasoning is not None]
    if not models:
        return []
    from fdr_bench.answered_texts import read_references
    from fdr_bench.judge.marks import stored_judges
    from fdr_bench.scored_texts import text_scores

    references = read_references(this.samples, this.order.tolist())
    views = {model: View.of(this, model, plan.thresholds[model], "") for model in models}
    parts = cells_of(this.fake, this.generator, this.generators)
    return text_scores(this, references, views, parts, settings, threads, stored_judges(run))


def set_intervals(
    parts: Cells,
    views: Mapping[str, View],
    table: Mapping[str, Sequence[Sequence[Score]]],
    settings: Settings,
    threads: int,
) -> dict[str, list[list[Interval | None]]]:
    """Return the interval of each score in `table`, all models resampled on the same draws."""
    presorted = [
        Presorted(
            parts,
            view.this.fake,
            reached=view.reached,
            answered=view.answered,
            called=view.called,
            score=view.score,
            forced=view.forced,
            tuned_threshold=None if isinstance(view.tuned, str) else view.tuned,
        )
        for view in views.values()
    ]
    this = next(iter(views.values())).this
    drawn = resampled(
        clusters(this.fake, this.generator, this.content),
        resamples=settings.resamples,
        seed=settings.seed,
        threads=threads,
        values=lambda weight: np.stack([model.values(weight) for model in presorted], axis=1),
    )
    values = np.concatenate(drawn)  # (resamples, models, slices, metrics)
    found: dict[str, list[list[Interval | None]]] = {}
    for number, (model, rows) in enumerate(table.items()):
        mine = values[:, number]
        if this.generators:
            defined = np.array([[score.value is not None for score in row] for row in rows[:-1]])
            defined[1:] &= np.array([[bool(part.fakes)] for part in parts.slices[1:]])
            mine = np.concatenate([mine, macro_values(mine, defined)[:, None]], axis=1)
        found[model] = [
            [
                interval_of(score, views[model], parts, mine[:, place, column], settings)
                for column, score in enumerate(row)
            ]
            for place, row in enumerate(rows)
        ]
    return found


def interval_of(score: Score, view: View, parts: Cells, values: Floats, settings: Settings) -> Interval | None:
    """Return the interval of one score from its `values: (resamples,)`, or None where it has none.

    A share of images all alike (ACC of 1, failure rate of 0 …) has the exact binomial one.
    """
    if score.value is None or score.n < 2:
        return None
    if score.metric not in SHARES or score.value not in (0.0, 1.0):
        interval = debiased_interval if score.metric == "ece" else logit_interval
        return interval(score.value, values, level=settings.level, method=settings.method)
    part = next((part for part in parts.slices if part.name == score.slice), None)
    if part is None:  # a mean over generators is no share of independent images
        return None
    metric = METRICS[score.metric]
    counted = view.inside(parts, part) & view.wanted(metric) & view.population(metric)
    distinct = int(np.count_nonzero(np.bincount(view.this.content[counted])))  # as np.unique, without sorting
    return alike_interval(score.value, distinct, level=settings.level)


def write_scores(
    path: Path,
    run: str,
    settings: Settings,
    validation: Path | None,
    partial: Sequence[Mapping[str, object]],
    scores: Sequence[Score],
) -> None:
    """Write scores.json so that a reader sees the old or the new one, whole."""
    content = {
        "schema": SCHEMA,
        "run": run,
        "settings": {**settings._asdict(), "validation": None if validation is None else read_plan(validation).run},
        "partial": list(partial),
        "scores": [
            asdict(score) | {"interval": score.interval._asdict() if score.interval else None} for score in scores
        ],
    }
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)
