"""Score a run folder: predictions × metrics × slices -> scores.json. Needs no model, no image and no network.

Two readings of images without an answer stand side by side: *official* leaves them out and says how many (n_missing),
*strict* (`acc@strict`) counts them as wrong. What was not reached yet in an unfinished run counts in n_missing only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdr_bench.answered_sets import AnsweredSet, Tuning, census, read_plan, read_set
from fdr_bench.errors import UsageError
from fdr_bench.metrics import METRICS, Metric
from fdr_bench.metrics.resampling import clusters, percentile_interval, resampled
from fdr_bench.metrics.sliced import Cells, Presorted, Slice, cells_of, macro_values
from fdr_bench.types import Interval, Score

SCHEMA = 1
Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]


class Settings(NamedTuple):
    """How intervals are made."""

    resamples: int
    level: float
    seed: int

    @property
    def method(self) -> str:
        """The words that stand beside every interval."""
        return f"stratified cluster bootstrap, {self.resamples} resamples, seed {self.seed}"


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
    intervals. `threads` changes the time only (None: one a core). Raises `RunError` where the folder is no run or a
    line of it is damaged.
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
        scores += score_set(this, plan.thresholds, thresholds, settings, threads or os.cpu_count() or 1)
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """One model's answers to one set beside the truth; every array is `(N,)`."""

    this: AnsweredSet
    model: str
    called: Booleans
    reached: Booleans
    answered: Booleans
    scored: Booleans
    score: Floats
    states_verdicts: bool
    tuned: float | str  # the threshold of the validation run, or why there is none

    @staticmethod
    def of(this: AnsweredSet, model: str, threshold: float, tuned: float | str) -> View:
        """Collect the arrays of one model."""
        answers = this.answers[model]
        return View(
            this=this,
            model=model,
            called=answers.called(threshold),
            reached=answers.reached,
            answered=answers.answered,
            scored=~np.isnan(answers.score),
            score=answers.score,
            states_verdicts=bool((answers.verdict >= 0).any()),
            tuned=tuned,
        )

    def population(self, metric: Metric) -> Booleans:
        """Return the samples that `metric` is taken over, `(N,)`."""
        if "answered" in metric.needs:
            return self.reached
        return self.scored if "score" in metric.needs else self.answered

    def score_of(self, metric: Metric, part: str, value: float | str, counted: Booleans) -> Score:
        """Return a `Score` over the samples `counted`, `(N,)`; a text as value is the reason why there is none."""
        fake = self.this.fake
        relevant = counted & (fake if metric.classes == "fake" else ~fake if metric.classes == "real" else True)
        n = int((relevant & self.population(metric)).sum())
        answered = self.answered if "answered" in metric.needs else self.population(metric)
        missing = int((relevant & ~answered).sum())
        return Score(
            model=self.model,
            dataset=self.this.dataset,
            slice=part,
            metric=metric.name,
            value=None if isinstance(value, str) else value,
            reason=value if isinstance(value, str) else None,
            n=n,
            n_missing=missing,
        )


def slice_scores(view: View, parts: Cells, part: Slice) -> list[Score]:
    """Return every metric of one slice, in the order of `METRICS`."""
    inside = np.zeros(len(view.score), dtype=np.bool_)
    for cell in (*part.reals, *part.fakes):
        inside[parts.bounds[cell] : parts.bounds[cell + 1]] = True
    chosen = np.flatnonzero(inside)
    chosen = chosen[np.argsort(-view.score[chosen], kind="stable")]  # sorted once for the functions that sort
    fake = view.this.fake[chosen]
    arrays = {
        "fake": fake,
        "called": view.called[chosen],
        "score": view.score[chosen],
        "answered": view.answered[chosen],
    }
    scores = []
    for metric in METRICS.values():
        population = view.population(metric)[chosen]
        value: float | str = why_undefined(metric, view, fake, population, view.reached[chosen])
        if not value:
            arguments = [view.tuned if need == "threshold" else arrays[need][population] for need in metric.needs]
            value = metric.function(*arguments)
        scores.append(view.score_of(metric, part.name, value, inside))
    return scores


def why_undefined(metric: Metric, view: View, fake: Booleans, population: Booleans, reached: Booleans) -> str:
    """Return why `metric` does not exist on a slice of n samples, each array `(n,)`; empty where it does."""
    wanted = {"real": ~fake, "fake": fake}.get(metric.classes, np.ones_like(fake))
    kind = f" {metric.classes}" if metric.classes in ("real", "fake") else ""
    if not wanted.any():
        return f"no{kind} images in this slice"
    if not (wanted & reached).any():
        return f"not reached yet: the run has no rows of these{kind} images"
    if not (wanted & population).any():
        if "score" in metric.needs and view.states_verdicts:
            return "no scores: the model states verdicts only"
        return f"no answers: the model answered none of {int(wanted.sum())}{kind} images"
    if metric.classes == "both" and (not (fake & population).any() or not (~fake & population).any()):
        where = "" if fake.all() or not fake.any() else " among the answered images"
        return f"one class only{where}: {census(fake[population])}"
    if "threshold" in metric.needs and isinstance(view.tuned, str):
        return view.tuned
    return ""


def macro_scores(view: View, rows: Sequence[Sequence[Score]]) -> list[Score]:
    """Return the unweighted mean of each metric over the generators where it is defined.

    What has no fake (a source of reals under a name) is no generator. n counts each image of those generators once.
    """
    this = view.this
    with_fakes = set(this.generator[this.fake].tolist())
    scores = []
    for column, metric in enumerate(METRICS.values()):
        ones = {number: rows[number + 1][column] for number in sorted(with_fakes - {-1})}
        values = {number: score.value for number, score in ones.items() if score.value is not None}
        reasons = {score.reason for score in ones.values() if score.value is None}
        if values:
            value: float | str = float(np.mean(list(values.values())))
        elif len(reasons) == 1:
            value = str(reasons.pop())
        else:
            value = "undefined for every generator, for several reasons" if reasons else "no generator has fakes"
        over = np.isin(this.generator, [-1, *(values or ones)])
        scores.append(view.score_of(metric, "macro", value, over))
    return scores


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
                None
                if score.value is None or score.n < 2
                else percentile_interval(mine[:, place, column], level=settings.level, method=settings.method)
                for column, score in enumerate(row)
            ]
            for place, row in enumerate(rows)
        ]
    return found


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
