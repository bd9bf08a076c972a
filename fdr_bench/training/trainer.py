"""Train a detector: from a dataset to a folder of weights.

OUT/unfinished.pt        the state of a training that has not ended; gone afterwards
OUT/model.safetensors    the weights with the best held-out accuracy
OUT/card.json            what they are and how they came about; written last
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fdr_bench.errors import DataError, RunError, UsageError, nearest
from fdr_bench.store import Lock, read_json, write_json
from fdr_bench.training import checkpoint
from fdr_bench.training.loop import Loop, processor_seconds
from fdr_bench.training.pixels import Geometry, ImageSet, load
from fdr_bench.training.progress import TrainingProgress
from fdr_bench.training.recipe import Recipe, Trainable
from fdr_bench.training.repeatable import check_device, repeatable
from fdr_bench.training.result import card, write_weights
from fdr_bench.training.split import hold_out
from fdr_bench.types import Dataset, Sample

if TYPE_CHECKING:
    from torch import nn

CARD = "card.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be trained on what; all that decides the resulting weights, but for the software and `threads`."""

    factory: Trainable
    dataset: Dataset
    validation: Dataset | None
    size: str
    recipe: Recipe
    seed: int

    @property
    def architecture(self) -> Mapping[str, object]:
        return self.factory.sizes()[self.size]

    @property
    def identity(self) -> str:
        """The sha256 that tells whether a checkpoint or a finished folder is of this job."""
        return checkpoint.identity(
            {
                "detector": self.factory.card.name,
                "version": self.factory.card.version,
                "size": self.size,
                "architecture": dict(self.architecture),
                "recipe": asdict(self.recipe) | {"view": repr(self.recipe.view)},
                "seed": self.seed,
                "data": self.dataset.fingerprint,
                "validation": None if self.validation is None else self.validation.fingerprint,
            }
        )


def train(
    factory: Trainable,
    dataset: Dataset,
    *,
    size: str,
    out: Path,
    seed: int = 0,
    epochs: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    max_minutes: float | None = None,
    validation: Dataset | None = None,
    threads: int | None = None,
    device: str = "cpu",
    resume: bool = True,
    max_failures: int = 100,
    checkpoint_seconds: float = 60.0,
    quiet: bool = False,
) -> Path:
    """Train a detector of one size and return the folder of its weights, `out`.

    `epochs`, `batch` and `lr` replace the recipe's. `max_minutes` of wall time, decoding included, end the training
    earlier, with the learning rate gone down to 0 by then. Without `validation`, the recipe's share of `dataset` is
    held out. `threads` of the processor (None: torch's choice) also decode. `resume` continues what a killed training
    left in `out`, and returns at once where the same training has finished there; without it `out` is begun anew.
    Up to `max_failures` images that cannot be decoded are left out and named on stderr.

    The same job with the same software, `threads` and device gives the same bytes of weights, interrupted or not,
    unless `max_minutes` ended it. Raises `UsageError` for an unknown size or impossible numbers, `DataError` for a
    class without images or too many broken ones, `RunError` where `out` is in use or of another training.
    """
    started, cpu_started = time.monotonic(), processor_seconds()
    recipe = _recipe(factory, size, epochs=epochs, batch=batch, lr=lr)
    job = Job(factory=factory, dataset=dataset, validation=validation, size=size, recipe=recipe, seed=seed)
    with ExitStack() as stack:
        stack.enter_context(Lock(out))
        if _finished(out, job, resume):
            (out / ".lock").unlink(missing_ok=True)
            return out
        check_device(device)
        stack.enter_context(repeatable(threads, device))
        progress = stack.enter_context(TrainingProgress(quiet))
        training, held, left_out = _images(job, threads, max_failures, progress)
        seconds = None if max_minutes is None else max_minutes * 60
        network = _network(job)
        loop = Loop(network, recipe, training, held, seed=seed, device=device, seconds=seconds)
        # Decoding and building count as part of the training.
        loop.before, loop.cpu_before = time.monotonic() - started, processor_seconds() - cpu_started
        _run(loop, out / checkpoint.NAME, job.identity, checkpoint_seconds, progress)
        loop.finish()
        write_weights(network, recipe, out)
        facts = card(job, loop, left_out=left_out, threads=threads, max_minutes=max_minutes)
        write_json(out / CARD, facts)
        # The folder is shipped and hashed as it is. Whoever comes now finds it finished, with or without a lock.
        for leftover in (checkpoint.NAME, ".lock"):
            (out / leftover).unlink(missing_ok=True)
        progress.line(_summary(loop, out))
    return out


def _recipe(factory: Trainable, size: str, *, epochs: int | None, batch: int | None, lr: float | None) -> Recipe:
    """Return the detector's recipe with the given numbers in place of its own."""
    sizes = factory.sizes()
    if size not in sizes:
        raise UsageError(
            f"{factory.card.name} has no size '{size}'. It can be trained as {', '.join(sizes)}.{nearest(size, sizes)}"
        )
    given: dict[str, Any] = {"epochs": epochs, "batch": batch, "lr": lr}
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if not value > 0:
            raise UsageError(f"--{name} is {value}; it must be above 0")
    return replace(factory.recipe(size), **given)


def _finished(out: Path, job: Job, resume: bool) -> bool:
    """Tell whether this very job has ended in `out`; clear the folder where it is to be begun anew."""
    if not resume:
        for name in (CARD, checkpoint.NAME):
            (out / name).unlink(missing_ok=True)
        return False
    if not (out / CARD).exists():
        return False
    if read_json(out / CARD).get("identity") == job.identity:
        return True
    raise RunError(f"{out} holds weights of another training; choose another --out, or give --restart to replace them")


def _images(
    job: Job, threads: int | None, max_failures: int, progress: TrainingProgress
) -> tuple[ImageSet, ImageSet, dict[str, Any]]:
    """Decode the images; return those to train on, those held out, and an account of what was left out."""
    recipe = job.recipe
    samples = list(job.dataset.samples)
    if job.validation is None:
        held = hold_out(samples, recipe.validation, job.seed)
        chosen = [sample for sample, is_held in zip(samples, held, strict=True) if is_held]
        samples = [sample for sample, is_held in zip(samples, held, strict=True) if not is_held]
    else:
        chosen = list(job.validation.samples)
    workers = threads or os.cpu_count() or 1
    progress.decoding(len(samples) + len(chosen))

    def decoded(part: list[Sample], geometry: Geometry) -> tuple[ImageSet, dict[str, str]]:
        return load(part, geometry, workers=workers, advance=progress.advance)

    held_out, broken = decoded(chosen, Geometry(recipe.view))
    training, more = decoded(samples, Geometry.resize(recipe.resize))
    failures = broken | more
    for reason in failures.values():
        progress.line(f"left out: {reason}")
    if len(failures) > max_failures:
        raise DataError(
            f"{len(failures)} of {len(samples) + len(chosen)} images of {job.dataset.spec} cannot be decoded, more "
            f"than the {max_failures} that may be left out; each is named above. Repair or remove them"
        )
    # The bytes of a held-out image may stand in the training data under another name.
    known = set(held_out.sha256)
    fresh = np.array([digest not in known for digest in training.sha256], dtype=np.bool_)
    if not fresh.all():
        progress.line(f"left out: {int((~fresh).sum())} training images that are also held out, byte for byte")
        training = training.keep(fresh)
    _check_classes(training, job.dataset.spec)
    return training, held_out, {"failed": sorted(failures), "duplicates_of_held_out": int((~fresh).sum())}


def _check_classes(training: ImageSet, spec: str) -> None:
    n, n_fake = len(training.fake), int(training.fake.sum())
    if not 0 < n_fake < n:
        raise DataError(f"{spec} has {n - n_fake} real and {n_fake} fake images to train on; both classes are needed")


def _network(job: Job) -> nn.Module:
    import torch

    torch.manual_seed(job.seed)
    return job.factory.network(**copy.deepcopy(dict(job.architecture)))


def _run(loop: Loop, path: Path, identity: str, every: float, progress: TrainingProgress) -> None:
    """Run the loop from where an earlier process left it, with a checkpoint at most every so many seconds."""
    state = checkpoint.load(path, identity)
    if state is not None:
        loop.restore(state)
        progress.line(f"continued at epoch {loop.epoch + 1}, step {loop.step} of {loop.steps}")
    saved = time.monotonic()
    shown = len(loop.history)

    def report(loop: Loop) -> None:
        known = loop.best_validation
        accuracy = None if known is None else known.accuracy
        number, loss = loop.epoch * loop.steps + loop.step, loop.loss_sum / loop.step
        progress.step(number, loop.pace.fraction, epoch=loop.epoch + 1, loss=loss, accuracy=accuracy)

    def save() -> None:
        nonlocal saved, shown
        for row in loop.history[shown:]:
            progress.line("  ".join(f"{name} {value:.5g}" for name, value in row.items()))
        shown = len(loop.history)
        if time.monotonic() - saved >= every:
            checkpoint.save(path, identity, loop.state())
            saved = time.monotonic()

    loop.run(report, save)


def _summary(loop: Loop, out: Path) -> str:
    known = "" if loop.best_validation is None else f", held-out accuracy {loop.best_validation.accuracy:.4f}"
    return f"{out}: epoch {loop.best_epoch} of {loop.epoch}{known}, {loop.elapsed / 60:.1f} min"
