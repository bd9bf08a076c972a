"""python -m fakereasoning: train a model, a stage of one, or its variants."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fdr_bench.errors import FDRBenchError

PATH = click.Path(path_type=Path)
STAGES = ("base", "facl", "tune")
HIDDEN = ("--out", "--start", "--clip", "--dino", "--lora-base")
"""Options whose values are paths of one machine: they stay out of the card."""


class Program(click.Group):
    """Prints the errors that a user may meet as one line, and exits with their code."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except FDRBenchError as error:
            click.echo(f"fakereasoning: {error}", err=True)
            raise SystemExit(error.exit_code) from None


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train FakeReasoning: base (describe images), facl (see forgery), tune (reason and judge).

    \b
    Examples:
      python -m fakereasoning train --data 'scenes:train?n=6000' --out weights/mine
      python -m fakereasoning tune --start weights/mine/facl --data 'scenes:train?n=6000' --out weights/again
      python -m fakereasoning calibrate weights/mine --data 'scenes:val?n=1000'
      python -m fakereasoning ablate --data 'scenes:train?n=2000' --out ablations
    """


def _minutes(context: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, float]:
    """Read "base=20,facl=10"."""
    minutes: dict[str, float] = {}
    for part in filter(None, (value or "").split(",")):
        stage, separator, number = part.partition("=")
        try:
            minutes[stage.strip()] = float(number)
        except ValueError:
            separator = ""
        if not separator or stage.strip() not in STAGES or minutes[stage.strip()] <= 0:
            raise click.BadParameter(f"'{part}' should be STAGE=MINUTES, such as base=20,facl=10,tune=40")
    return minutes


def _fields(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Read "tune.lr=1e-3": a stage's field and its value as JSON (a word that is none stands for itself)."""
    import json

    changes: dict[str, dict[str, Any]] = {}
    for value in values:
        place, separator, text = value.partition("=")
        stage, dot, name = place.partition(".")
        if not separator or not dot or stage not in STAGES or not name:
            raise click.BadParameter(f"'{value}' should be STAGE.FIELD=VALUE, such as tune.lr=5e-4")
        try:
            changes.setdefault(stage, {})[name] = json.loads(text)
        except ValueError:
            changes.setdefault(stage, {})[name] = text
    return changes


COMMON: tuple[Callable[[Any], Any], ...] = (
    click.option("--data", required=True, help="What to train on: scenes:train?n=…, or MMFR's training json."),
    click.option("--out", required=True, type=PATH, help="Folder of the result; an unfinished training is continued."),
    click.option("--recipe", default="nano", show_default=True, help="A recipe that is shipped, or a .json file."),
    click.option("--set", "changes", multiple=True, callback=_fields, metavar="STAGE.FIELD=VALUE", help="Repeatable."),
    click.option("--size", help="nano, llava-1.5-7b or llava-1.5-13b [default: the recipe's]."),
    click.option("--vision", type=click.Choice(["clip", "clip+dino"]), help="Which towers [default: the size's]."),
    click.option(
        "--fusion",
        type=click.Choice(["none", "interleave", "cross-attention", "faff"]),
        help="How the towers are fused [default: the size's, or that of --start].",
    ),
    click.option("--start", type=PATH, help="Folder of a model to begin with, trained here or official."),
    click.option("--clip", type=PATH, help="CLIP tower for an official --start without one."),
    click.option("--dino", type=PATH, help="DINO tower for an official --start without one."),
    click.option("--lora-base", type=PATH, help="Base model of an official --start that holds adapters."),
    click.option("--steps", type=click.IntRange(1), help="Steps of each stage, for a trial."),
    click.option("--max-minutes", callback=_minutes, metavar="STAGE=N,…", help="End stages, annealed, within a time."),
    click.option("--seed", default=0, show_default=True),
    click.option("--threads", type=click.IntRange(1), help="Torch threads [default: all cores]."),
    click.option("--device", default="cpu", show_default=True, help="cpu or cuda."),
    click.option("--restart", is_flag=True, help="Begin anew instead of continuing what is in --out."),
    click.option("--quiet", is_flag=True),
)


def common(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all trainings have."""
    for option in reversed(COMMON):
        command = option(command)
    return command


def plan_of(options: dict[str, Any]) -> Any:
    """Return the `Plan` of a command's options."""
    from fakereasoning.pipeline import Plan

    resume = not options.pop("restart")
    return Plan(**options, resume=resume, command=_command(sys.argv))


def _command(words: list[str]) -> str:
    """Return how to do it again, without paths of this machine."""
    kept, hidden = [], False
    for word in words[1:]:
        name, _, value = word.partition("=")
        if hidden or name in HIDDEN:
            hidden = not hidden and not value
        else:
            kept.append(word)
    return shlex.join(["python", "-m", "fakereasoning", *kept])


@main.command()
@common
@click.option("--stages", help="Those to do, comma-separated [default: all that the recipe has].")
@click.option("--validation", help="Data to calibrate the result on, such as scenes:val?n=1000 [default: none].")
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
def base(**options: Any) -> None:
    """Train a model to describe images and answer questions on what they show; nothing about forgery.

    \b
    Example:
      python -m fakereasoning base --data 'scenes:train?n=6000' --out weights/base
    """
    _one("base", options)


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
@click.option("--figure", type=PATH, help="An .html file for the reliability diagram.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
def calibrate(folder: Path, data: str, figure: Path | None, device: str) -> None:
    """Fit the temperature that makes a model's P(fake) a probability, and write it into its folder.

    \b
    Example:
      python -m fakereasoning calibrate weights/mine --data 'scenes:val?n=1000' --figure reliability.html
    """
    from fakereasoning.answering import calibrate_folder
    from fdr_bench.data import open_dataset

    found = calibrate_folder(folder, open_dataset(data), device=device, figure=figure)
    click.echo(
        f"temperature {found.temperature:.3f}   ECE {found.before.ece:.4f} before, {found.after.ece:.4f} after   "
        f"n {found.before.n}"
    )


@main.command()
@common
@click.option("--test", default="scenes", show_default=True, help="What the variants are tested on.")
@click.option("--variants", help="Comma-separated [default: all].")
@click.option("--seeds", default=3, show_default=True, help="Seeds of the main variants; the others have one.")
def ablate(test: str, variants: str | None, seeds: int, **options: Any) -> None:
    """Train the model without each of its parts, test all, and print the table.

    \b
    Examples:
      python -m fakereasoning ablate --data 'scenes:train?n=2000' --max-minutes base=10,facl=5,tune=10 --out ablations
      python -m fakereasoning ablate --variants full,no-cpm --seeds 1 --data 'scenes:train?n=48' --steps 3 --out trial
    """
    from fakereasoning import ablations

    named = list(ablations.VARIANTS) if variants is None else [name.strip() for name in variants.split(",")]
    click.echo(ablations.ablate(plan_of(options), variants=named, seeds=seeds, test=test).read_text(encoding="utf-8"))


def _one(stage: Any, options: dict[str, Any]) -> None:
    from fakereasoning import pipeline

    click.echo(pipeline.train_stage(plan_of(options), stage))


if __name__ == "__main__":
    main()
