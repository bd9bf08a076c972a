"""A run's plan and its sets as answered: what scoring starts from, read from run.json (or spec.json) and the rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fdr_bench.answers import Answers, contents, read_answers, read_labels
from fdr_bench.errors import RunError
from fdr_bench.metrics.detection import best_threshold
from fdr_bench.metrics.resampling import cells
from fdr_bench.store import refuse_newer

Booleans = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run was to do, from run.json or, while it is unfinished, spec.json."""

    run: str
    finished: bool
    thresholds: Mapping[str, float]  # by model
    reasoning: frozenset[str]  # models that by their card state verdicts in words and give reasoning
    fingerprints: Mapping[str, str]  # by dataset
    skipped: frozenset[tuple[str, str | None]]


def read_plan(run: Path) -> Plan:
    """Read run.json, or spec.json of an unfinished run. Raises `RunError` where neither is a plan."""
    path = next((run / name for name in ("run.json", "spec.json") if (run / name).is_file()), None)
    if path is None:
        raise RunError(f"{run} is no run folder: it holds neither run.json nor spec.json. Give the folder of a run.")
    try:
        plan = json.loads(path.read_bytes())
        refuse_newer(plan.get("schema", 1), path)
        thresholds = {str(name): float(entry["threshold"]) for name, entry in plan["models"].items()}
        reasoning = frozenset(str(name) for name, entry in plan["models"].items() if entry.get("reasons"))
        fingerprints = {str(name): str(entry["fingerprint"]) for name, entry in plan["datasets"].items()}
        skipped = frozenset((row["model"], row.get("dataset")) for row in plan.get("skipped", ()))
        name = str(plan.get("run", run.resolve().name))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} is not the plan of a run ({error!r}). Restore it, or run anew.") from None
    for part in (*thresholds, *fingerprints):
        if part in ("", ".", "..") or "/" in part or "\\" in part:
            raise RunError(f"{path}: {part!r} cannot be a model or dataset, for it is not the name of a folder.")
    return Plan(
        run=name,
        finished=path.name == "run.json",
        thresholds=thresholds,
        reasoning=reasoning,
        fingerprints=fingerprints,
        skipped=skipped,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnsweredSet:
    """One dataset's truth and every model's answers, samples sorted by cell."""

    dataset: str
    fake: Booleans  # (N,)
    generator: NDArray[np.int64]  # (N,)
    content: NDArray[np.int64]  # (N,) identical bytes share a number
    generators: tuple[str, ...]
    answers: Mapping[str, Answers]
    samples: Path  # samples.jsonl
    order: NDArray[np.int64]  # (N,) its line (from 0) of each sample


def read_set(run: Path, plan: Plan, dataset: str, models: Sequence[str]) -> AnsweredSet:
    """Read the samples and predictions of one dataset."""
    path = run / "datasets" / dataset / "samples.jsonl"
    if not path.is_file():
        raise RunError(f"{path} is missing, so {dataset} cannot be scored. Resume the run, which writes it first.")
    labels = read_labels(path)
    order = np.argsort(cells(labels.fake, labels.generator), kind="stable")
    answers, images = {}, {}
    for model in models:
        found, images[model] = read_answers(
            run / model / dataset / "predictions.jsonl", labels.ids, finished=plan.finished
        )
        texts = found.reasoning and found.reasoning.take(order)
        answers[model] = Answers(
            found.reached[order],
            found.score[order],
            found.verdict[order],
            found.forced[order],
            texts,
            states_verdicts=model in plan.reasoning,
        )
    return AnsweredSet(
        dataset=dataset,
        fake=labels.fake[order],
        generator=labels.generator[order],
        content=contents(images, len(order))[order],
        generators=labels.generators,
        answers=answers,
        samples=path,
        order=order,
    )


class Tuning:
    """Thresholds found on a validation run, each with the reason where there is none."""

    def __init__(self, plan: Plan, validation: Path | None) -> None:
        self._tested = plan
        self._run = validation
        self._plan = None if validation is None else read_plan(validation)
        self._found: dict[tuple[str, ...], float | str] = {}

    def threshold(self, model: str, dataset: str) -> float | str:
        """Return the threshold for `model` on the tested `dataset`, or why there is none.

        Found on all sets of the validation run together, except one with the tested set's fingerprint: a threshold is
        never tuned on the images that it is tested on.
        """
        if self._run is None or self._plan is None:
            return "no validation run was given"
        if model not in self._plan.thresholds:
            return f"the validation run has no model {model}"
        tested = self._tested.fingerprints[dataset]
        sets = [name for name, fingerprint in self._plan.fingerprints.items() if fingerprint != tested]
        if not sets:
            return "the validation run holds no other set than the tested one"
        if (model, *sets) not in self._found:
            parts = [read_set(self._run, self._plan, name, [model]) for name in sets]
            self._found[model, *sets] = _tuned(
                [part.fake for part in parts], [part.answers[model].score for part in parts]
            )
        return self._found[model, *sets]


def _tuned(fakes: Sequence[Booleans], scores: Sequence[NDArray[np.float64]]) -> float | str:
    fake, score = np.concatenate(fakes), np.concatenate(scores)
    scored = ~np.isnan(score)
    if not scored.any():
        return "the validation run has no scores of this model"
    threshold = best_threshold(fake[scored], score[scored])
    return f"the validation run has one class only: {census(fake[scored])}" if np.isnan(threshold) else threshold


def census(fake: Booleans) -> str:
    """Return "150 real, 0 fake"."""
    return f"{int((~fake).sum())} real, {int(fake.sum())} fake"
