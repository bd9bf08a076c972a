"""Our numbers beside printed ones: the difference, and what is not the same about how they came about.

A printed number belongs to a model of a run where detector and set are those that it was printed for (the set by its
name, see `published`). What the tool can see of the protocol is compared: preset and weights, preprocessing, the name
of the set, the number of samples, training on the generator. What it cannot see, such as how images were picked, stands
in the source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from fdr_bench.types import Score
from leaderboards.contamination import seen_in_training
from leaderboards.load import DatasetFacts, ModelFacts, Run
from leaderboards.published import Published, published

METRICS: Mapping[str, str] = {
    "ACC": "acc",
    "ACC real": "real_acc",
    "ACC fake": "fake_acc",
    "AP": "ap",
    "BLEU-1": "bleu1@nltk-split",
    "ROUGE-L": "rougeL@stem",
    "CSS": "css@minilm-l6",
    "Fail%": "failure_rate",
}
"""Printed name, without what stands in brackets behind it, to ours."""
SHARES = ("BLEU-1", "ROUGE-L", "CSS")
"""Printed as shares; all others in percent."""
VIEWS: Mapping[str, str] = {"crop 224": "crop224", "no crop": "no_crop"}
MEANS = frozenset({"mean", "average", "avg", "all", "avg10"})
"""Printed columns that mean the whole set."""
NAMES: Mapping[str, str] = {
    "sd": "stablediffusion",
    "kd": "kandinsky",
    "mj": "midjourney",
    "sgxl": "styleganxl",
    "sdv14": "sd14",
    "sdv15": "sd15",
    "sdv4": "sd14",
    "sdv5": "sd15",
    "wfir": "whichfaceisreal",
    "sitd": "seeingdark",
}
"""Other spellings of a generator, letters and digits alone."""


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

    @property
    def difference(self) -> float | None:
        """Ours less the printed number, in points; None where ours does not exist."""
        return None if self.ours is None else self.ours - self.printed


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
        metric, _, bracket = row.metric.partition(" (")
        key, slice_ = METRICS.get(metric), slice_of(row.generator, dataset.generators)
        if key is None or slice_ is None:
            continue
        score = scores.get((slice_, key))
        factor = 100 if metric in SHARES else 1
        ours = None if score is None or score.value is None else 100 * score.value
        interval = score.interval if score is not None and ours is not None else None
        yield Beside(
            run=run.name,
            model=model.name,
            dataset=dataset.name,
            generator=row.generator,
            metric=row.metric,
            printed=factor * row.value,
            ours=ours,
            low=None if interval is None else 100 * interval.low,
            high=None if interval is None else 100 * interval.high,
            reason=_reason(score, ours),
            n=None if score is None else score.n,
            differences=tuple(_differences(row, bracket.rstrip(")"), model, dataset, slice_, score)),
            method=row.method,
            dataset_printed=row.dataset,
            source=row.source,
        )


def slice_of(printed: str, generators: Sequence[str]) -> str | None:
    """Return the slice of our scores that a printed column means, None where our set has it not.

    A mean is the mean over generators, and where a set has none, the whole set.
    """
    name = _key(printed)
    if name in MEANS:
        return "macro" if generators else "all"
    wanted = NAMES.get(name, name)
    return next((f"generator:{g}" for g in generators if NAMES.get(_key(g), _key(g)) == wanted), None)


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _reason(score: Score | None, ours: float | None) -> str | None:
    if ours is not None:
        return None
    return "not computed in this run" if score is None else score.reason


def _differences(
    row: Published, bracket: str, model: ModelFacts, dataset: DatasetFacts, slice_: str, score: Score | None
) -> Iterator[str]:
    """Yield what is not the same, the weightiest first."""
    if row.preset is None:
        yield f"printed of other weights: {row.weights or 'not stated which'}"
    elif row.preset != model.preset:
        yield f"printed of preset {row.preset}, ours is {model.preset or 'none'}"
    elif row.weights:
        yield f"weights: {row.weights}"
    view = VIEWS.get(bracket)
    if view is not None and view != model.view:
        yield f"preprocessing {view} there, {model.view or 'none'} here"
    elif bracket and view is None:
        yield f"printed for '{bracket}'"
    if _key(row.dataset) != _key(dataset.name):
        yield f"set '{row.dataset}' there, '{dataset.name}' here"
    counted = _counted(row)
    if counted is not None and score is not None and score.n != counted:
        yield f"{counted:,} samples there, {score.n:,} here"
    elif counted is None and score is not None:
        yield f"number of samples not printed, {score.n:,} here"
    if slice_.startswith("generator:") and seen_in_training(model, dataset.name, slice_.partition(":")[2]) == "here":
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
