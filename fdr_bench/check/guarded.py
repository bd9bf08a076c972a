"""What a run gives to compare: every metric with its parts a sample, as a reference keeps them and as they are now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdr_bench.answered_sets import AnsweredSet, Plan, read_plan, read_set
from fdr_bench.answered_texts import read_references
from fdr_bench.answers import Answers, Labels, read_labels
from fdr_bench.check.reference import Cell, GuardedSet, GuardedSums, Reference, Value
from fdr_bench.compare.paired import Sums
from fdr_bench.errors import ComparisonError
from fdr_bench.metrics import METRICS
from fdr_bench.metrics.sliced import Cells, cells_of
from fdr_bench.metrics.text_metrics import TEXT_METRICS
from fdr_bench.scored_slices import View, macro_scores, slice_scores
from fdr_bench.store import Row, read_manifest
from fdr_bench.types import Score

NO_VALIDATION = "no validation run was given"
GUARDED = ("acc@strict", "balanced_acc", "ap", "failure_rate")
"""What fresh predictions must hold on the whole set; the first of them for each generator too."""
GUARDED_TEXTS = (
    "bleu1@nltk-split@strict", "rougeL@stem@strict", "css@minilm-l6@strict", "attribute_f1@phrase+minilm-l6@strict",
    "grounded_f1@scenes", "hallucination@scenes", "verdict_agreement", "reasoning_failure_rate",
)  # fmt: skip
DIGITS = 9  # of the parts of reasoning metrics


class Measured(NamedTuple):
    """One model on one set: its answers, every defined metric by slice, and the parts of its reasoning metrics."""

    view: View
    scores: Sequence[Score]
    sums: Mapping[str, Sums]
    predictions: str

    @property
    def values(self) -> dict[str, dict[str, Value]]:
        """The defined values by slice and metric."""
        found: dict[str, dict[str, Value]] = {}
        for score in self.scores:
            if score.value is not None:
                found.setdefault(score.slice, {})[score.metric] = (score.value, score.n, score.n_missing)
        return found


class MeasuredSet(NamedTuple):
    """A set with its models, and its samples' names in the order of the arrays."""

    this: AnsweredSet
    parts: Cells
    labels: Labels
    models: Mapping[str, Measured]

    @property
    def ids(self) -> list[str]:
        """Sample ids in the order of the views."""
        return [str(each) for each in self.labels.ids.take(self.this.order).to_pylist()]


def measure(run: Path, plan: Plan, dataset: str, models: Sequence[str]) -> MeasuredSet:
    """Read and score some models' answers to a set, without intervals."""
    this = read_set(run, plan, dataset, models)
    parts = cells_of(this.fake, this.generator, this.generators)
    views = {model: View.of(this, model, plan.thresholds[model], NO_VALIDATION) for model in models}
    reason = {model for model in models if model in plan.reasoning or this.answers[model].reasoning is not None}
    texts = _texts(this, [views[model] for model in models if model in reason], parts) if reason else {}
    measured = {}
    for model, view in views.items():
        rows = [slice_scores(view, parts, part) for part in parts.slices]
        if this.generators:
            rows.append(macro_scores(view, rows))
        scores, sums = texts.get(model, ([], {}))
        everything = [score for row in rows for score in row] + scores
        measured[model] = Measured(view, everything, sums, digest_of_answers(this.answers[model]))
    return MeasuredSet(this, parts, read_labels(this.samples), measured)


def _texts(this: AnsweredSet, views: Sequence[View], parts: Cells) -> dict[str, tuple[list[Score], dict[str, Sums]]]:
    """Return by model the scores of its reasoning, and the parts of the guarded metrics."""
    from fdr_bench.scored_texts import packaged_encoder, slice_text_scores, written_texts
    from fdr_bench.text_terms import SetTexts

    texts = SetTexts(read_references(this.samples, this.order.tolist()), this.fake, packaged_encoder())
    found = {}
    for view in views:
        table = texts.terms(written_texts(view))
        scores = [score for part in parts.slices for score in slice_text_scores(this, view.model, table, parts, part)]
        sums = {name: Sums(table[name].top, table[name].bottom) for name in GUARDED_TEXTS if name in table}
        found[view.model] = (scores, sums)
    return found


def digest_of_answers(answers: Answers) -> str:
    """Return a sha256 over what a model said of each sample, whatever code and weights said it."""
    digest = hashlib.sha256()
    for column in (answers.reached, answers.score, answers.verdict, answers.forced):
        digest.update(column.tobytes())
    if answers.reasoning is not None:
        digest.update(json.dumps(answers.reasoning.to_pylist()).encode())
    return digest.hexdigest()


def digest_of_samples(labels: Labels) -> str:
    """Return a sha256 over ids, labels and generators."""
    names = [*labels.generators, None]  # -1 is the last
    rows = zip(labels.ids.to_pylist(), labels.fake.tolist(), labels.generator.tolist(), strict=True)
    digest = hashlib.sha256()
    for name, fake, generator in rows:
        digest.update(json.dumps([name, fake, names[generator]]).encode() + b"\n")
    return digest.hexdigest()


def definitions(names: Iterable[str]) -> dict[str, str]:
    """Return a digest of what each known metric means; unknown names are left out."""
    found = {}
    for name in names:
        if (metric := METRICS.get(name)) or (metric := TEXT_METRICS.get(name)):  # type: ignore[assignment]
            meaning = json.dumps([metric.definition, metric.needs, metric.higher_is_better])
            found[name] = hashlib.sha256(meaning.encode()).hexdigest()[:16]
    return found


def reference_of(run: Path, *, metrics: Sequence[str] = (), models: Sequence[str] = ()) -> Reference:
    """Return the reference that a finished run makes: all its models, or `models`.

    It guards `metrics`; without any, those of `GUARDED` and `GUARDED_TEXTS` that the run has. Raises
    `ComparisonError` where the run is not finished, lacks rows, or holds no model.
    """
    plan, manifest = read_plan(run), read_manifest(run)
    if not plan.finished:
        raise ComparisonError(f"{run} is not finished; finish it first: fdr-bench resume {run}")
    cells, sets = [], {}
    for dataset in plan.fingerprints:
        shown = [name for name in plan.thresholds if not plan.skipped & {(name, None), (name, dataset)}]
        shown = [name for name in shown if not models or name in models]
        if not shown:
            continue
        measured = measure(run, plan, dataset, shown)
        sets[dataset] = guarded_set(manifest["datasets"][dataset], measured)
        for model, found in measured.models.items():
            lacking = int((~found.view.reached).sum())
            if lacking or not len(found.view.reached):
                raise ComparisonError(
                    f"{model} has no row for {lacking} of {sets[dataset].n} images of {dataset}. It needs all: "
                    f"fdr-bench resume {run}"
                )
            cells.append(_cell(measured, model, manifest["models"][model]))
    if absent := sorted(set(models) - {cell.model for cell in cells}):
        has = ", ".join(dict.fromkeys(cell.model for cell in cells)) or "none"
        raise ComparisonError(f"{run} has no predictions of {', '.join(absent)}; it has those of: {has}")
    if not cells:
        raise ComparisonError(f"{run} holds no model's predictions, so it is no reference for anything")
    named = {metric for cell in cells for values in cell.values.values() for metric in values}
    guards = tuple(metrics) or tuple(name for name in (*GUARDED, *GUARDED_TEXTS) if name in named)
    if unknown := [name for name in guards if name not in named]:
        raise ComparisonError(f"{run} has no value of {', '.join(unknown)}; see 'fdr-bench list metrics'")
    code = manifest.get("code") or {}
    written = {"run": plan.run, "version": code.get("version"), "commit": code.get("commit")}
    known = definitions(sorted(named))
    return Reference(written=written, metrics=known, datasets=sets, guards=guards, cells=tuple(cells))


def guarded_set(facts: Row, measured: MeasuredSet) -> GuardedSet:
    """Return what identifies a set: facts of the run's manifest, and its samples."""
    fake = measured.this.fake
    return GuardedSet(
        spec=str(facts.get("spec", "")),
        fingerprint=str(facts["fingerprint"]),
        samples=digest_of_samples(measured.labels),
        n=len(fake),
        n_real=int((~fake).sum()),
        n_fake=int(fake.sum()),
        generators=measured.this.generators,
        notes=tuple(map(str, facts.get("notes", ()))),
    )


def other_set(before: GuardedSet, now: GuardedSet) -> str:
    """Return why two sets are not the same images; empty where they are.

    FDR-Scenes is rendered where it is used, and rounding may cost a byte: there the version in its notes decides.
    """
    if before.samples != now.samples:
        sizes = f"{now.n_real} real and {now.n_fake} fake now, {before.n_real} and {before.n_fake} in the reference"
        return f"other samples: {sizes}; ids, labels or generators differ"
    rendered = now.spec == "scenes" or now.spec.startswith("scenes:")
    if rendered and before.notes != now.notes:
        return f"another version of the dataset: {'; '.join(now.notes)} now, {'; '.join(before.notes)} in the reference"
    if before.fingerprint != now.fingerprint and not (rendered and before.spec == now.spec):
        return f"another version of the dataset: fingerprint {now.fingerprint[:12]}, not {before.fingerprint[:12]}"
    return ""


def _cell(measured: MeasuredSet, model: str, facts: Row) -> Cell:
    found, place = measured.models[model], np.argsort(measured.this.order)  # back into the order of samples.jsonl
    view = found.view
    marks = np.where(~view.answered, "-", np.where(view.called == view.this.fake, "1", "0"))[place]
    scores = [None if np.isnan(score) else score for score in view.score[place].tolist()]
    sums = {
        name: GuardedSums(
            top=tuple(np.round(each.top[place], DIGITS).tolist()),
            bottom=tuple(np.round(each.bottom[place], DIGITS).tolist()),
        )
        for name, each in found.sums.items()
    }
    return Cell(
        model=model,
        dataset=view.this.dataset,
        threshold=float(facts["threshold"]),
        predictions=found.predictions,
        weights_sha256=facts.get("weights_sha256"),
        values=found.values,
        right="".join(marks.tolist()),
        score=None if all(score is None for score in scores) else tuple(scores),
        forced="".join("01"[bit] for bit in view.forced[place].tolist()) if view.forced.any() else None,
        reasoning=sums,
    )


def remembered(cell: Cell, this: AnsweredSet) -> tuple[View, dict[str, Sums]]:
    """Return what a reference's model answered, in the order of `this`, a set with the reference's samples."""
    order = this.order
    marks = np.array(list(cell.right))[order]
    fake = np.where(marks == "1", this.fake, ~this.fake)
    unscored: NDArray[np.float64] = np.full(len(marks), np.nan)
    score = unscored if cell.score is None else np.array(cell.score, dtype=np.float64)[order]
    answers = Answers(
        reached=np.ones(len(marks), dtype=np.bool_),
        score=score,
        verdict=np.where(marks == "-", -1, fake).astype(np.int8),
        forced=np.zeros(len(marks), dtype=np.bool_)
        if cell.forced is None
        else (np.array(list(cell.forced)) == "1")[order],
        states_verdicts=True,  # so that an answer is what is marked as one, whatever the scores
    )
    view = View.of(replace(this, answers={cell.model: answers}), cell.model, cell.threshold, NO_VALIDATION)
    sums = {
        name: Sums(np.array(each.top, dtype=np.float64)[order], np.array(each.bottom, dtype=np.float64)[order])
        for name, each in cell.reasoning.items()
    }
    return view, sums
