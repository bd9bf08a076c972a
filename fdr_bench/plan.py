"""Resolve what was asked (models, data, presets, weights) into a plan: what will run, what is skipped and why."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from fdr_bench import models
from fdr_bench.data import make_dataset, open_dataset
from fdr_bench.data.perturbed import Alignment, parse_alignment, perturbed_set
from fdr_bench.data.sampling import sample_evenly
from fdr_bench.errors import MissingWeights, RunError, UsageError, WeightsError
from fdr_bench.perturbations import Perturbation, parse
from fdr_bench.record import PlannedBaseline, PlannedModel, PlannedSet
from fdr_bench.store import SCHEMA, Row
from fdr_bench.types import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A run as the user asked for it; all that `resume` needs to ask again."""

    models: tuple[str, ...] = ("all",)
    data: tuple[str, ...] = ("scenes",)
    preset: str | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    """For models of families, such as openai:NAME."""
    limit: int | None = None
    perturb: tuple[str, ...] = ()
    """Beside each set the same set perturbed, one a level; see `fdr_bench.perturbations.parse`."""
    align: str | None = None
    """Beside each set the same set with all images in one format, such as jpeg:95."""
    batch: int = 32
    threads: int = 1
    device: str = "cpu"
    folder: str = field(default_factory=os.getcwd)
    """Where relative paths above start from."""


class Plan(NamedTuple):
    """What will run. `spec` is JSON-ready and becomes spec.json; `hash` names the run."""

    sets: list[PlannedSet]
    spec: Row
    hash: str


def resolve(asked: Asked) -> Plan:
    """Resolve what was asked.

    Models whose weights are missing, and with "all" also those that cannot be loaded or lack the preset, are skipped
    with a reason. Raises `UsageError`, `PluginError` or `DataError` where what was named does not exist.
    """
    candidates, skipped = models.candidates(asked.models, asked.plugins, asked.weights, asked.options)
    sets, entries = [], {}
    for dataset in _datasets(asked):
        resolved = _resolve_all(candidates, dataset, asked, skipped)
        entries.update({each.label: each.entry for each in resolved})
        sets.append(
            PlannedSet(
                dataset,
                [PlannedModel(each.model, each.key) for each in resolved if each.model],
                [PlannedBaseline(each.label, each.baseline, each.key) for each in resolved if each.baseline],
            )
        )
    keys = {each.dataset.name: keys_of(each) for each in sets}
    datasets = {each.dataset.name: _describe(each.dataset) for each in sets}
    settings = {"batch": asked.batch, "threads": asked.threads, "device": asked.device}
    digest = models.content_hash({"keys": keys, "datasets": datasets, **settings})
    spec = {
        "schema": SCHEMA,
        "spec_hash": digest,
        "asked": asdict(asked),
        "keys": keys,
        "models": entries,
        "datasets": datasets,
        "skipped": skipped,
    }
    return Plan(sets, spec, digest)


def restrict(plan: Plan, spec: Mapping[str, Any]) -> Plan:
    """Return the plan cut down to the models of an earlier spec, for resuming it.

    Raises `RunError` naming what is not as it was: data, weights, code or settings.
    """
    changed = []
    sets = []
    for each in plan.sets:
        name, keys = each.dataset.name, spec["keys"].get(each.dataset.name, {})
        if spec["datasets"].get(name) != plan.spec["datasets"][name]:
            changed.append(f"the dataset {name}")
        kept = PlannedSet(
            each.dataset,
            [planned for planned in each.models if planned.model.label in keys],
            [planned for planned in each.baselines if planned.label in keys],
        )
        now = keys_of(kept)
        changed += [f"{label} on {name}" for label in keys if now.get(label) != keys[label]]
        sets.append(kept)
    if changed:
        raise RunError(
            f"not as they were when this run began: {', '.join(changed)} (data, weights, version or settings differ, "
            "or are missing now). Old and new predictions are never mixed: start a new run with --out."
        )
    return Plan(sets, {**plan.spec, **dict(spec)}, spec["spec_hash"])


def keys_of(planned: PlannedSet) -> dict[str, str]:
    """Return the key of each model of a planned set by its label."""
    keys = {each.model.label: each.key for each in planned.models}
    return keys | {each.label: each.key for each in planned.baselines}


def _resolve_all(
    candidates: list[models.Candidate], dataset: Dataset, asked: Asked, skipped: list[Row]
) -> list[models.Resolved]:
    usual = "scenes" if dataset.name.startswith("fdr-scenes") else "official"
    resolved = []
    for candidate in candidates:
        label = candidate.name
        try:
            preset = models.preset_of(candidate, asked.preset, usual)
            label = f"{candidate.name}@{preset}" if preset else candidate.name
            brought = asked.weights.get(candidate.name)
            resolved.append(models.resolve_model(candidate, preset, brought, asked.device, dataset.fingerprint))
        except WeightsError as error:
            row: Row = {"model": label, "dataset": dataset.name, "reason": str(error)}
            if isinstance(error, MissingWeights):
                row["weights"] = {"file": error.file, "how": error.how, "place": error.place}
            skipped.append(row)
        except UsageError as error:
            if asked.models != ("all",):
                raise
            skipped.append({"model": label, "dataset": dataset.name, "reason": str(error)})
    labels = [each.label for each in resolved]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"'{label}' stands twice among the models; name each once")
    return resolved


def _datasets(asked: Asked) -> list[Dataset]:
    changes: list[Perturbation | Alignment] = [*([parse_alignment(asked.align)] if asked.align else [])]
    changes += parse(asked.perturb)
    datasets: list[Dataset] = []
    for spec in asked.data:
        dataset = open_dataset(spec)
        n = len(dataset.samples)
        if asked.limit and asked.limit < n:
            notes = (*dataset.notes, f"{asked.limit} of {n} samples, evenly over generators and classes")
            dataset = make_dataset(dataset.name, dataset.spec, sample_evenly(dataset.samples, asked.limit), notes)
        if any(dataset.name == other.name for other in datasets):
            dataset = replace(dataset, name=f"{dataset.name}-{dataset.fingerprint[:8]}")
        datasets.append(dataset)
    if len({dataset.name for dataset in datasets}) < len(datasets):
        raise UsageError("--data names the same dataset twice")
    return [each for dataset in datasets for each in (dataset, *(perturbed_set(dataset, how) for how in changes))]


def _describe(dataset: Dataset) -> Row:
    fakes = sum(sample.label == "fake" for sample in dataset.samples)
    return {
        "spec": dataset.spec,
        "fingerprint": dataset.fingerprint,
        "n_real": len(dataset.samples) - fakes,
        "n_fake": fakes,
        "generators": sorted({sample.generator for sample in dataset.samples if sample.generator}),
        "notes": list(dataset.notes),
    }
