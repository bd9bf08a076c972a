"""Pre-train the ViT that spai@scenes rests on: python -m baselines.train_mfm --out FOLDER.

FOLDER/model.safetensors  the ViT, float16        FOLDER/card.json  what it was trained on, and how
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from fdr_bench.errors import FDRBenchError
from fdr_bench.training.recipe import Recipe
from fdr_bench.types import CenterCrop, DetectorCard, View

if TYPE_CHECKING:
    from torch import nn

SIDE = 32


class MaskedFrequencyModelling:
    """What the trainer needs to know of it. It detects nothing, so that no images are held out."""

    card: ClassVar[DetectorCard] = DetectorCard(
        name="spai-mfm",
        paper="Xie et al., Masked Frequency Modeling for Self-Supervised Visual Pre-Training, ICLR 2023",
        licence="Apache-2.0",
    )

    @classmethod
    def sizes(cls) -> Mapping[str, Mapping[str, object]]:
        """Return the only size. A token has as many values as its pixels, so that none of their detail is lost."""
        return {"scenes": {"side": SIDE, "patch": 4, "width": 48, "depth": 2, "heads": 4, "cutoff": 4}}

    @classmethod
    def network(cls, **architecture: Any) -> nn.Module:
        """Return the network of these keywords at its initialisation."""
        from baselines._mfm import MaskedFrequencies

        return MaskedFrequencies(**architecture)

    @classmethod
    def recipe(cls, size: str) -> Recipe:
        """Return the paper's: crops, flips, AdamW with a warm-up and half a cosine."""
        plain: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
        rest: dict[str, Any] = {"weight_decay": 0.05, "warmup": 0.1, "clip": 3.0, "validation": 0.0}
        rest |= {"epochs": 20, "batch": 64, "save": ("vit.*",), "storage": "float16"}
        return Recipe(view=View(steps=(CenterCrop(SIDE),), **plain), crop=SIDE, lr=2e-3, **rest)


@click.command()
@click.option("--data", default="scenes:train", show_default=True, help="A dataset; its real images are learnt from.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@click.option("--seed", default=0, show_default=True)
@click.option("--epochs", type=click.IntRange(1), help="Instead of the recipe's.")
@click.option("--threads", type=click.IntRange(1), help="Processor threads.")
@click.option("--restart", is_flag=True, help="Replace what another training left in --out.")
@click.option("--quiet", is_flag=True)
def main(data: str, out: Path, seed: int, epochs: int | None, threads: int | None, restart: bool, quiet: bool) -> None:
    """Pre-train a small ViT by masked frequency modelling. A killed training goes on when started again.

    Example: python -m baselines.train_mfm --data "scenes:train?n=6000" --out baselines/weights/spai-mfm
    """
    from fdr_bench.data import open_dataset
    from fdr_bench.training import train

    try:
        train(
            MaskedFrequencyModelling,  # type: ignore[arg-type]
            open_dataset(data),
            size="scenes",
            out=out,
            seed=seed,
            epochs=epochs,
            threads=threads,
            resume=not restart,
            quiet=quiet,
        )
    except FDRBenchError as error:
        click.echo(f"train_mfm: {error}", err=True)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
