"""Hold a run against a committed reference: `fdr-bench check`.

Two kinds of tolerance. Where the run has the reference's own predictions, every metric must come out the same: what
changed is the scoring. Where the predictions are fresh, a metric has regressed if it is worse by more than the
tolerance, the interval of the paired difference excludes zero, and its p-value stands after Holm's correction for all
that the check compares: chance alone fails a check at most as often as 1 - level, however much is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fdr_bench.answered_sets import read_plan
from fdr_bench.check.findings import EVERYTHING, STATUSES, Finding, Flips, Report, Status
from fdr_bench.check.guarded import (
    GUARDED,
    Measured,
    MeasuredSet,
    definitions,
    guarded_set,
    measure,
    other_set,
    remembered,
)
from fdr_bench.check.options import USUAL, Options
from fdr_bench.check.reference import Cell, Reference
from fdr_bench.compare.paired import Paired, paired_detection, paired_reasoning, right_of
from fdr_bench.errors import nearest
from fdr_bench.metrics import METRICS
from fdr_bench.metrics.statistics import holm
from fdr_bench.metrics.text_metrics import TEXT_METRICS
from fdr_bench.scored_slices import View
from fdr_bench.store import read_manifest

EXACT = 1e-9  # values that differ by less are one number, computed elsewhere
ROUNDED = 1e-6  # the same for reasoning, whose parts a reference keeps to nine digits


def check(
    run: Path, reference: Reference, options: Options = USUAL, *, name: str = "reference", run_name: str | None = None
) -> Report:
    """Compare a run with a reference. Raises `RunError` where the folder is no run or a row of it is damaged.

    The report calls the two by `name` and `run_name` (None: the folder).
    """
    return _Check(run, reference, options).report(name, run_name or str(run))


@dataclass(slots=True)
class _Check:
    run: Path
    reference: Reference
    options: Options
    findings: list[Finding] = field(default_factory=list)
    pending: list[tuple[Cell, Paired]] = field(default_factory=list)
    flips: list[Flips] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unlike: set[str] = field(default_factory=set)  # metrics that mean something else now, or nothing

    def report(self, name: str, run_name: str) -> Report:
        known = list(dict.fromkeys(cell.model for cell in self.reference.cells))
        for model in self.options.models:
            if model not in known:
                self._incomparable(f"the reference has no such model.{nearest(model, known)}", model=model)
        self._compare_definitions()
        cells = [cell for cell in self.reference.cells if not self.options.models or cell.model in self.options.models]
        for dataset in dict.fromkeys(cell.dataset for cell in cells):
            self._check_set(dataset, [cell for cell in cells if cell.dataset == dataset])
        self._judge()
        if not self.findings:
            self._incomparable("nothing was compared")
        extra = [model for model in read_plan(self.run).thresholds if model not in known]
        if extra and not self.options.models:
            self.notes.append(f"not in the reference, so not checked: {', '.join(extra)}")
        return Report(
            run=run_name,
            reference=name,
            settings=self.options.settings,
            findings=tuple(sorted(self.findings, key=lambda each: STATUSES.index(each.status))),
            flips=tuple(self.flips),
            notes=tuple(self.notes),
        )

    def _incomparable(
        self, note: str, *, model: str = "–", dataset: str = "–", slice: str = "–", metric: str = EVERYTHING
    ) -> None:
        self.findings.append(
            Finding(model=model, dataset=dataset, slice=slice, metric=metric, status="incomparable", note=note)
        )

    def _compare_definitions(self) -> None:
        asked, recorded = self.options.metrics, self.reference.metrics
        now = definitions([*recorded, *asked])
        for metric in asked or sorted({*recorded, *self.reference.guards}):
            if metric not in now:
                alike = nearest(metric, [*METRICS, *TEXT_METRICS])
                note = f"no metric has this name here: it was renamed or removed.{alike}"
            elif metric not in recorded:
                note = "the reference has no value of it; write it anew with --update"
            elif now[metric] != recorded[metric]:
                note = "its definition is another one than when the reference was written"
            else:
                continue
            self.unlike.add(metric)
            self._incomparable(note, metric=metric)

    def _check_set(self, dataset: str, cells: Sequence[Cell]) -> None:
        plan, manifest = read_plan(self.run), read_manifest(self.run)
        reasons = {
            (row["model"], row.get("dataset")): str(row.get("reason", "")) for row in manifest.get("skipped", ())
        }
        present = []
        for cell in cells:
            why = reasons.get((cell.model, None), reasons.get((cell.model, dataset)))
            if dataset not in plan.fingerprints:
                note = f"the run has no such dataset; it has {', '.join(plan.fingerprints) or 'none'}"
            elif cell.model not in plan.thresholds or why is not None:
                alike = nearest(cell.model, plan.thresholds)
                skipped = f"the run skipped this model: {why or 'it does not say why'}"
                note = f"the run has no such model.{alike}" if why is None else skipped
            else:
                present.append(cell)
                continue
            self._incomparable(note, model=cell.model, dataset=dataset)
        if not present:
            return
        measured = measure(self.run, plan, dataset, [cell.model for cell in present])
        guarded = self.reference.datasets[dataset]
        fault = other_set(guarded, guarded_set(manifest["datasets"][dataset], measured))
        for cell in present:
            found = measured.models[cell.model]
            lacking = int((~found.view.reached).sum())
            if fault:
                self._incomparable(fault, model=cell.model, dataset=dataset)
            elif lacking:
                note = f"{lacking} of {guarded.n} images have no row yet: fdr-bench resume {self.run}"
                self._incomparable(note, model=cell.model, dataset=dataset)
            else:
                self._check_cell(cell, measured, found)

    def _check_cell(self, cell: Cell, measured: MeasuredSet, found: Measured) -> None:
        if found.view.this.answers[cell.model].reached.size == 0:
            self._incomparable("there are no images in the set", model=cell.model, dataset=cell.dataset)
            return
        compared = len(self.findings) + len(self.pending)
        same = found.predictions == cell.predictions
        if self.options.mode == "exact" or (self.options.mode == "auto" and same):
            self._check_exactly(cell, found)
        else:
            self._check_statistically(cell, measured, found)
        if len(self.findings) + len(self.pending) == compared:
            note = "the reference has no value of any metric that is checked"
            self._incomparable(note, model=cell.model, dataset=cell.dataset)

    def _check_exactly(self, cell: Cell, found: Measured) -> None:
        values, equal = found.values, 0
        wanted = set(self.options.metrics)
        for part, of_part in cell.values.items():
            for metric, before in of_part.items():
                if metric in self.unlike or (wanted and metric not in wanted):
                    continue
                now = values.get(part, {}).get(metric)
                if now is None:
                    self._undefined(cell, found, part, metric)
                    continue
                near = ROUNDED if metric in TEXT_METRICS else EXACT
                if abs(now[0] - before[0]) <= near and now[1:] == before[1:]:
                    equal += 1
                    continue
                counts = "" if now[1:] == before[1:] else f"n (missing) was {before[1]} ({before[2]})"
                self.findings.append(
                    _finding(
                        cell, part, metric, "regressed", before[0], now[0], now[1], counts or "not the same number"
                    )
                )
        if equal:
            note = f"{equal} values are the same"
            self.findings.append(_finding(cell, "all", EVERYTHING, "holds", None, None, len(cell.right), note))

    def _check_statistically(self, cell: Cell, measured: MeasuredSet, found: Measured) -> None:
        before, sums = remembered(cell, found.view.this)
        metrics = [name for name in self.options.metrics or self.reference.guards if name not in self.unlike]
        chosen = [name for name in metrics if name in METRICS]
        settings, threads = self.options.settings, self.options.threads
        rows = paired_detection(before, found.view, measured.parts, metrics=chosen, settings=settings, threads=threads)
        mine = {name: each for name, each in sums.items() if name in metrics}
        rows += paired_reasoning(mine, found.sums, found.view, measured.parts, settings=settings)
        given = {(row.slice, row.metric) for row in rows}
        for metric in metrics:
            if metric in cell.values.get("all", {}) and ("all", metric) not in given:
                self._undefined(cell, found, "all", metric)
        for row in rows:
            if row.slice != "all" and row.metric not in (*self.options.metrics, GUARDED[0]):
                continue
            recorded = cell.values.get(row.slice, {}).get(row.metric)
            near = ROUNDED if row.metric in TEXT_METRICS else EXACT
            if recorded is None:
                continue
            if row.first is None or abs(row.first - recorded[0]) > near:
                note = (
                    f"the reference's own answers give {_shown(row.first)} now, not the {_shown(recorded[0])} recorded"
                )
                self._incomparable(note, model=cell.model, dataset=cell.dataset, slice=row.slice, metric=row.metric)
            elif row.difference is None or row.p_value is None or row.interval is None:
                self._undefined(cell, found, row.slice, row.metric)
            else:
                self.pending.append((cell, row))
        self.flips.append(_flips(cell, before, found.view, measured.ids))

    def _undefined(self, cell: Cell, found: Measured, part: str, metric: str) -> None:
        said = (each.reason for each in found.scores if (each.slice, each.metric) == (part, metric) and each.reason)
        note = f"it had a value and has none now: {next(said, 'too few resamples have one')}"
        self._incomparable(note, model=cell.model, dataset=cell.dataset, slice=part, metric=metric)

    def _judge(self) -> None:
        """Turn what was compared statistically into findings, corrected for the number of comparisons."""
        alpha = 1 - self.options.settings.level
        adjusted = holm(np.array([row.p_value for _, row in self.pending], dtype=np.float64))
        for (cell, row), p_value in zip(self.pending, adjusted.tolist(), strict=True):
            tolerance = self.options.tolerances.of(row.metric)
            assert row.interval is not None and row.gain is not None  # as `_check_statistically` sees to
            beyond = abs(row.gain) > tolerance + EXACT
            certain = p_value <= alpha and not row.interval.low <= 0.0 <= row.interval.high
            worse = row.gain < 0
            status = ("regressed" if worse else "improved") if beyond and certain else "holds"
            note = ""
            if status == "holds" and beyond:
                note = f"{'worse' if worse else 'better'}, but chance could give it, over so many comparisons"
            elif status == "holds" and certain:
                note = f"{'worse' if worse else 'better'}, within the tolerance"
            self.findings.append(
                Finding(
                    model=cell.model,
                    dataset=cell.dataset,
                    slice=row.slice,
                    metric=row.metric,
                    status=status,  # type: ignore[arg-type]
                    kind="statistical",
                    before=row.first,
                    now=row.second,
                    difference=row.difference,
                    interval=row.interval,
                    p_value=p_value,
                    tolerance=tolerance,
                    n=row.n,
                    note=note,
                )
            )


def _finding(
    cell: Cell, part: str, metric: str, status: Status, before: float | None, now: float | None, n: int, note: str
) -> Finding:
    return Finding(
        model=cell.model,
        dataset=cell.dataset,
        slice=part,
        metric=metric,
        status=status,
        kind="exact",
        before=before,
        now=now,
        difference=None if before is None or now is None else now - before,
        tolerance=0.0,
        n=n,
        note=note,
    )


def _flips(cell: Cell, before: View, now: View, ids: Sequence[str]) -> Flips:
    was, is_ = right_of(before), right_of(now)
    return Flips(
        cell.model,
        cell.dataset,
        tuple(ids[place] for place in np.flatnonzero(was & ~is_).tolist()),
        tuple(ids[place] for place in np.flatnonzero(~was & is_).tolist()),
    )


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.6f}"
