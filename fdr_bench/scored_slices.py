"""One model's metrics on each slice of a set: the value with its n, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdr_bench.answered_sets import AnsweredSet, census
from fdr_bench.metrics import METRICS, Metric
from fdr_bench.metrics.sliced import Cells, Slice
from fdr_bench.types import Score

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
    forced: Booleans
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
            forced=answers.forced,
            states_verdicts=answers.states_verdicts,
            tuned=tuned,
        )

    def inside(self, parts: Cells, part: Slice) -> Booleans:
        """Return the samples of a slice, `(N,)`."""
        inside = np.zeros(len(self.score), dtype=np.bool_)
        for cell in (*part.reals, *part.fakes):
            inside[parts.bounds[cell] : parts.bounds[cell + 1]] = True
        return inside

    def population(self, metric: Metric) -> Booleans:
        """Return the samples that `metric` is taken over, `(N,)`."""
        if "answered" in metric.needs:
            return self.reached
        return self.answered if {"score", "forced"}.isdisjoint(metric.needs) else self.scored

    def wanted(self, metric: Metric) -> Booleans:
        """Return the samples of the class that `metric` speaks of, `(N,)`: one, or both."""
        fake = self.this.fake
        return {"real": ~fake, "fake": fake}.get(metric.classes, np.ones_like(fake))

    def score_of(self, metric: Metric, part: str, value: float | str, counted: Booleans) -> Score:
        """Return a `Score` over the samples `counted`, `(N,)`; a text as value is the reason why there is none."""
        relevant = counted & self.wanted(metric)
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
    inside = view.inside(parts, part)
    chosen = np.flatnonzero(inside)
    chosen = chosen[np.argsort(-view.score[chosen], kind="stable")]  # sorted once for the functions that sort
    fake, reached, answered = view.this.fake[chosen], view.reached[chosen], view.answered[chosen]
    arrays = {
        "fake": fake,
        "called": view.called[chosen],
        "score": view.score[chosen],
        "answered": answered,
        "forced": view.forced[chosen],
    }
    scores = []
    for metric in METRICS.values():
        population = view.population(metric)[chosen]
        value: float | str = why_undefined(metric, view, fake, population, reached, answered)
        if not value:
            arguments = [view.tuned if need == "threshold" else arrays[need][population] for need in metric.needs]
            value = metric.function(*arguments)
        scores.append(view.score_of(metric, part.name, value, inside))
    return scores


def why_undefined(
    metric: Metric, view: View, fake: Booleans, population: Booleans, reached: Booleans, answered: Booleans
) -> str:
    """Return why `metric` does not exist on a slice of n samples, each array `(n,)`; empty where it does."""
    wanted = {"real": ~fake, "fake": fake}.get(metric.classes, np.ones_like(fake))
    kind = f" {metric.classes}" if metric.classes in ("real", "fake") else ""
    if not wanted.any():
        return f"no{kind} images in this slice"
    if not (wanted & reached).any():
        return f"not reached yet: the run has no rows of these{kind} images"
    if not (wanted & population).any():
        if (wanted & answered).any():
            return "no scores: the model states verdicts only"
        if view.states_verdicts and "called" in metric.needs:
            return f"no verdicts: the model stated none on {int(wanted.sum())}{kind} images"
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
