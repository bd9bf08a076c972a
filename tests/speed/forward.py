"""Time a detector's forward, its bare loop and a run of it, in a process of its own, whose peak memory is told.

The process is `python -m tests.speed.forward MODEL IMAGES ROUNDS`: MODEL has the fields of `fdr_bench.engines.Model` as
JSON; what it prints is a `Cost`, again as JSON.
"""

from __future__ import annotations

import gc
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from PIL import Image

from baselines._torch import batches
from fdr_bench import runner
from fdr_bench.data import open_dataset
from fdr_bench.data.sampling import sample_evenly
from fdr_bench.engines import Model
from fdr_bench.engines.local import load
from fdr_bench.images import decode
from fdr_bench.record import PlannedModel, PlannedSet, write_samples
from fdr_bench.types import Dataset, Detector
from tests.speed.scoring import peak_memory

BATCH = 32


class Cost(NamedTuple):
    """Seconds of so many images, medians of the rounds, and the most memory that the first run took, in bytes."""

    images: int
    forward: float
    bare: float
    run: float
    peak_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.images / self.forward:>10.1f}/s{100 * self.forward / self.bare:>12.0f} %"
            f"{self.run / self.bare:>14.2f} x{self.peak_bytes / 1e9:>12.2f} GB"
        )


HEADING = f"{'forward alone':>12}{'of bare loop':>14}{'run, 1 worker':>16}{'peak memory':>15}"


class Stopwatch:
    """Progress that times what lies between the first dataset's start, with all models loaded, and its finish."""

    def start(self, dataset, models, total, done):
        self._begun = time.perf_counter()

    def advance(self, dataset, samples, failures, seconds):
        pass

    def finish(self, dataset):
        self.seconds = time.perf_counter() - self._begun


def scenes(images: int) -> Dataset:
    """Return so many images of FDR-Scenes, evenly chosen."""
    dataset = open_dataset("scenes")
    samples = sample_evenly(dataset.samples, images)
    return Dataset(name="speed", spec="scenes", samples=samples, fingerprint=dataset.fingerprint)


def bare_loop(detector: Detector, dataset: Dataset) -> float:
    """Time what a user would write by hand: open, convert, preprocess, forward, in batches of one shape."""
    begun = time.perf_counter()
    for start in range(0, len(dataset.samples), BATCH):
        batch = dataset.samples[start : start + BATCH]
        images = [Image.open(io.BytesIO(Path(sample.image.path).read_bytes())).convert("RGB") for sample in batch]
        if hasattr(detector, "logits"):
            for inputs in prepared(detector, images):
                torch.sigmoid(detector.logits(*inputs)).tolist()
        else:
            detector.predict(images)
    return time.perf_counter() - begun


def forward(detector: Detector, dataset: Dataset) -> float:
    """Time the network alone, with its inputs at hand; of a model without `logits`, all that it does with pixels."""
    seconds = 0.0
    for start in range(0, len(dataset.samples), BATCH):
        batch = dataset.samples[start : start + BATCH]
        images = [decode(sample.image.read(), sample.id).pixels for sample in batch]
        if not hasattr(detector, "logits"):
            begun = time.perf_counter()
            detector.predict(images)
            seconds += time.perf_counter() - begun
            continue
        for inputs in prepared(detector, images):
            begun = time.perf_counter()
            detector.logits(*inputs).tolist()
            seconds += time.perf_counter() - begun
    return seconds


def prepared(detector: Detector, images: Sequence[Image.Image]) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield what the network takes, an input of pixels and what is beside it, for all images of one shape at a time."""
    for positions, arrays in batches(map(detector.preprocess, images)):
        yield torch.from_numpy(arrays), *detector.beside([images[position] for position in positions])


def run(models: Sequence[tuple[Model, str]], dataset: Dataset, *, workers: int) -> float:
    """Time a run of these models, each with the key of its predictions; loading them is left out.

    Raises `RuntimeError` where an image has no answer: the time would tell nothing.
    """
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "run"
        planned = PlannedSet(dataset, [PlannedModel(model, key) for model, key in models], [])
        write_samples(place, dataset)
        totals = runner.execute(
            place, [planned], batch=BATCH, workers=workers, threads=1, device="cpu", progress=watch, began=time.time()
        )
    if totals.unloadable or any(totals.failures.values()):
        raise RuntimeError(f"not all images were scored: {totals.unloadable}, failures {totals.failures}")
    return watch.seconds


def measure(model: Model, images: int, rounds: int) -> Cost:
    """Measure in a process of its own, with one torch thread."""
    words = [sys.executable, "-m", "tests.speed.forward", json.dumps(asdict(model)), str(images), str(rounds)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Print the cost of one model."""
    model, images, rounds = Model(**json.loads(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    dataset = scenes(images)
    one = replace(dataset, samples=dataset.samples[:1])
    run([(model, "speed")], one, workers=1)  # kernels and modules are fetched once
    rows, peak = [], 0
    for _ in range(rounds):
        seconds = run([(model, "speed")], dataset, workers=1)
        peak = peak or peak_memory()  # before anything is loaded a second time
        gc.collect()
        detector = load(model)
        forward(detector, one)
        rows.append((forward(detector, dataset), bare_loop(detector, dataset), seconds))
        del detector
        gc.collect()
    print(json.dumps(Cost(len(dataset.samples), *map(median, zip(*rows, strict=True)), peak)))


if __name__ == "__main__":
    main()
