"""Train the small CLIP that detectors' `scenes` presets rest on: python -m baselines.train_clip --out FOLDER.

FOLDER/model.safetensors  both towers, float16          FOLDER/vocabulary.json  the words it knows
FOLDER/config.json        transformers' CLIPConfig      FOLDER/card.json        what it was trained on, and how
FOLDER/captions.json      the first captions it learnt
"""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from fdr_bench.errors import DataError, FDRBenchError
from fdr_bench.store import Lock, write_atomically, write_json

CAPTIONS = 300
"""Captions that are kept beside the weights."""


@click.command()
@click.option("--data", default="scenes:train", show_default=True, help="A dataset whose samples have captions.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@click.option("--seed", default=0, show_default=True)
@click.option("--epochs", type=click.IntRange(1), help="Instead of the recipe's.")
@click.option("--batch", type=click.IntRange(2), help="Instead of the recipe's.")
@click.option("--max-minutes", type=float, help="End by then, the learning rate gone down to 0.")
@click.option("--threads", type=click.IntRange(1), help="Processor threads.")
@click.option("--quiet", is_flag=True)
def main(
    data: str,
    out: Path,
    seed: int,
    epochs: int | None,
    batch: int | None,
    max_minutes: float | None,
    threads: int | None,
    quiet: bool,
) -> None:
    """Train a small CLIP on images and captions. A killed training goes on when started again."""
    from baselines._clip_training import ClipRecipe

    given = {name: value for name, value in {"epochs": epochs, "batch": batch}.items() if value is not None}
    try:
        train(
            data, out, replace(ClipRecipe(), **given), seed=seed, max_minutes=max_minutes, threads=threads, quiet=quiet
        )
    except FDRBenchError as error:
        click.echo(f"train_clip: {error}", err=True)
        raise SystemExit(error.exit_code) from None


def train(
    data: str,
    out: Path,
    recipe: Any,
    *,
    seed: int = 0,
    max_minutes: float | None = None,
    threads: int | None = None,
    quiet: bool = False,
) -> Path:
    """Train on the captioned samples of a dataset and return `out`; `recipe` is a `ClipRecipe`.

    Equal calls with equal software and threads give equal bytes, interrupted or not, unless `max_minutes` ended them.
    Raises `DataError` where too few samples have a caption and 128 × 128 px or more.
    """
    import torch

    from baselines._clip_training import UNFINISHED, ClipTraining, config_bytes, recipe_facts, run, weights_bytes
    from fdr_bench.data import open_dataset
    from fdr_bench.training import checkpoint

    torch.set_num_threads(threads or torch.get_num_threads())
    dataset = open_dataset(data)
    captioned = [sample for sample in dataset.samples if sample.caption]
    if len(captioned) < 20:
        raise DataError(f"{data} has {len(captioned)} samples with a caption; a CLIP needs at least 20")
    plan = {"clip": 1, "data": dataset.fingerprint, "recipe": recipe_facts(recipe), "seed": seed}
    identity = checkpoint.identity(plan)
    with Lock(out):
        pixels = _decode(captioned, threads or 1, quiet)
        captions = [sample.caption or "" for sample in captioned]
        seconds = max_minutes * 60 if max_minutes else None
        training = ClipTraining(pixels, captions, recipe, seed=seed, seconds=seconds)
        run(training, out, identity, quiet=quiet)
        write_atomically(out / "model.safetensors", weights_bytes(training.clip))
        write_atomically(out / "config.json", config_bytes(training.clip))
        write_atomically(out / "vocabulary.json", training.words.as_json())
        write_atomically(out / "captions.json", some_captions(captions))
        trained_on = {"dataset": dataset.name, "spec": data, "fingerprint": dataset.fingerprint, "n": len(captions)}
        facts = {
            "format": 1,
            "kind": "clip",
            "trained_on": trained_on,
            "parameters": sum(parameter.numel() for parameter in training.clip.parameters()),
            "seed": seed,
            "recipe": recipe_facts(recipe),
            "max_minutes": max_minutes,
            "seconds": round(training.elapsed, 1),
            "history": training.history,
            "command": shlex.join(["python", "-m", "baselines.train_clip", *sys.argv[1:]]),
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in ("fdr-bench", "torch", "transformers", "numpy", "pillow")},
        }
        write_json(out / "card.json", facts)
        (out / UNFINISHED).unlink(missing_ok=True)
    return out


def some_captions(captions: Sequence[str]) -> bytes:
    """Return a JSON list of the first captions, each once: what may be said of an image that comes without one."""
    return (json.dumps(list(dict.fromkeys(captions))[:CAPTIONS], indent=0) + "\n").encode()


def _decode(samples: Any, workers: int, quiet: bool) -> Any:
    from fdr_bench.training.pixels import Geometry, load
    from fdr_bench.training.progress import TrainingProgress
    from fdr_bench.types import CenterCrop, View

    unit = (1.0, 1.0, 1.0)
    geometry = Geometry(View(steps=(CenterCrop(128),), mean=unit, std=unit))
    with TrainingProgress(quiet) as progress:
        progress.decoding(len(samples))
        images, failures = load(samples, geometry, workers=workers, advance=progress.advance, memory=1 << 40)
    if failures:
        name, reason = next(iter(failures.items()))
        raise DataError(f"{len(failures)} images cannot be decoded, such as {name}: {reason}; a CLIP needs them all")
    return images.pixels


if __name__ == "__main__":
    main()
