"""What the stages that train towers share: to run a loop with saved states, and to leave a folder.

OUT/unfinished.pt        the state of a training that has not ended; gone afterwards
OUT/model.safetensors    the whole model, its trained towers in place, with config.json
OUT/card.json            what it is, how it came about, and the measures after every epoch; written last
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from fakereasoning.model import FakeReasoning
from fakereasoning.pixels import TrainingImages
from fakereasoning.vision_loop import VisionLoop
from fdr_bench.errors import RunError
from fdr_bench.store import read_json, write_json
from fdr_bench.training import checkpoint
from fdr_bench.training.progress import TrainingProgress
from fdr_bench.types import Sample

FORMAT = 1
CARD = "card.json"
PACKAGES = ("fdr-bench", "torch", "transformers", "tokenizers", "numpy", "pillow", "scipy")


class VisionResult(NamedTuple):
    """A finished stage: the model on the processor, in evaluation mode, and what its card says."""

    model: FakeReasoning
    card: Mapping[str, Any]


def run(loop: VisionLoop, out: Path, identity: str, every: float, progress: TrainingProgress) -> None:
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

    def report(loop: VisionLoop) -> None:
        done = loop.in_epoch or loop.steps
        epoch = (loop.position - 1) // loop.steps + 1
        progress.step(loop.position, loop.pace.fraction, epoch=epoch, loss=sum(loop.sums) / done)

    def save(loop: VisionLoop) -> None:
        nonlocal saved
        show()
        if loop.elapsed() - saved >= every:
            checkpoint.save(path, identity, loop.state())
            saved = loop.elapsed()

    loop.run(report, save)
    show()


def images_of(samples: Sequence[Sample], model: FakeReasoning) -> TrainingImages:
    """Return the samples' images as the model sees them, read by as many threads as torch has."""
    files, config = [sample.image for sample in samples], model.config
    return TrainingImages(files, config.image_size, pad=config.pad_to_square, threads=torch.get_num_threads())


def model_digest(model: FakeReasoning) -> str:
    """Return a sha256 over all tensors of a model."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.stored_tensors().items()):
        digest.update(name.encode() + tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def finished(out: Path, identity: str, resume: bool) -> VisionResult | None:
    """Return what this very training left in `out`, or None; clear the folder where it is to be begun anew.

    Raises `RunError` where another training left something there.
    """
    if not resume:
        remove(out, (CARD, checkpoint.NAME))
        return None
    if not (out / CARD).exists():
        return None
    card = read_json(out / CARD)
    if card.get("identity") != identity:
        raise RunError(
            f"{out} holds weights of another training; choose another --out, or give --restart to replace them"
        )
    remove(out, (".lock",))
    return VisionResult(FakeReasoning.from_pretrained(out), card)


def leave(loop: VisionLoop, out: Path, card: Mapping[str, Any], *temporary: str) -> VisionResult:
    """Write model and card to `out`, remove what was there for the time only, and return them as they are read."""
    loop.model.cpu().save_pretrained(out)
    write_json(out / CARD, dict(card))
    remove(out, (checkpoint.NAME, ".lock", *temporary))
    return VisionResult(FakeReasoning.from_pretrained(out), read_json(out / CARD))


def facts_of(
    loop: VisionLoop, samples: Sequence[Sample], identity: str, threads: int | None, max_minutes: float | None
) -> dict[str, Any]:
    """Return what every card of such a stage says of how the weights came about."""
    learnt = [samples[number] for number in loop.learnt]
    fakes = [sample for sample in learnt if sample.label == "fake"]
    return {
        "format": FORMAT,
        "detector": "fakereasoning",
        "parameters": sum(parameter.numel() for parameter in loop.model.parameters()),
        "trained_on": {
            "generators": sorted({sample.generator for sample in fakes if sample.generator}),
            "n_real": len(learnt) - len(fakes),
            "n_fake": len(fakes),
        },
        "seed": loop.seed,
        "steps": loop.position,
        "history": loop.history,
        "threads": threads,
        "device": loop.device.type,
        "max_minutes": max_minutes,
        "seconds": round(loop.elapsed(), 1),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "identity": identity,
    }


def remove(out: Path, patterns: Sequence[str]) -> None:
    """Remove the files of a folder that fit a pattern."""
    for pattern in patterns:
        for path in out.glob(pattern):
            path.unlink()
