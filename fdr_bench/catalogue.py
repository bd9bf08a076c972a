"""What there is to run: models, datasets and metrics as plain rows, and one detector's card."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fdr_bench import families, plugins, weights
from fdr_bench import models as resolving
from fdr_bench.errors import FDRBenchError, WeightsError
from fdr_bench.store import Row
from fdr_bench.types import Preset, Weights

if TYPE_CHECKING:
    from fdr_bench.selftest import CheckResult


def models() -> list[Row]:
    """Return a row for each installed detector and family of them; a broken one has its reason in "note"."""
    rows = []
    for listed in plugins.list_detectors():
        found, card = listed
        rows.append(
            {
                "model": found.name,
                "presets": ", ".join(card.presets) if card else None,
                "paper": card.paper if card else None,
                "package": f"{found.distribution} {found.version}",
                "note": found.problem,
            }
        )
    for found in plugins.discover(plugins.FAMILIES):
        package = f"{found.distribution} {found.version}"
        note = found.problem or f"any model by its name; 'fdr-bench show {found.name}:NAME' says more"
        rows.append({"model": f"{found.name}:NAME", "presets": None, "paper": None, "package": package, "note": note})
    return rows


def datasets() -> list[Row]:
    """Return a row for each kind of dataset, with the first sentence of its opener's docstring."""
    rows = []
    for found in plugins.discover(plugins.DATASETS):
        try:
            doc = getattr(plugins.load(plugins.DATASETS, found.name), "__doc__", None) or ""
            row: Row = {"dataset": found.name, "note": " ".join(doc.split("\n\n")[0].split())}
        except FDRBenchError as error:
            row = {"dataset": found.name, "note": str(error)}
        rows.append({**row, "package": f"{found.distribution} {found.version}"})
    return rows


def metrics() -> list[Row]:
    """Return a row for each metric with its definition and source."""
    from fdr_bench.judge.rubrics import metric_name, shipped
    from fdr_bench.metrics import METRICS, Metric
    from fdr_bench.metrics.text_metrics import TEXT_METRICS, TextMetric

    known: list[Metric | TextMetric] = [*METRICS.values(), *TEXT_METRICS.values()]
    return [
        {
            "metric": metric.name,
            "title": metric.title,
            "better": "higher" if metric.higher_is_better else "lower",
            "note": metric.definition,
            "source": metric.source,
        }
        for metric in known
    ] + [
        {
            "metric": metric_name(criterion, f"{rubric.label}+MODEL"),
            "title": f"judge: {criterion.replace('_', ' ')}",
            "better": "higher",
            "note": f"Mean mark by 'fdr-bench judge RUN --model MODEL' on {rubric.name}, from {rubric.lowest} as 0 "
            f"to {rubric.highest} as 1: {question}",
            "source": f"defined in this repository, rubric sha256 {rubric.sha256[:12]}",
        }
        for rubric in shipped().values()
        for criterion, question in rubric.criteria.items()
    ]


def card(name: str) -> dict[str, Any]:
    """Return all that a detector's card says, with where each preset's weights are on this machine."""
    target = families.parse(name).name
    found = families.load_detector(target).card
    facts = {key: value for key, value in asdict(found).items() if key != "presets"}
    facts["presets"] = {key: _preset(found.name, key, preset) for key, preset in found.presets.items()}
    if known := families.options_of(target):
        facts["options"] = dict(known)
    return facts


def _preset(detector: str, name: str, preset: Preset) -> Row:
    trained_on = preset.trained_on
    row: Row = {
        "trained on": f"{trained_on.dataset} ({', '.join(trained_on.generators)})" if trained_on else None,
        "parameters": preset.parameters,
        "views": ", ".join(preset.views),
        "note": preset.note,
    }
    for each in preset.weights:
        row[each.role] = _whereabouts(each, detector)
    return row


def _whereabouts(each: Weights, detector: str) -> str:
    try:
        return f"here: {weights.locate(each, detector=detector)}"
    except WeightsError as error:
        return f"missing: {error}"


def selftest(text: str, brought: Path | None, as_file: bool) -> list[CheckResult]:
    """Run the detector contract on a model, with its weights, on samples of the embedded benchmark."""
    from fdr_bench.data import open_dataset
    from fdr_bench.images import decode
    from fdr_bench.selftest import run_selftest

    names, files = ((), (text,)) if as_file else ((text,), ())
    (candidate,), _ = resolving.candidates(names, files, {})
    preset = resolving.preset_of(candidate, None, "official" if brought else "scenes")
    resolved = resolving.resolve_model(candidate, preset, str(brought) if brought else None, "cpu", "")
    samples = open_dataset("scenes:test?fakes=6&reals=60").samples
    labelled = [(decode(each.image.read(), each.image.location).pixels, each.label) for each in samples]
    model = resolved.model
    return run_selftest(
        candidate.factory,
        preset=model.preset if model else None,
        weights={role: Path(path) for role, path in model.weights.items()} if model else None,
        view=model.view if model else None,
        labelled=labelled,
    )
