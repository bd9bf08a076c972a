"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


_OPTIONS = "fdr_bench.options"


def of_families() -> dict[str, str]:
    """Return the options for models of families that stand on the command line, by name."""
    return dict(click.get_current_context().meta.get(_OPTIONS, {}))


def _keep(context: click.Context, parameter: click.Parameter, value: object) -> None:
    if value is not None and parameter.name is not None:
        context.meta.setdefault(_OPTIONS, {})[parameter.name.replace("_", "-")] = str(value)


def _keep_pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> None:
    for pair in values:
        name, separator, value = pair.partition("=")
        if not separator or not name or not value:
            raise click.BadParameter(f"'{pair}' should be NAME=VALUE, such as timeout=60")
        context.meta.setdefault(_OPTIONS, {})[name] = value


def _kept(*words: str, **settings: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(*words, expose_value=False, **{"callback": _keep, **settings})


_OF_FAMILIES = (
    _kept("--base-url", metavar="URL", help="The server of openai:NAME, such as http://localhost:8000/v1."),
    _kept("--prompt", metavar="NAME|FILE", help="What zero-shot models are asked: a shipped prompt, or a file."),
    _kept("--temperature", type=click.FloatRange(0, 2), help="Of zero-shot models [default: 0]."),
    _kept("--repeats", type=click.IntRange(1, 100), help="How often zero-shot models see each image [default: 1]."),
    _kept("--concurrency", type=click.IntRange(1, 1024), help="Requests under way at a time [default: 16]."),
    _kept("--budget", metavar="N", help="Stop, resumably, at 5USD, 2000000tokens or 1000requests."),
    _kept(
        "--option",
        multiple=True,
        callback=_keep_pairs,
        metavar="NAME=VALUE",
        help="Another option of such models; 'fdr-bench show openai:NAME' lists them. Repeatable.",
    ),
)


_OF_SERVERS = (
    _kept("--base-url", metavar="URL", help="The server, such as http://localhost:8000/v1 [default: api.openai.com]."),
    _kept("--temperature", type=click.FloatRange(0, 2), help="Of the judge [default: 0]."),
    _kept("--concurrency", type=click.IntRange(1, 1024), help="Requests under way at a time [default: 16]."),
    _kept("--budget", metavar="N", help="Stop, resumably, at 5USD, 2000000tokens or 1000requests."),
    _kept(
        "--option", multiple=True, callback=_keep_pairs, metavar="NAME=VALUE", help="Another option; see docs/judge.md."
    ),
)


def server(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for a server; `of_families` tells them, the command's parameters do not."""
    for option in reversed(_OF_SERVERS):
        command = option(command)
    return command


def families(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for models of families; `of_families` tells them, the command's parameters do not."""
    for option in reversed(_OF_FAMILIES):
        command = option(command)
    return command


PERTURB = click.option(
    "--perturb",
    multiple=True,
    metavar="FAMILY[:LEVELS]",
    help="Evaluate on perturbed copies too: jpeg webp blur resize crop noise social, such as jpeg:95..30 or blur:1,2. "
    "Repeatable; 'fdr-bench robustness RUN' gives the curves.",
)
ALIGN = click.option(
    "--align-format",
    "align",
    metavar="FORMAT",
    help="Evaluate also with all images of both classes in one format: jpeg:QUALITY, webp:QUALITY or png.",
)
MODELS = click.option(
    "--models",
    help="Names, comma-separated: name[@preset][:view], or family:NAME[@prompt][:polarity] such as openai:gpt-4o; or "
    "all [default: all, or what --plugin names].",
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
