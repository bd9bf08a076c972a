"""python -m fakereasoning: train a model, a stage of one, or its variants."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fakereasoning.options import DEVICE, PATH, THREADS, command_of, common
from fdr_bench.errors import FDRBenchError

if TYPE_CHECKING:
    from fakereasoning.calibration import Calibration, Elsewhere

FIGURES = {"ECE": "ece", "NLL": "nll", "Brier": "brier"}


class Program(click.Group):
    """Ends with a line and an exit code, as fdr-bench does, at the errors that a user may meet and at Ctrl-C."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except FDRBenchError as error:
            click.echo(f"fakereasoning: {error}", err=True)
            raise SystemExit(error.exit_code) from None
        except (KeyboardInterrupt, click.Abort):
            told = "What is done is kept; the same command again, without --restart, goes on from there."
            click.echo(f"\nfakereasoning: stopped. {told}", err=True)
            raise SystemExit(130) from None


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train FakeReasoning: words (see), base (describe), evidence and facl (see forgery), tune (reason and judge).

    \b
    Examples:
      python -m fakereasoning train --data 'scenes:train?n=6000' --out weights/mine
      python -m fakereasoning tune --start weights/mine/facl --data 'scenes:train?n=6000' --out weights/again
      python -m fakereasoning calibrate weights/mine --data 'scenes:val?n=1000'
      python -m fakereasoning average weights/mine weights/again --out weights/mean
      python -m fakereasoning convert lora-13b --base MoF_Models --out weights/13b
      python -m fakereasoning ablate --data 'scenes:train?n=2000' --out ablations
    """


def plan_of(options: dict[str, Any]) -> Any:
    """Return the `Plan` of a command's options."""
    from fakereasoning.pipeline import Plan

    resume = not options.pop("restart")
    return Plan(**options, resume=resume, command=command_of(sys.argv))


@main.command()
@common
@click.option("--stages", help="Those to do, comma-separated [default: all that the recipe has].")
@click.option(
    "--validation", help="Data to calibrate the result on, such as scenes:val?n=1000, with a diagram [default: none]."
)
def train(stages: str | None, **options: Any) -> None:
    """Train a model through all stages; those that have finished in --out are skipped.

    \b
    Examples:
      python -m fakereasoning train --data 'scenes:train?n=6000' --out weights/mine
      python -m fakereasoning train --data 'scenes:train?n=6000' --max-minutes base=25,tune=45 --out weights/mine
      python -m fakereasoning train --data 'scenes:train?n=48' --steps 3 --out trial
    """
    from fakereasoning import pipeline

    named = None if stages is None else tuple(stage.strip() for stage in stages.split(","))
    click.echo(pipeline.train(plan_of(options | {"stages": named})))


@main.command()
@common
def words(**options: Any) -> None:
    """Teach a model's CLIP tower which words are said of an image; nothing about forgery.

    \b
    Example:
      python -m fakereasoning words --data 'scenes:train?n=6000' --out weights/words
    """
    _one("words", options)


@main.command()
@common
def base(**options: Any) -> None:
    """Train a model to describe images and answer questions on what they show; nothing about forgery.

    \b
    Example:
      python -m fakereasoning base --start weights/words --data 'scenes:train?n=6000' --out weights/base
    """
    _one("base", options)


@main.command()
@common
def evidence(**options: Any) -> None:
    """Teach a model's vision side what is wrong with fakes, and where, by the data's masks.

    \b
    Example:
      python -m fakereasoning evidence --recipe evidence --start weights/mine --data 'scenes:train?n=6000' \\
        --out weights/more
    """
    _one("evidence", options)


@main.command()
@common
def facl(**options: Any) -> None:
    """Train a model's vision side contrastively, against sentences about forgery and between images.

    \b
    Example:
      python -m fakereasoning facl --start weights/base --data 'scenes:train?n=6000' --out weights/facl
    """
    _one("facl", options)


@main.command()
@common
def tune(**options: Any) -> None:
    """Train a model to reason in stages and to judge: language and verdict losses, in full or with adapters.

    \b
    Examples:
      python -m fakereasoning tune --start weights/facl --data 'scenes:train?n=6000' --out weights/tuned
      accelerate launch --config_file fsdp.yaml -m fakereasoning tune --recipe official-13b --device cuda \\
        --start MoF_Models --clip clip-vit-large-patch14-336 --dino dinov2_vitl14_pretrain.pth --fusion faff \\
        --data 'mmfr:forgery_reasoning_cot.json?images=MMFR' --out lora-13b
    """
    _one("tune", options)


@main.command()
@click.argument("folder", type=PATH)
@click.option("--data", required=True, help="Labelled data that the model was not trained on: scenes:val?n=….")
@click.option("--measure", metavar="SPEC", help="Other labelled data to measure before and after, such as scenes.")
@click.option("--figure", type=PATH, help="An .html file for the reliability diagram.")
@THREADS
@DEVICE
@click.option("--quiet", is_flag=True)
def calibrate(folder: Path, data: str, measure: str | None, **options: Any) -> None:
    """Fit the temperature that makes a model's P(fake) a probability, and write it into its folder.

    How well that does is measured on the halves of the data, each at the other's temperature, and on --measure.

    \b
    Examples:
      python -m fakereasoning calibrate weights/mine --data 'scenes:val?n=1000' --figure reliability.html
      python -m fakereasoning calibrate weights/mine --data scenes:val --measure scenes
    """
    from fakereasoning.calibrating import calibrate_folder
    from fdr_bench.data import open_dataset

    other = None if measure is None else open_dataset(measure)
    found = calibrate_folder(folder, open_dataset(data), elsewhere=other, **options)
    click.echo(f"temperature {found.temperature:.3f}")
    click.echo(_before_and_after(found, found.fitted_on["dataset"]))
    if found.elsewhere is not None:
        click.echo(_before_and_after(found.elsewhere, found.elsewhere.measured_on["dataset"]))


def _before_and_after(found: Calibration | Elsewhere, name: str) -> str:
    figures = ((title, getattr(found.before, field), getattr(found.after, field)) for title, field in FIGURES.items())
    told = "   ".join(f"{title} {before:.4f} before, {after:.4f} after" for title, before, after in figures)
    return f"{name}, n {found.before.n}: {told}"


@main.command()
@click.argument("folders", type=PATH, nargs=-1, required=True)
@click.option("--out", required=True, type=PATH, help="Folder of the result.")
def average(folders: tuple[Path, ...], out: Path) -> None:
    """Write the mean of weights that were tuned from one another, or from one start; often better than each.

    \b
    Examples:
      python -m fakereasoning tune --start weights/mine --data 'scenes:train?n=6000' --out weights/again
      python -m fakereasoning average weights/mine weights/again --out weights/mean
    """
    from fakereasoning.averaging import average as write

    click.echo(write(folders, out))


@main.command()
@click.argument("folder", type=PATH)
@click.option("--heads", required=True, type=click.IntRange(1), help="Heads of keys and values that are left.")
@click.option("--out", required=True, type=PATH, help="Folder of the result.")
def share(folder: Path, heads: int, out: Path) -> None:
    """Let the language model's heads share keys and values: less to keep and read for each token. Tune it afterwards.

    \b
    Examples:
      python -m fakereasoning share weights/mine --heads 2 --out weights/shared
      python -m fakereasoning tune --start weights/shared --data 'scenes:train?n=6000' --out weights/again
    """
    from fakereasoning.sharing import share as write

    click.echo(write(folder, heads, out))


@main.command()
@click.argument("folder", type=PATH)
@click.option("--base", type=PATH, help="Base model of a folder that holds adapters.")
@click.option("--clip", type=PATH, help="CLIP tower [default: the folder's, its config.json's, the hub's].")
@click.option("--dino", type=PATH, help="DINO tower [default: the folder's, the hub's].")
@click.option(
    "--fusion",
    type=click.Choice(["none", "interleave", "cross-attention", "faff"]),
    help="cross-attention leaves out the bias [default: the folder's].",
)
@click.option("--out", required=True, type=PATH, help="Folder of the result.")
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), help="[default: as it is stored]")
def convert(folder: Path, out: Path, **options: Any) -> None:
    """Write an official checkpoint as one folder for the detector: adapters folded in, towers and tokenizer inside.

    \b
    Examples:
      python -m fakereasoning convert lora-13b --base MoF_Models --precision fp16 --out weights/mine
      python -m fakereasoning convert FakeReasoning --clip clip-vit-large-patch14-336 \\
        --dino dinov2_vitl14_pretrain.pth --out weights/released
    """
    from fakereasoning.conversion import convert as write

    click.echo(write(folder, out, **options))


@main.command()
@common
@click.option("--test", default="scenes", show_default=True, help="What the variants are tested on.")
@click.option("--variants", help="Comma-separated [default: all].")
@click.option(
    "--seeds",
    default=3,
    show_default=True,
    type=click.IntRange(1),
    help="Seeds of the main variants; the others have one.",
)
def ablate(test: str, variants: str | None, seeds: int, **options: Any) -> None:
    """Train the model without each of its parts, test all, and print the table.

    \b
    Examples:
      python -m fakereasoning ablate --data 'scenes:train?n=2000' --max-minutes base=10,facl=5,tune=10 --out ablations
      python -m fakereasoning ablate --recipe ablation --start weights/base --data 'scenes:train?n=4000' --out ablations
      python -m fakereasoning ablate --variants full,no-cpm --seeds 1 --data 'scenes:train?n=48' --steps 3 --out trial
    """
    from fakereasoning import ablations

    named = list(ablations.VARIANTS) if variants is None else [name.strip() for name in variants.split(",")]
    click.echo(ablations.ablate(plan_of(options), variants=named, seeds=seeds, test=test).read_text(encoding="utf-8"))


@main.command()
@click.argument("run", type=PATH)
@click.option("--out", required=True, type=PATH, help="Folder of the page, README.md, and its images.")
@click.option("--wrong", default=6, show_default=True, type=click.IntRange(0), help="Mistakes to show at most.")
def examples(run: Path, out: Path, wrong: int) -> None:
    """Write a page of images with the truth and the model's words side by side, out of a run.

    \b
    Example:
      fdr-bench run --models fakereasoning --out runs/mine && python -m fakereasoning examples runs/mine --out page
    """
    from fakereasoning.examples import write_examples

    click.echo(write_examples(run, out, wrong=wrong))


def _one(stage: Any, options: dict[str, Any]) -> None:
    from fakereasoning import pipeline

    click.echo(pipeline.train_stage(plan_of(options), stage))


if __name__ == "__main__":
    main()
