"""Run what a plan still lacks: samples that have no row yet -> detectors -> the store.

Batches are cut at fixed places of the sorted samples, whatever is missing, so that a resumed run computes the same
batches, and so the same bits, as an uninterrupted one. Only missing rows are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from fdr_bench.engines import Engine, Model, Task
from fdr_bench.engines.local import InProcess, Processes
from fdr_bench.record import PlannedSet, Record


class Progress(Protocol):
    """What a person watching is told."""

    def start(self, dataset: str, models: Sequence[str], total: int, done: int) -> None:
        """A dataset of `total` samples begins, `done` of them finished earlier."""

    def advance(self, dataset: str, samples: int, failures: int, seconds: Mapping[str, float]) -> None:
        """Another batch is stored."""

    def finish(self, dataset: str) -> None:
        """A dataset is done."""


class Totals(NamedTuple):
    """What this session did.

    Seconds and images per model; failures per model and dataset, earlier sessions' included; the models that could not
    be loaded, with the reason; and per model and dataset how many texts have which problem, where any has.
    """

    seconds: dict[str, float]
    images: dict[str, int]
    failures: dict[str, int]
    unloadable: dict[str, str]
    problems: dict[str, dict[str, int]]


def make_engine(models: Sequence[Model], *, workers: int, threads: int, device: str) -> Engine:
    """Return an engine for `workers` processes; one worker is this process, as is every accelerator's."""
    if workers > 1 and device == "cpu":
        return Processes(models, workers=workers, threads=threads)
    return InProcess(models, threads=threads, device=device)


def execute(
    run: Path,
    plan: Sequence[PlannedSet],
    *,
    batch: int,
    workers: int,
    threads: int,
    device: str,
    progress: Progress,
    began: float,
    retry_failures: bool = False,
) -> Totals:
    """Fill the run folder with every row of the plan that it lacks.

    `began` is the time (seconds since the epoch) at which the run was first started: an image file changed since then
    is compared with what was recorded. Raises `RunError` where an image changed or a worker died.
    """
    records = {planned.dataset.name: Record(run, planned, retry_failures) for planned in plan}
    lacking = [planned.model for each in plan for planned in each.models if records[each.dataset.name].lacks(planned)]
    most = max((len(each.dataset.samples) for each in plan), default=0)
    workers = min(workers, -(-most // batch)) if lacking else 1
    if any(
        model.of_family for model in lacking
    ):  # models of families are too large, or limited, to be held several times
        workers = 1
    engine = make_engine(_unique(lacking), workers=workers, threads=threads, device=device)
    try:
        totals = Totals({}, {}, {}, engine.problems(), {})
        for record in records.values():
            record.drop(totals.unloadable)
        for planned in plan:
            record = records[planned.dataset.name]
            record.refuse_changed_files(began)
            _execute_set(planned, record, engine, batch, progress, totals)
    finally:
        engine.close()
        for record in records.values():
            record.close()
    return totals


def _unique(models: Sequence[Model]) -> list[Model]:
    return list({model.label: model for model in models}.values())


def _execute_set(
    planned: PlannedSet, record: Record, engine: Engine, batch: int, progress: Progress, totals: Totals
) -> None:
    name, samples = planned.dataset.name, planned.dataset.samples
    labels = [each.model.label for each in planned.models if each.model.label not in totals.unloadable]
    batches = [
        (start, wanted)
        for start in range(0, len(samples), batch)
        if (wanted := record.wanted(start, min(start + batch, len(samples)))) is not None
    ]
    waiting = sum(min(batch, len(samples) - start) for start, _ in batches)
    progress.start(name, labels, len(samples), len(samples) - waiting)

    def tasks() -> Iterator[Task]:
        for start, wanted in batches:
            yield Task([sample.image for sample in samples[start : start + batch]], wanted)

    for (start, _), outcome in zip(batches, engine.run(tasks()), strict=True):
        failures = record.append(start, outcome)
        for label, seconds in outcome.seconds.items():
            totals.seconds[label] = totals.seconds.get(label, 0.0) + seconds
            totals.images[label] = totals.images.get(label, 0) + len(outcome.seen)
        progress.advance(name, len(outcome.seen), failures, outcome.seconds)
    totals.failures.update(record.finish())
    totals.problems.update(record.problems())
    progress.finish(name)
