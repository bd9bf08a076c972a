"""What a training leaves: the weights file and its card."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fdr_bench.store import write_atomically
from fdr_bench.training.recipe import Recipe
from fdr_bench.weights_card import view_to_json

if TYPE_CHECKING:
    from torch import nn

    from fdr_bench.training.loop import Loop
    from fdr_bench.training.trainer import Job

FORMAT = 1
WEIGHTS = "model.safetensors"
PACKAGES = ("fdr-bench", "torch", "numpy", "pillow", "scipy", "safetensors")


def write_weights(network: nn.Module, recipe: Recipe, out: Path) -> None:
    """Write the state's tensors that the recipe saves, in its storage type, to OUT/model.safetensors, atomically."""
    from safetensors.torch import save

    half = recipe.storage == "float16"
    kept = {
        name: (value.half() if half and value.is_floating_point() else value).cpu().contiguous()
        for name, value in network.state_dict().items()
        if any(fnmatchcase(name, pattern) for pattern in recipe.save)
    }
    write_atomically(out / WEIGHTS, save(kept))


def card(
    job: Job, loop: Loop, *, left_out: Mapping[str, Any], threads: int | None, max_minutes: float | None
) -> dict[str, Any]:
    """Return what OUT/card.json says of the weights."""
    training, held = loop.training, loop.validation
    n_fake = int(training.fake.sum())
    best = loop.best_validation
    return {
        "format": FORMAT,
        "detector": job.factory.card.name,
        "size": job.size,
        "architecture": dict(job.architecture),
        "view": view_to_json(job.recipe.view),
        "trained_on": {
            "dataset": job.dataset.name,
            "spec": job.dataset.spec,
            "fingerprint": job.dataset.fingerprint,
            "generators": sorted({s.generator for s in training.samples if s.generator and s.label == "fake"}),
            "n_real": len(training.fake) - n_fake,
            "n_fake": n_fake,
            "n_held_out": len(held.fake),
            "left_out": dict(left_out),
        },
        "validation": None
        if best is None
        else {"accuracy": best.accuracy, "loss": best.loss, "epoch": loop.best_epoch},
        "parameters": sum(parameter.numel() for parameter in loop.network.parameters()),
        "seed": job.seed,
        "recipe": asdict(job.recipe) | {"view": view_to_json(job.recipe.view)},
        "history": loop.history,
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "threads": threads,
        "device": str(loop.device),
        "max_minutes": max_minutes,
        "seconds": round(loop.elapsed, 1),
        "cpu_seconds": round(loop.cpu_seconds, 1),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "identity": job.identity,
    }
