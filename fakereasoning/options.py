"""The options that trainings share, and what they say: times, changes of a recipe, how to do it again."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)
STAGES = ("words", "base", "evidence", "facl", "tune")
PATHS = ("--out", "--start", "--clip", "--dino", "--lora-base")
"""Options whose values are paths of one machine: in the card stands the option's name instead."""


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


THREADS = click.option("--threads", type=click.IntRange(1), help="Torch threads [default: all cores].")
DEVICE = click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
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
    click.option("--seed", default=0, show_default=True, type=click.IntRange(0)),
    THREADS,
    DEVICE,
    click.option("--compile", is_flag=True, help="Faster steps on a processor, after minutes of compiling; needs g++."),
    click.option("--restart", is_flag=True, help="Begin anew instead of continuing what is in --out."),
    click.option("--quiet", is_flag=True),
)


def common(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all trainings have."""
    for option in reversed(COMMON):
        command = option(command)
    return command


def command_of(words: list[str]) -> str:
    """Return how to do it again; for a path of this machine stands the option's name, as in --out OUT."""
    kept, hidden = [], False
    for word in words[1:]:
        name, separator, _ = word.partition("=")
        if hidden:
            hidden = False
        elif name in PATHS:
            kept += [name, name.removeprefix("--").upper()]
            hidden = not separator
        else:
            kept.append(word)
    return shlex.join(["python", "-m", "fakereasoning", *kept])
