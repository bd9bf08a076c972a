"""Which tuning a folder holds, and what its card says of how the weights came about."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

from fakereasoning.model import FakeReasoning
from fakereasoning.pixels import TrainingImages
from fakereasoning.recipe import TuneRecipe
from fakereasoning.rows import Rows
from fakereasoning.tuning_loop import TuningLoop
from fakereasoning.vision_stage import model_digest
from fdr_bench.training import checkpoint

PACKAGES = ("fdr-bench", "torch", "transformers", "accelerate", "numpy", "pillow", "safetensors")


def identity_of(
    model: FakeReasoning, rows: Rows, images: TrainingImages, recipe: TuneRecipe, seed: int, heads: list[str]
) -> str:
    """Return the sha256 that tells whether a saved state or a finished folder is of this training."""
    # What is asked is told by the rows.
    told = {name: value for name, value in recipe.to_json().items() if name != "questions"}
    return checkpoint.identity(
        {
            "config": model.config.to_json(),
            "initial": model_digest(model),
            "rows": rows.digest(),
            "images": images.fingerprint(),
            "recipe": told,
            "heads": heads,
            "seed": seed,
        }
    )


def facts_of(
    loop: TuningLoop, identity: str, seed: int, threads: int | None, max_minutes: float | None
) -> dict[str, Any]:
    """Return what the card says of how the weights came about."""
    return {
        "n_records": len(loop.learnt),
        "n_images": len(set(loop.rows.images[loop.learnt].tolist())),
        "n_held_out": len(loop.held),
        "left_out": loop.rows.left_out,
        "seed": seed,
        "recipe": loop.recipe.to_json(),
        "steps": loop.position,
        "history": loop.history,
        "threads": threads,
        "processes": loop.accelerator.num_processes,
        "device": loop.accelerator.device.type,
        "max_minutes": max_minutes,
        "seconds": round(loop.elapsed(), 1),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "identity": identity,
    }
