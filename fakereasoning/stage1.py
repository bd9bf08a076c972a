"""Stage 1: make the vision side sensitive to forgery by FACL, on samples with attribute sentences.

OUT/sentences-….npy      the encoded sentences; gone afterwards
OUT/unfinished.pt        the state of a training that has not ended; gone afterwards
OUT/model.safetensors    the whole model, its trained towers in place, with config.json
OUT/card.json            what it is, how it came about, and the measures after every epoch; written last
"""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from fakereasoning.facl_loop import FaclLoop, Material
from fakereasoning.facl_recipe import FaclRecipe
from fakereasoning.model import FakeReasoning
from fakereasoning.pixels import TrainingImages
from fakereasoning.statements import Statements, statements, text_vectors
from fdr_bench.errors import RunError
from fdr_bench.metrics.sentences import SentenceEncoder, minilm
from fdr_bench.store import Lock, read_json, write_json
from fdr_bench.training import checkpoint
from fdr_bench.training.progress import TrainingProgress
from fdr_bench.training.repeatable import check_device, repeatable
from fdr_bench.training.split import hold_out
from fdr_bench.types import Sample

FORMAT = 1
CARD = "card.json"
PACKAGES = ("fdr-bench", "torch", "transformers", "tokenizers", "numpy", "pillow", "scipy")


class FaclResult(NamedTuple):
    """A finished FACL: the model on the processor, in evaluation mode, and what its card says."""

    model: FakeReasoning
    card: Mapping[str, Any]


def train_facl(
    model: FakeReasoning,
    samples: Sequence[Sample],
    *,
    out: Path,
    recipe: FaclRecipe,
    seed: int = 0,
    resume: bool = True,
    threads: int | None = None,
    device: str = "cpu",
    max_minutes: float | None = None,
    quiet: bool = False,
    encoder: SentenceEncoder | None = None,
    facts: Mapping[str, Any] | None = None,
    checkpoint_seconds: float = 60.0,
) -> FaclResult:
    """Train the model's towers on samples with attributes and write it to the folder `out`; `model` is used up.

    `encoder` defaults to MiniLM. `max_minutes` of wall time, preparation
    included, end the training earlier, with the learning rate gone down to 0 by then. `resume` continues what a killed
    training left in `out`, and returns at once where the same training has finished there; without it `out` is begun
    anew. `facts` are added to the card.

    Equal calls with equal software, `threads` and device give equal weights, interrupted or not, unless `max_minutes`
    ended them. Raises `DataError` where an image cannot be read or there is nothing to compare, `UsageError` for a
    recipe that does not fit the model, `RunError` where `out` is in use, of another training, or the loss diverges.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(repeatable(threads, device))
        check_device(device)
        stack.enter_context(Lock(out))
        progress = stack.enter_context(TrainingProgress(quiet))
        stated = statements(samples)
        images = TrainingImages(
            [sample.image for sample in samples],
            model.config.image_size,
            pad=model.config.pad_to_square,
            threads=torch.get_num_threads(),
        )
        encoder = minilm() if encoder is None else encoder
        identity = _identity(model, stated, images, recipe, seed, encoder)
        if (finished := _finished(out, identity, resume)) is not None:
            return finished
        held = hold_out(samples, recipe.held_out, seed)
        learnt = np.flatnonzero(~held)
        vectors = text_vectors(stated, learnt, encoder, out)
        progress.decoding(len(images))
        images.keep(progress.advance)
        material = Material(images, stated, vectors, learnt, np.flatnonzero(held))
        seconds = None if max_minutes is None else max_minutes * 60
        loop = FaclLoop(model, material, recipe=recipe, seed=seed, device=device, seconds=seconds)
        # Reading images and encoding sentences count as part of the training.
        loop.before = time.monotonic() - started
        _run(loop, out, identity, checkpoint_seconds, progress)
        told = _facts(samples, loop, encoder, identity, threads, max_minutes)
        model.cpu().save_pretrained(out)
        write_json(out / CARD, told | dict(facts or {}))
        _remove(out, ("unfinished.pt", "sentences-*.npy", ".lock"))
        return FaclResult(FakeReasoning.from_pretrained(out), read_json(out / CARD))


def _run(loop: FaclLoop, out: Path, identity: str, every: float, progress: TrainingProgress) -> None:
    """Run the loop from where an earlier process left it, with a saved state at most every so many seconds."""
    path = out / checkpoint.NAME
    if (state := checkpoint.load(path, identity)) is not None:
        loop.restore(state)
        progress.line(f"continued at epoch {loop.epoch + 1}, step {loop.in_epoch} of {loop.steps}")
    saved, shown = loop.elapsed(), len(loop.history)

    def show() -> None:
        nonlocal shown
        for row in loop.history[shown:]:
            progress.line("  ".join(f"{name} {value:.5g}" for name, value in row.items()))
        shown = len(loop.history)

    def report(loop: FaclLoop) -> None:
        done = loop.in_epoch or loop.steps
        epoch = (loop.position - 1) // loop.steps + 1
        progress.step(loop.position, loop.pace.fraction, epoch=epoch, loss=sum(loop.sums) / done)

    def save(loop: FaclLoop) -> None:
        nonlocal saved
        show()
        if loop.elapsed() - saved >= every:
            checkpoint.save(path, identity, loop.state())
            saved = loop.elapsed()

    loop.run(report, save)
    show()


def _identity(
    model: FakeReasoning,
    stated: Statements,
    images: TrainingImages,
    recipe: FaclRecipe,
    seed: int,
    encoder: SentenceEncoder,
) -> str:
    """Return the sha256 that tells whether a saved state or a finished folder is of this training."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.stored_tensors().items()):
        digest.update(name.encode() + tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return checkpoint.identity(
        {
            "stage": "facl",
            "config": model.config.to_json(),
            "initial": digest.hexdigest(),
            "statements": stated.digest(),
            "images": images.fingerprint(),
            "recipe": recipe.to_json(),
            "encoder": encoder.name,
            "seed": seed,
        }
    )


def _finished(out: Path, identity: str, resume: bool) -> FaclResult | None:
    """Return what this very training left in `out`, or None; clear the folder where it is to be begun anew."""
    if not resume:
        _remove(out, (CARD, checkpoint.NAME))
        return None
    if not (out / CARD).exists():
        return None
    card = read_json(out / CARD)
    if card.get("identity") != identity:
        raise RunError(
            f"{out} holds weights of another training; choose another --out, or give --restart to replace them"
        )
    _remove(out, (".lock",))
    return FaclResult(FakeReasoning.from_pretrained(out), card)


def _facts(
    samples: Sequence[Sample],
    loop: FaclLoop,
    encoder: SentenceEncoder,
    identity: str,
    threads: int | None,
    max_minutes: float | None,
) -> dict[str, Any]:
    """Return what the card says of how the weights came about."""
    stated, learnt = loop.material.stated, loop.material.learnt
    fakes = [samples[number] for number in learnt if stated.fake[number]]
    return {
        "format": FORMAT,
        "kind": "facl",
        "detector": "fakereasoning",
        "parameters": sum(parameter.numel() for parameter in loop.model.parameters()),
        "trained_on": {
            "generators": sorted({sample.generator for sample in fakes if sample.generator}),
            "n_real": len(learnt) - len(fakes),
            "n_fake": len(fakes),
        },
        "n_held_out": len(loop.material.held),
        "attributes": list(stated.attributes),
        "n_sentences": int((stated.sentence[learnt] >= 0).sum()),
        "encoder": encoder.name,
        "seed": loop.seed,
        "recipe": loop.recipe.to_json(),
        "steps": loop.position,
        "history": loop.history,
        "threads": threads,
        "device": loop.device.type,
        "max_minutes": max_minutes,
        "seconds": round(loop.elapsed(), 1),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "identity": identity,
    }


def _remove(out: Path, patterns: Sequence[str]) -> None:
    for pattern in patterns:
        for path in out.glob(pattern):
            path.unlink()
