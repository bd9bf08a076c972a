"""Read run folders into what a board shows: facts about models and datasets, and scores.

Everything read here was written by others, so each field is checked or turned into plain text before it goes further.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdr_bench.errors import RunError, UsageError
from fdr_bench.store import SCHEMA, read_json, read_manifest, read_scores
from fdr_bench.types import Interval, Score, TrainedOn

# Texts that scoring measures beside the models' reasoning: no image went into them, or nothing but the reference.
TEXT_BASELINES = ("blind:", "ceiling:")
_BLIND = {
    "blind:constant": "one reference for every image",
    "blind:shuffled": "another image's reference, drawn at random",
    "blind:length-matched": "another image's reference of about as many words",
    "blind:same-label": "another image's reference of the same class",
    "ceiling:layout": "the reference itself, in a model's layout",
}
# Control characters and the marks that turn the reading direction around could make a name look like another one.
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What a run recorded of one model; a field that it did not record is None."""

    name: str
    detector: str | None = None
    preset: str | None = None
    view: str | None = None
    title: str | None = None
    paper: str | None = None
    licence: str | None = None
    threshold: float | None = None
    parameters: int | None = None
    trained_on: TrainedOn | None = None
    weights_sha256: str | None = None
    seconds: float | None = None
    images_per_second: float | None = None
    baseline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts:
    """What a run recorded of one dataset."""

    name: str
    spec: str | None = None
    fingerprint: str | None = None
    n_real: int | None = None
    n_fake: int | None = None
    generators: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A model that was asked for and could not run, with what is missing."""

    model: str
    dataset: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One scored run. `facts` are (name, value) pairs of its provenance, in the order in which a reader wants them.

    `problems` are (model and set, what is wrong with how many of its texts), `judged` (judge, model and set, how many
    texts it marked and why it did not mark the others).
    """

    name: str
    folder: Path
    unfinished: bool
    finished: str | None
    facts: tuple[tuple[str, str], ...]
    packages: tuple[tuple[str, str], ...]
    spec: str
    models: Mapping[str, ModelFacts]
    datasets: Mapping[str, DatasetFacts]
    skipped: tuple[Skipped, ...]
    failures: tuple[tuple[str, int], ...]
    problems: tuple[tuple[str, str], ...]
    judged: tuple[tuple[str, str], ...]
    scores: tuple[Score, ...]


def load_runs(folders: Sequence[Path]) -> tuple[Run, ...]:
    """Read scored run folders, in their order; a folder named twice counts once.

    Runs that share an id are told apart by a number. Raises `UsageError` without a folder, `RunError` where one is
    missing, damaged, of a newer format, or not yet scored.
    """
    if not folders:
        raise UsageError("No run folder was given; a board needs at least one, such as 'fdr-bench report runs/NAME'.")
    seen: dict[str, int] = {}
    runs = []
    for folder in dict.fromkeys(Path(folder).resolve() for folder in folders):
        manifest = read_manifest(folder)
        name = text(manifest.get("run")) or text(folder.name) or "run"
        seen[name] = seen.get(name, 0) + 1
        runs.append(_run(folder, manifest, name if seen[name] == 1 else f"{name} ({seen[name]})"))
    return tuple(runs)


def _run(folder: Path, manifest: Mapping[str, Any], name: str) -> Run:
    schema = manifest.get("schema", SCHEMA)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise RunError(
            f"{folder} was written in format {text(schema)}; this fdr-bench reads up to {SCHEMA}. Update fdr-bench."
        )
    scores = _scores(folder)
    models = {text(key): _model(text(key), mapping(entry)) for key, entry in mapping(manifest.get("models")).items()}
    for score in scores:
        blind = score.model.startswith(TEXT_BASELINES)
        title = f"no model: {_BLIND.get(score.model, score.model.partition(':')[2])}" if blind else None
        models.setdefault(score.model, ModelFacts(name=score.model, title=title, baseline=blind))
    datasets = {text(key): _dataset(text(key), mapping(of)) for key, of in mapping(manifest.get("datasets")).items()}
    for score in scores:
        datasets.setdefault(score.dataset, DatasetFacts(name=score.dataset))
    failures = ((text(key), _whole(count) or 0) for key, count in mapping(manifest.get("failures")).items())
    return Run(
        name=name,
        folder=folder,
        unfinished=bool(manifest.get("unfinished")),
        finished=optional(manifest.get("finished")),
        facts=_facts(manifest, mapping(read_json(folder / "scores.json").get("settings"))),
        packages=tuple(sorted((text(k), text(v)) for k, v in mapping(manifest.get("packages")).items())),
        spec=text(json.dumps(manifest.get("spec", {}), indent=2, ensure_ascii=False, sort_keys=True)),
        models=models,
        datasets=datasets,
        skipped=tuple(_skipped(manifest.get("skipped"))),
        failures=tuple(sorted(pair for pair in failures if pair[1])),
        problems=tuple(_problems(manifest.get("problems"))),
        judged=tuple(_judged(folder)),
        scores=scores,
    )


def _scores(folder: Path) -> tuple[Score, ...]:
    try:
        return tuple(_score(row) for row in read_scores(folder))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"{folder / 'scores.json'} is not what 'fdr-bench score' writes ({type(error).__name__}: {error}). "
            f"Run 'fdr-bench score {folder}' again."
        ) from None


def _score(row: Mapping[str, Any]) -> Score:
    value, reason = number(row.get("value")), optional(row.get("reason"))
    if value is None and reason is None:
        reason = "the run gives no reason"
    return Score(
        model=text(row["model"]),
        dataset=text(row["dataset"]),
        slice=text(row["slice"]),
        metric=text(row["metric"]),
        value=value,
        reason=None if value is not None else reason,
        interval=_interval(row.get("interval")) if value is not None else None,
        n=int(row["n"]),
        n_missing=int(row.get("n_missing") or 0),
    )


def _interval(row: Mapping[str, Any] | None) -> Interval | None:
    if row is None:
        return None
    low, high = number(row["low"]), number(row["high"])
    if low is None or high is None:
        return None
    return Interval(low, high, number(row.get("level")) or 0.95, text(row.get("method", "")))


def _model(name: str, entry: Mapping[str, Any]) -> ModelFacts:
    trained = mapping(entry.get("trained_on"))
    generators = tuple(text(generator) for generator in _listed(trained.get("generators")))
    return ModelFacts(
        name=name,
        detector=optional(entry.get("detector")),
        preset=optional(entry.get("preset")),
        view=optional(entry.get("view")),
        title=optional(entry.get("title")),
        paper=optional(entry.get("paper")),
        licence=optional(entry.get("licence")),
        threshold=number(entry.get("threshold")),
        parameters=_whole(entry.get("parameters")),
        trained_on=TrainedOn(dataset=text(trained.get("dataset", "")), generators=generators) if trained else None,
        weights_sha256=optional(entry.get("weights_sha256")),
        seconds=number(entry.get("seconds")),
        images_per_second=number(entry.get("images_per_second")),
        baseline=entry.get("kind") == "set baseline",
    )


def _dataset(name: str, entry: Mapping[str, Any]) -> DatasetFacts:
    return DatasetFacts(
        name=name,
        spec=optional(entry.get("spec")),
        fingerprint=optional(entry.get("fingerprint")),
        n_real=_whole(entry.get("n_real")),
        n_fake=_whole(entry.get("n_fake")),
        generators=tuple(text(generator) for generator in _listed(entry.get("generators"))),
        notes=tuple(text(note) for note in _listed(entry.get("notes"))),
    )


def _skipped(rows: object) -> Iterable[Skipped]:
    for row in map(mapping, _listed(rows)):
        reason = optional(row.get("reason")) or "the run gives no reason"
        yield Skipped(model=text(row.get("model", "?")), dataset=optional(row.get("dataset")), reason=reason)


def _problems(cells: object) -> Iterable[tuple[str, str]]:
    for where, counts in sorted(mapping(cells).items(), key=lambda pair: text(pair[0])):
        if said := _counted(counts):
            yield text(where), said


def _counted(counts: object) -> str:
    """Return "3 refused, 1 truncated" for a mapping of problems to counts, the most frequent first."""
    known = [(_whole(count) or 0, text(problem)) for problem, count in mapping(counts).items()]
    return ", ".join(f"{count:,} {problem}" for count, problem in sorted(known, key=lambda k: (-k[0], k[1])) if count)


def _judged(folder: Path) -> Iterable[tuple[str, str]]:
    for path in sorted((folder / "judges").glob("*/judge.json")):
        for cell in filter(None, map(mapping, _listed(read_json(path).get("cells")))):
            where = f"{text(path.parent.name)} on {text(cell.get('model'))}/{text(cell.get('dataset'))}"
            said = f"{_whole(cell.get('marked')) or 0:,} of {_whole(cell.get('texts')) or 0:,} texts marked"
            missing = _counted(cell.get("missing"))
            yield where, said + (f" ({missing})" if missing else "")


def _facts(manifest: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    code, seconds = mapping(manifest.get("code")), number(manifest.get("seconds"))
    seed = mapping(manifest.get("spec")).get("seed")
    level = number(settings.get("level"))
    intervals = f"{text(settings.get('resamples', '?'))} resamples, seed {text(settings.get('seed', '?'))}"
    pairs = [
        ("Version", code.get("version")),
        ("Commit", code.get("commit")),
        ("Device", manifest.get("device")),
        ("Seed", seed),
        ("Started", manifest.get("started")),
        ("Finished", manifest.get("finished")),
        ("Took", f"{seconds:,.1f} s" if seconds is not None else None),
        ("Intervals", f"{level:.0%}, {intervals}" if settings and level is not None else None),
        ("Spec hash", manifest.get("spec_hash")),
    ]
    return tuple((name, text(value)) for name, value in pairs if value is not None)


def text(value: object) -> str:
    """Return a value as plain text: no control characters, no marks that turn the reading direction around."""
    written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return _INVISIBLE.sub("\ufffd", written.replace("\r\n", "\n").replace("\r", "\n"))


def optional(value: object) -> str | None:
    """Return a value as plain text, None where it is absent or empty."""
    return text(value) if value not in (None, "") else None


def mapping(value: object) -> Mapping[str, Any]:
    """Return a value where it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def _listed(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def number(value: object) -> float | None:
    """Return a finite number, None for anything else."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None  # type: ignore[arg-type]


def _whole(value: object) -> int | None:
    found = number(value)
    return None if found is None else round(found)
