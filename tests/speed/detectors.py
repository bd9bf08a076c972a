"""Time a run against a bare loop of decode, preprocessing and forward over the same files."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from PIL import Image

from fdr_bench import plugins, runner
from fdr_bench.data import open_dataset
from fdr_bench.data.sampling import sample_evenly
from fdr_bench.engines.local import load
from fdr_bench.errors import WeightsError
from fdr_bench.models import Resolved, candidates, resolve_model
from fdr_bench.record import PlannedModel, PlannedSet, write_samples
from fdr_bench.types import Dataset

BATCH = 32
SLOW_SHARE = 5
"""A model that writes is timed on one image in so many."""


class Stopwatch:
    """Progress that times what lies between the first dataset's start, with all models loaded, and its finish."""

    def start(self, dataset, models, total, done):
        self._begun = time.perf_counter()

    def advance(self, dataset, samples, failures, seconds):
        pass

    def finish(self, dataset):
        self.seconds = time.perf_counter() - self._begun


def measure_all(images: int, rounds: int) -> Iterator[str]:
    """Yield a line a detector, then the line of all detectors together."""
    dataset = open_dataset("scenes")
    samples = sample_evenly(dataset.samples, images)
    whole = Dataset(name="speed", spec="scenes", samples=samples, fingerprint=dataset.fingerprint)
    part = replace(whole, samples=sample_evenly(samples, max(1, len(samples) // SLOW_SHARE)))
    found = list(_resolved())
    models = [model for model, _ in found]
    sets = {model.label: part if writes else whole for model, writes in found}
    fast = [model for model, writes in found if not writes]
    yield (
        f"{len(samples)} images of FDR-Scenes, {len(part.samples)} where the model writes; one torch thread a process; "
        "loading models is in no figure"
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
    """Time what a user would write by hand: open, convert, preprocess, forward, in batches."""
    torch.set_num_threads(1)
    detector = load(resolved.model)
    begun = time.perf_counter()
    for start in range(0, len(dataset.samples), BATCH):
        batch = dataset.samples[start : start + BATCH]
        images = [Image.open(io.BytesIO(Path(sample.image.path).read_bytes())).convert("RGB") for sample in batch]
        if hasattr(detector, "logits"):
            tensors = torch.stack([torch.from_numpy(detector.preprocess(image)) for image in images])
            torch.sigmoid(detector.logits(tensors)).tolist()
        else:
            detector.predict(images)
    return time.perf_counter() - begun


def _run(models: Sequence[Resolved], dataset: Dataset, *, workers: int) -> float:
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        planned = PlannedSet(dataset, [PlannedModel(each.model, each.key) for each in models], [])
        write_samples(run, dataset)
        runner.execute(
            run, [planned], batch=BATCH, workers=workers, threads=1, device="cpu", progress=watch, began=time.time()
        )
    return watch.seconds
