"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path

import click

from fdr_bench.errors import UsageError

PATH = click.Path(path_type=Path)


def names(models: str | None, plugin_files: tuple[str, ...]) -> tuple[str, ...]:
    """Return the models named; without --models all of them, or none beside those of --plugin."""
    if models is None:
        return () if plugin_files else ("all",)
    found = tuple(name.strip() for name in models.split(",") if name.strip())
    if not found:
        raise UsageError("--models is empty; name some, or say --models all.")
    return found


def cores() -> int:
    """Return how many cores this process may use, at most 8."""
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for value in values:
        name, separator, path = value.partition("=")
        if not separator or not name or not path:
            raise click.BadParameter(f"'{value}' should be NAME=PATH, such as cnndetection=blur_jpg_prob0.5.pth")
        if not Path(path).exists():
            raise click.BadParameter(f"there is nothing at {path}")
        pairs[name] = path
    return pairs


def _limit_of_failures(context: click.Context, parameter: click.Parameter, value: str) -> str:
    number = value.removesuffix("%")
    if not number.replace(".", "", value.endswith("%")).isdigit():
        raise click.BadParameter("give a number of images, such as 10, or a share, such as 1%")
    return value


MODELS = click.option(
    "--models", help="Names, comma-separated: name[@preset][:view]; or all [default: all, or what --plugin names]."
)
WEIGHTS = click.option(
    "--weights",
    multiple=True,
    callback=_pairs,
    metavar="NAME=PATH",
    help="Your own weights for a detector: what 'fdr-bench train' wrote, or the authors' file. Repeatable.",
)
PLUGINS = click.option(
    "--plugin", "plugin_files", multiple=True, metavar="FILE.py:Class", help="A detector out of a file. Repeatable."
)
DEVICE = click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, mps …")
WORKERS = click.option(
    "--workers", type=click.IntRange(1), help="Processes that decode and predict [default: one a core, at most 8]."
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
MAX_FAILURES = click.option(
    "--max-failures",
    default="1%",
    show_default=True,
    callback=_limit_of_failures,
    help="Exit 1 when a model has more failed images than this on a dataset: a number, or a share.",
)
RETRY = click.option("--retry-failures", is_flag=True, help="Try the images again that failed before.")
STRICT = click.option("--strict", is_flag=True, help="Exit 1 when any model was skipped.")
