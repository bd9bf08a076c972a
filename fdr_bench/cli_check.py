"""The commands compare, check and pack."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fdr_bench import cli_options as options
from fdr_bench.cli_options import PATH
from fdr_bench.errors import FDRBenchError, UsageError

if TYPE_CHECKING:
    from fdr_bench.check.findings import Report
    from fdr_bench.check.options import Options

WRONG_USAGE, NOT_COMPARED = 3, 2


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--resamples", default=1000, show_default=True, type=click.IntRange(100), help="Bootstrap resamples.")
@click.option("--level", default=0.95, show_default=True, type=click.FloatRange(0.5, 0.999), help="Of the intervals.")
@click.option("--seed", default=0, show_default=True, help="Of the bootstrap.")
@click.option("--flips", default=10, show_default=True, type=click.IntRange(0), help="Flipped samples to list.")
@click.option("--html", "page", type=PATH, help="Also write a page of both, image by image; it opens from disk.")
@options.JSON
def compare(
    first: str, second: str, resamples: int, level: float, seed: int, flips: int, page: Path | None, as_json: bool
) -> None:
    """Compare two runs, or two models, image by image: differences with intervals, McNemar's test, what flipped.

    A and B are run folders or packed runs, each with ::MODEL behind it where one model is meant.

    The page of --html shows each image with both verdicts, scores and texts, and filters what got worse, better or
    stayed wrong; its pictures are laid beside it as thumbnails/.

    \b
    Examples:
      fdr-bench compare runs/monday runs/tuesday
      fdr-bench compare runs/monday runs/tuesday --html comparison.html
      fdr-bench compare runs/monday::npr@scenes runs/monday::cnndetection@scenes --json
    """
    from fdr_bench import terminal
    from fdr_bench.cli_comparing import compared, named
    from fdr_bench.compare.report import as_plain, comparison_tables
    from fdr_bench.scored_slices import Settings

    settings = Settings(resamples, level, seed)
    found = compared(named(first), named(second), settings, options.cores(), page=page)
    if as_json:
        terminal.print_json([as_plain(each) for each in found])
        return
    for each in found:
        for title, columns, rows in comparison_tables(each, flips):
            terminal.print_table(columns, rows, title=title)
    if page is not None:
        click.echo(page.resolve().as_uri())


class _WrongUsage(click.UsageError):
    exit_code = WRONG_USAGE


class _CheckCommand(click.Command):
    """A command whose wrong usage ends in 3, for 2 means that the comparison could not be made."""

    def make_context(self, *words: Any, **settings: Any) -> click.Context:
        try:
            return super().make_context(*words, **settings)
        except click.UsageError as error:
            raise _WrongUsage(error.format_message(), ctx=error.ctx) from None


def _tolerances(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[float | None, dict[str, float]]:
    usual, by_metric = None, {}
    for value in values:
        name, _, number = value.rpartition("=")
        try:
            share = float(number)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            raise click.BadParameter(f"'{value}': give a share from 0 to 1, such as 0.01, or METRIC=SHARE")
        if name:
            by_metric[name] = share
        else:
            usual = share
    return usual, by_metric


def _listed(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in (value or "").split(",") if word.strip())


@click.command(cls=_CheckCommand)
@click.argument("run", type=PATH)
@click.option("--reference", type=PATH, required=True, help="The file that the run is held against.")
@click.option("--update", is_flag=True, help="Write the reference from RUN instead of checking.")
@click.option("--models", callback=_listed, help="Only these, comma-separated [default: all of the reference].")
@click.option("--metrics", callback=_listed, help="Only these, comma-separated [default: what the reference guards].")
@click.option(
    "--mode",
    type=click.Choice(["auto", "exact", "statistical"]),
    default="auto",
    show_default=True,
    help="exact: every value is the same. statistical: none is worse than chance and the tolerance allow. auto: exact "
    "where the predictions are the reference's own.",
)
@click.option(
    "--tolerance",
    multiple=True,
    callback=_tolerances,
    metavar="[METRIC=]SHARE",
    help="How much worse fresh predictions may be: 0.01 is one point [default: 0.01]. Repeatable.",
)
@click.option(
    "--level", default=0.99, show_default=True, type=click.FloatRange(0.5, 0.9999), help="Of all tests together."
)
@click.option("--resamples", default=1000, show_default=True, type=click.IntRange(100), help="Bootstrap resamples.")
@click.option("--seed", default=0, show_default=True, help="Of the bootstrap.")
@click.option("--junit", type=PATH, help="Write JUnit XML here, for a CI server.")
@click.option("--markdown", type=PATH, help="Append a Markdown summary here, such as $GITHUB_STEP_SUMMARY.")
@options.JSON
def check(
    run: Path,
    reference: Path,
    update: bool,
    models: tuple[str, ...],
    metrics: tuple[str, ...],
    mode: str,
    tolerance: tuple[float | None, dict[str, float]],
    level: float,
    resamples: int,
    seed: int,
    junit: Path | None,
    markdown: Path | None,
    as_json: bool,
) -> int:
    """Hold a run against a reference. Exit 0: holds, 1: regressed, 2: cannot be compared, 3: wrong usage.

    \b
    Examples:
      fdr-bench check runs/main --reference reference.json --update      once, then commit reference.json
      fdr-bench check runs/branch --reference reference.json
      fdr-bench check runs/branch --reference reference.json --tolerance 0.02 --tolerance ap=0.005 --junit check.xml
    """
    from fdr_bench.check.findings import Tolerances
    from fdr_bench.check.options import Options
    from fdr_bench.scored_slices import Settings

    asked = Options(
        mode=mode,  # type: ignore[arg-type]
        tolerances=Tolerances(0.01 if tolerance[0] is None else tolerance[0], tolerance[1]),
        settings=Settings(resamples, level, seed),
        models=models,
        metrics=metrics,
        threads=options.cores(),
    )
    try:
        return _check(run, reference, asked, update, (junit, markdown), as_json)
    except UsageError as error:
        click.echo(f"fdr-bench: {error}", err=True)
        return WRONG_USAGE
    except FDRBenchError as error:
        click.echo(f"fdr-bench: cannot be compared: {error}", err=True)
        return NOT_COMPARED
    except BrokenPipeError:  # the reader has gone; 'main' would say 1, which means regressed here
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOT_COMPARED
    except OSError as error:
        click.echo(f"fdr-bench: cannot be compared: {error}", err=True)
        return NOT_COMPARED
    except Exception:  # a bug keeps its traceback, but not Python's exit code 1, which means regressed here
        traceback.print_exc()
        return NOT_COMPARED


def _check(
    run: Path, reference: Path, asked: Options, update: bool, outputs: tuple[Path | None, Path | None], as_json: bool
) -> int:
    from fdr_bench.check.reference import read_reference
    from fdr_bench.check.regression import check
    from fdr_bench.packing import opened

    if not run.exists():
        raise UsageError(f"there is no run at {run}")
    if not update and not reference.is_file():
        raise UsageError(
            f"there is no reference at {reference}. Make it: fdr-bench check RUN --reference FILE --update"
        )
    with opened(run) as folder:
        if update:
            return _update(folder, reference, asked, as_json)
        report = check(folder, read_reference(reference), asked, name=str(reference), run_name=str(run))
    _write(report, *outputs)
    _print(report, as_json)
    return report.exit_code


def _write(report: Report, junit: Path | None, markdown: Path | None) -> None:
    from fdr_bench.check import report as written

    if junit is not None:
        junit.parent.mkdir(parents=True, exist_ok=True)
        junit.write_bytes(written.junit(report))
    if markdown is not None:
        markdown.parent.mkdir(parents=True, exist_ok=True)
        with open(markdown, "a", encoding="utf-8") as file:
            file.write(written.markdown(report))


def _print(report: Report, as_json: bool) -> None:
    from fdr_bench import terminal
    from fdr_bench.check import report as written

    if as_json:
        terminal.print_json(written.as_json(report))
        return
    terminal.print_table(written.COLUMNS, written.rows(report))
    for flips in report.flips:
        if flips.now_wrong or flips.now_right:
            click.echo(terminal.plain(written.turned(flips)))
    for note in report.notes:
        click.echo(terminal.plain(f"note: {note}"))
    click.echo(terminal.plain(written.headline(report)))


def _update(folder: Path, path: Path, asked: Options, as_json: bool) -> int:
    from fdr_bench import terminal
    from fdr_bench.check.guarded import reference_of
    from fdr_bench.check.reference import write_reference
    from fdr_bench.metrics import METRICS

    reference = reference_of(folder, metrics=asked.metrics, models=asked.models)
    write_reference(path, reference)
    if as_json:
        cells = [{"model": cell.model, "dataset": cell.dataset, "n": len(cell.right)} for cell in reference.cells]
        terminal.print_json({"reference": str(path), "guards": list(reference.guards), "cells": cells})
        return 0
    shown = [name for name in reference.guards if name in METRICS]
    rows = []
    for cell in reference.cells:
        whole = cell.values.get("all", {})
        values = [f"{100 * whole[name][0]:.2f}" if name in whole else "–" for name in shown]
        rows.append([cell.model, cell.dataset, len(cell.right), *values])
    terminal.print_table(["model", "value of", "n", *shown], rows)
    others = [name for name in reference.guards if name not in METRICS]
    if others:
        click.echo(f"guards too   {', '.join(others)}")
    click.echo(terminal.plain(f"reference    {path}"))
    return 0


@click.command()
@click.argument("run", type=PATH)
@click.option("--out", type=PATH, help="The file [default: RUN.zip, here].")
@click.option("--images", is_flag=True, help="With the image files that the run saw; mind their licence and privacy.")
def pack(run: Path, out: Path | None, images: bool) -> None:
    """Pack a run into one file that others can put on their board, without images unless asked for.

    \b
    Example:
      fdr-bench pack runs/monday --out monday.zip
    """
    from fdr_bench.packing import pack

    path = pack(run, out or Path(f"{run.resolve().name}.zip"), images=images)
    click.echo(f"{path} ({path.stat().st_size:,} bytes)\nuse it: fdr-bench report {path} …")
