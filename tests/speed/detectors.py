"""Time runs against bare loops of decode, preprocessing and forward over the same files, and each forward alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from statistics import median

import torch

from fdr_bench import plugins
from fdr_bench.data.sampling import sample_evenly
from fdr_bench.engines.local import load
from fdr_bench.errors import WeightsError
from fdr_bench.models import Resolved, candidates, resolve_model
from fdr_bench.types import Dataset
from tests.passes import counted_passes
from tests.speed.forward import HEADING, bare_loop, measure, run, scenes

SLOW_SHARE = 5
"""A model that writes is timed on one image in so many."""


def measure_all(images: int, rounds: int) -> Iterator[str]:
    """Yield a line a detector, then the line of all detectors together, then each one's forward and memory."""
    whole = scenes(images)
    part = replace(whole, samples=sample_evenly(whole.samples, max(1, len(whole.samples) // SLOW_SHARE)))
    found = list(_resolved())
    models = [model for model, _ in found]
    sets = {model.label: part if writes else whole for model, writes in found}
    fast = [model for model, writes in found if not writes]
    yield (
        f"{len(whole.samples)} images of FDR-Scenes, {len(part.samples)} where the model writes; one torch thread a "
        "process; loading models is in no figure"
    )
    yield f"{'':24}{'bare loop':>12}{'run, 1 worker':>16}{'run, 2 workers':>16}   (asked: at most 1.10, under 0.70)"
    timings: dict[str, list[tuple[float, float, float]]] = {model.label: [] for model in models}
    together = []
    for _ in range(rounds):  # everything in every round, so that a machine that slows down slows all of it
        for model in models:
            given = sets[model.label]
            bare, one = _bare_loop(model, given), _run([model], given, workers=1)
            timings[model.label].append((bare, one, _run([model], given, workers=2)))
        singles = sum(timings[model.label][-1][1] for model in fast)
        together.append(_run(fast, whole, workers=1) / singles)
    for label, rows in timings.items():
        ratio_one, ratio_two = (median(row[place] / row[0] for row in rows) for place in (1, 2))
        yield f"{label:24}{median(row[0] for row in rows):>10.2f} s{ratio_one:>13.2f} x{ratio_two:>13.2f} x"
    yield f"the {len(fast)} that write nothing in one run, against the sum of single runs: {median(together):.2f} x"
    yield _passes(fast, whole)
    yield f"\n{'each in a process':24}{HEADING}"
    for model in models:
        yield f"{model.label:24}{measure(model.model, len(sets[model.label].samples), rounds)}"


def _passes(models: list[Resolved], dataset: Dataset) -> str:
    """Count the images that pass through image towers of CLIP: in one run, and in a run a model."""
    with counted_passes() as alone:
        for model in models:
            _run([model], dataset, workers=1)
    with counted_passes() as together:
        _run(models, dataset, workers=1)
    return f"images through CLIP's image tower in one run: {sum(together)}; in single runs: {sum(alone)}"


def _resolved() -> Iterator[tuple[Resolved, bool]]:
    """Yield each embedded detector and whether it writes."""
    found, _ = candidates(("all",), (), {})
    for candidate in found:
        card = candidate.factory.card
        if hasattr(candidate.factory, "predict_set") or "scenes" not in card.presets:
            continue
        try:
            yield resolve_model(candidate, "scenes", None, "cpu", ""), card.reasons
        except (WeightsError, plugins.PluginError) as error:
            print(f"left out {candidate.name}: {error}")


def _bare_loop(resolved: Resolved, dataset: Dataset) -> float:
    torch.set_num_threads(1)
    return bare_loop(load(resolved.model), dataset)


def _run(models: list[Resolved], dataset: Dataset, *, workers: int) -> float:
    return run([(each.model, each.key) for each in models], dataset, workers=workers)
