"""Our numbers beside printed ones: the difference, and what is not the same about how they came about.

A printed number belongs to a model of a run where detector and set are those that it was printed for (the set by its
name, see `published`). What the tool can see of the protocol is compared: preset and weights, preprocessing, the name
of the set, the number of samples, training on the generator. What it cannot see, such as how images were picked, stands
in the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fdr_bench.types import Score
from leaderboards.contamination import seen_in_training
from leaderboards.counterparts import OTHERWISE, Counterpart, canonical, counterpart
from leaderboards.load import DatasetFacts, ModelFacts, Run
from leaderboards.published import Published, published


class Beside(NamedTuple):
    """A printed number and ours. Numbers are percent; `ours` is None with a `reason`."""

    run: str
    model: str
    dataset: str
    generator: str
    """As printed."""
    metric: str
    """As printed."""
    printed: float
    ours: float | None
    low: float | None
    high: float | None
    reason: str | None
    n: int | None
    differences: tuple[str, ...]
    """What is not the same about the protocols, in words."""
    method: str
    dataset_printed: str
    source: str
    preset: str | None
    """The preset that the number is printed of, None where it is none's in particular."""
    weights: str
    """What is known of the weights, in words."""
    view: str | None
    """The preprocessing, where the source states it."""
    slice: str
    """Ours."""
    key: str
    """Our metric."""

    @property
    def difference(self) -> float | None:
        """Ours less the printed number, in points; None where ours does not exist."""
        return None if self.ours is None else self.ours - self.printed


class Quote(NamedTuple):
    """One source's numbers for a model, a cell a column; `view` is the preprocessing where it is another than ours."""

    method: str
    weights: str
    source: str
    dataset: str
    view: str | None
    cells: tuple[Beside | None, ...]


def reproduction(runs: Sequence[Run]) -> tuple[Beside, ...]:
    """Return every printed number that belongs to a model and a set of the runs, in the order of these; often none."""
    return tuple(
        beside
        for run in runs
        for dataset in run.datasets.values()
        for model in run.models.values()
        for beside in besides(run, model, dataset)
    )


def besides(run: Run, model: ModelFacts, dataset: DatasetFacts) -> Iterator[Beside]:
    """Yield the printed numbers of one model on one set, each once a source; nothing where it was not run there."""
    if model.detector is None:
        return
    scores = {(s.slice, s.metric): s for s in run.scores if (s.model, s.dataset) == (model.name, dataset.name)}
    if not scores:
        return
    for row in dict.fromkeys(published(model.detector, dataset=dataset.name)):
        place = counterpart(row, dataset.generators)
        if place is None:
            continue
        score = scores.get((place.slice, place.metric))
        ours = None if score is None or score.value is None else 100 * score.value
        interval = score.interval if score is not None and ours is not None else None
        yield Beside(
            run=run.name,
            model=model.name,
            dataset=dataset.name,
            generator=row.generator,
            metric=row.metric,
            printed=round(100 * row.value / place.scale, 6),
            ours=ours,
            low=None if interval is None else 100 * interval.low,
            high=None if interval is None else 100 * interval.high,
            reason=_reason(score, ours),
            n=None if score is None else score.n,
            differences=tuple(_differences(row, place, model, dataset, score)),
            method=row.method,
            dataset_printed=row.dataset,
            source=row.source,
            preset=row.preset,
            weights=row.weights,
            view=place.view,
            slice=place.slice,
            key=place.metric,
        )


def _reason(score: Score | None, ours: float | None) -> str | None:
    if ours is not None:
        return None
    return "not computed in this run" if score is None else score.reason


def _differences(
    row: Published, place: Counterpart, model: ModelFacts, dataset: DatasetFacts, score: Score | None
) -> Iterator[str]:
    """Yield what is not the same, the weightiest first."""
    if row.preset is None:
        yield f"printed of other weights: {row.weights or 'not stated which'}"
    elif row.preset != model.preset:
        yield f"printed of preset {row.preset}, ours is {model.preset or 'none'}"
    elif row.weights:
        yield f"weights: {row.weights}"
    if place.view is not None and place.view != model.view:
        yield f"preprocessing {place.view} there, {model.view or 'none'} here"
    elif place.bracket and place.view is None:
        yield f"printed for '{place.bracket}'"
    if place.base in OTHERWISE:
        yield OTHERWISE[place.base]
    if canonical(row.dataset) != canonical(dataset.name):
        yield f"set '{row.dataset}' there, '{dataset.name}' here"
    counted = _counted(row)
    if counted is not None and score is not None and score.n != counted:
        yield f"{counted:,} samples there, {score.n:,} here"
    elif counted is None and score is not None:
        yield f"number of samples not printed, {score.n:,} here"
    if (
        place.slice.startswith("generator:")
        and seen_in_training(model, dataset.name, place.slice.partition(":")[2]) == "here"
    ):
        yield "our weights were trained on this generator"


def _counted(row: Published) -> int | None:
    """Return how many samples a printed number stands on, where its source prints that."""
    metric, separator, bracket = row.metric.partition(" (")
    behind = separator + bracket
    counts = {
        other.metric: int(other.value)
        for other in published(row.detector, dataset=row.dataset)
        if other.file == row.file and other.generator == row.generator and other.metric.startswith("n ")
    }
    real, fake = counts.get(f"n real{behind}"), counts.get(f"n fake{behind}")
    if real is None or fake is None:
        return None
    return {"ACC real": real, "ACC fake": fake}.get(metric, real + fake)
