"""What a run records of one dataset: a log of its files, a log of predictions per model, the rows in them."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

from fdr_bench.data.files import FileImage
from fdr_bench.engines import Model, Outcome, Seen
from fdr_bench.errors import RunError
from fdr_bench.store import Log, Row, write_rows
from fdr_bench.types import Dataset, FileMetadata, Prediction, Sample, SetBaseline

_PROBLEM = re.compile(rb'[,{]"problem":"([^"]*)"')


class PlannedModel(NamedTuple):
    """A model of a plan: how it is loaded, and the hash of all that its predictions depend on but the image."""

    model: Model
    key: str


class PlannedBaseline(NamedTuple):
    """A set baseline of a plan."""

    label: str
    baseline: SetBaseline
    key: str


class PlannedSet(NamedTuple):
    """A dataset of a plan, with the models that see it."""

    dataset: Dataset
    models: Sequence[PlannedModel]
    baselines: Sequence[PlannedBaseline]


def write_samples(run: Path, dataset: Dataset) -> None:
    """Write a dataset's labels and references into the run folder, unless they are there."""
    path = run / "datasets" / dataset.name / "samples.jsonl"
    if not path.exists():
        write_rows(path, map(_sample_row, dataset.samples))


def _sample_row(sample: Sample) -> Row:
    return {
        "id": sample.id,
        "label": sample.label,
        "generator": sample.generator,
        "category": sample.category,
        "size": sample.image.size,
        "attributes": sample.attributes and dict(sample.attributes),
        "reasoning": sample.reasoning,
        "caption": sample.caption,
    }


class Record:
    """The logs of one dataset in one run. Opening them repairs torn ends."""

    def __init__(self, run: Path, planned: PlannedSet, retry_failures: bool) -> None:
        self._run, self._planned = run, planned
        self._samples = planned.dataset.samples
        self._keys = {each.model.label: each.key for each in planned.models}
        with ExitStack() as opened:  # closes them where one is damaged
            self._files = opened.enter_context(closing(Log(run / "datasets" / planned.dataset.name / "files.jsonl")))
            self._logs = {label: opened.enter_context(closing(Log(self._path(label)))) for label in self._keys}
            self._check(retry_failures)
            self._recorded = {log.path: set(log.ids) for log in (self._files, *self._logs.values())}
            self._digests: dict[str, str | None] = {}
            if self._files.ids:
                self._digests = {row["id"]: row.get("image") for row in self._files.rows()}
            opened.pop_all()

    def _check(self, retry_failures: bool) -> None:
        known = {sample.id for sample in self._samples}
        for log in (self._files, *self._logs.values()):
            if retry_failures:
                log.rewrite(lambda row: "error" not in row)
            if not known.issuperset(log.ids):
                raise RunError(f"{log.path} has samples that the dataset has not; start a new run with --out")

    def _path(self, label: str) -> Path:
        return self._run / label / self._planned.dataset.name / "predictions.jsonl"

    def lacks(self, planned: PlannedModel) -> bool:
        return len(self._recorded[self._path(planned.model.label)]) < len(self._samples)

    def drop(self, labels: Iterable[str]) -> None:
        """Forget models that could not be loaded; what was recorded of them earlier stays."""
        for label in labels:
            if (log := self._logs.pop(label, None)) is not None:
                log.close()
                if not log.ids:
                    log.path.unlink()

    def wanted(self, start: int, stop: int) -> list[str] | None:
        """Return the models that lack a sample of this batch; None where no log lacks any."""
        ids = {sample.id for sample in self._samples[start:stop]}
        wanted = [label for label, log in self._logs.items() if not ids <= self._recorded[log.path]]
        return wanted if wanted or not ids <= self._recorded[self._files.path] else None

    def refuse_changed_files(self, began: float) -> None:
        """Compare with its record every recorded image whose file was written after the run began."""
        for sample in self._samples:
            if sample.id in self._digests and isinstance(sample.image, FileImage):
                try:
                    changed = os.stat(sample.image.path).st_mtime > began
                except OSError:
                    continue
                if changed and hashlib.sha256(sample.image.read()).hexdigest()[:32] != self._digests[sample.id]:
                    raise RunError(
                        f"{sample.image.location} has changed since this run saw it; "
                        "old and new images are never mixed: start a new run with --out"
                    )

    def append(self, start: int, outcome: Outcome) -> int:
        """Append the rows that are missing of a batch; return how many of its images failed for some model."""
        samples = self._samples[start : start + len(outcome.seen)]
        rows = [_file_row(sample.id, seen) for sample, seen in zip(samples, outcome.seen, strict=True)]
        for row in rows:
            if self._digests.setdefault(row["id"], row.get("image")) != row.get("image"):
                raise RunError(f"sample {row['id']} has changed since this run saw it; start a new run with --out")
        self._append(self._files, rows)
        failed = {row["id"] for row in rows if "error" in row}
        for label, answers in outcome.predictions.items():
            answered = [
                _prediction_row(sample.id, seen, answer, self._keys[label])
                for sample, seen, answer in zip(samples, outcome.seen, answers, strict=True)
            ]
            failed.update(row["id"] for row in answered if "error" in row)
            self._append(self._logs[label], answered)
        return len(failed)

    def _append(self, log: Log, rows: Sequence[Row]) -> None:
        recorded = self._recorded[log.path]
        new = [row for row in rows if row["id"] not in recorded]
        log.append(new)
        recorded.update(row["id"] for row in new)

    def finish(self) -> dict[str, int]:
        """Run the set baselines, put rows into the order of the samples; return failures by "model/dataset"."""
        failures = {}
        order = [sample.id for sample in self._samples]
        name = self._planned.dataset.name
        for log in (self._files, *self._logs.values()):
            if log.ids != order:
                log.rewrite(order=order)
        for label, log in self._logs.items():
            failures[f"{label}/{name}"] = _count_errors(log.path)
        if self._planned.baselines:
            files = {row["id"]: row for row in self._files.rows()}
            for planned in self._planned.baselines:
                rows = _baseline_rows(planned, self._samples, files)
                write_rows(self._path(planned.label), rows)
                failures[f"{planned.label}/{name}"] = sum("error" in row for row in rows)
        return failures

    def problems(self) -> dict[str, dict[str, int]]:
        """Return by "model/dataset" how many answers have which problem; models without any are left out."""
        found = {}
        for label, log in self._logs.items():
            with open(log.path, "rb") as file:  # rows are told apart without parsing: a quote within a text is escaped
                kinds = (match[1] for line in file if (match := _PROBLEM.search(line)))
                if counts := Counter(kind.decode() for kind in kinds):
                    found[f"{label}/{self._planned.dataset.name}"] = dict(sorted(counts.items()))
        return found

    def close(self) -> None:
        for log in (self._files, *self._logs.values()):
            log.close()


def _count_errors(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(b'"error":' in line for line in file)


def _file_row(id: str, seen: Seen) -> Row:
    row: Row = {"id": id, "image": seen.sha256 and seen.sha256[:32]}
    return {**row, **(seen.metadata._asdict() if seen.metadata else {"error": seen.error})}


def _key(model_key: str, image: str | None) -> str:
    return hashlib.sha256(f"{model_key} {image}".encode()).hexdigest()[:16]


def _prediction_row(id: str, seen: Seen, answer: Prediction | str, key: str) -> Row:
    row: Row = {"id": id, "key": _key(key, seen.sha256), "image": seen.sha256 and seen.sha256[:32]}
    if isinstance(answer, str):
        return {**row, "error": answer}
    return {
        **row,
        "score": answer.score,
        "verdict": answer.verdict,
        "reasoning": answer.reasoning,
        "raw": answer.raw,
        "score_source": answer.score_source,
        "problem": answer.problem,
    }


def _baseline_rows(planned: PlannedBaseline, samples: Sequence[Sample], files: Mapping[str, Row]) -> list[Row]:
    readable = [sample for sample in samples if "error" not in files[sample.id]]
    metadata = [_metadata(files[sample.id]) for sample in readable]
    fake = [sample.label == "fake" for sample in readable]
    groups = [files[sample.id]["image"] for sample in readable]
    answers: Sequence[Prediction | str]
    try:
        answers = planned.baseline.predict_set(metadata, fake, groups)
    except Exception as error:  # a plugin may raise anything; it must not end the run
        answers = [f"the baseline raised {type(error).__name__}: {error}"] * len(readable)
    if len(answers) != len(readable):
        answers = [f"the baseline gave {len(answers)} predictions for {len(readable)} files"] * len(readable)
    by_id: dict[str, Prediction | str] = dict(zip((sample.id for sample in readable), answers, strict=True))
    rows = []
    for sample in samples:
        file = files[sample.id]
        seen = Seen(file.get("image"), None, file.get("error"))
        rows.append(_prediction_row(sample.id, seen, by_id.get(sample.id) or file["error"], planned.key))
    return rows


def _metadata(row: Row) -> FileMetadata:
    values = {field: row[field] for field in FileMetadata._fields}
    values["quantisation"] = tuple(tuple(table) for table in values["quantisation"])
    return FileMetadata(**values)
