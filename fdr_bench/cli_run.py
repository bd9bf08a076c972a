"""The commands run, resume, score and report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fdr_bench import cli_options as options
from fdr_bench.cli_options import PATH

if TYPE_CHECKING:
    from fdr_bench.session import Finished


@click.command()
@options.MODELS
@click.option(
    "--data",
    "datasets",
    multiple=True,
    help="What to evaluate on [default: scenes]; see 'fdr-bench list datasets'. Repeatable.",
)
@click.option("--preset", help="Preset of every model [default: scenes on FDR-Scenes, official elsewhere].")
@options.WEIGHTS
@options.PLUGINS
@options.families
@click.option("--out", type=PATH, help="Run folder; an unfinished run is continued [default: runs/<time>-<hash>].")
@click.option("--limit", type=click.IntRange(1), help="Samples a dataset, evenly over generators and classes.")
@options.PERTURB
@options.ALIGN
@click.option("--batch", default=32, show_default=True, type=click.IntRange(1), help="Images a batch.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="Torch threads a worker.")
@options.DEVICE
@options.WORKERS
@options.MAX_FAILURES
@options.RETRY
@options.STRICT
@click.option("--dry-run", is_flag=True, help="Print what would run, and stop.")
@options.JSON
def run(
    models: str | None,
    datasets: tuple[str, ...],
    preset: str | None,
    weights: dict[str, str],
    plugin_files: tuple[str, ...],
    out: Path | None,
    limit: int | None,
    perturb: tuple[str, ...],
    align: str | None,
    batch: int,
    threads: int,
    device: str,
    workers: int | None,
    max_failures: str,
    retry_failures: bool,
    strict: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Run models on data, score them and write the leaderboard.

    \b
    Examples:
      fdr-bench run --models all
      fdr-bench run --models all --data mmfr:evaluation_sets --preset scenes
      fdr-bench run --models cnndetection,npr:native --data folders:photos --limit 500
      fdr-bench run --models all --perturb jpeg:95..30 --perturb "blur noise:5,10" --align-format jpeg:95
      fdr-bench run --models cnndetection --weights cnndetection=weights/mine --data parquet:train.parquet
      fdr-bench run --models openai:Qwen2.5-VL-7B-Instruct@staged --base-url http://localhost:8000/v1 --budget 5USD
    """
    from fdr_bench import session
    from fdr_bench.plan import Asked, resolve
    from fdr_bench.terminal import Bars

    asked = Asked(
        models=options.names(models, plugin_files),
        data=datasets or ("scenes",),
        preset=preset,
        weights=weights,
        plugins=plugin_files,
        options=options.of_families(),
        limit=limit,
        perturb=perturb,
        align=align,
        batch=batch,
        threads=threads,
        device=device,
    )
    if dry_run:
        _print_plan(resolve(asked).spec, as_json)
        return 0
    with Bars() as bars:
        finished = session.run(
            asked, out=out, workers=workers or options.cores(), progress=bars, retry_failures=retry_failures
        )
    return _conclude(finished, max_failures, strict, as_json)


@click.command()
@click.argument("run", type=PATH)
@options.families
@options.WORKERS
@options.MAX_FAILURES
@options.RETRY
@options.STRICT
@options.JSON
def resume(run: Path, workers: int | None, max_failures: str, retry_failures: bool, strict: bool, as_json: bool) -> int:
    """Finish an unfinished run: exactly the samples that are missing.

    \b
    Examples:
      fdr-bench resume runs/20260101-120000-1a2b3c4d
      fdr-bench resume runs/20260101-120000-1a2b3c4d --budget 10USD
    """
    from fdr_bench import session
    from fdr_bench.terminal import Bars

    with Bars() as bars:
        finished = session.resume(
            run,
            workers=workers or options.cores(),
            progress=bars,
            retry_failures=retry_failures,
            options=options.of_families(),
        )
    return _conclude(finished, max_failures, strict, as_json)


def _conclude(finished: Finished, max_failures: str, strict: bool, as_json: bool) -> int:
    """Score and report a finished run unless that was done, print the results, return the exit code."""
    run, board = finished.run, finished.run / "index.html"
    newest = (run / "run.json").stat().st_mtime_ns
    if not (run / "scores.json").exists() or (run / "scores.json").stat().st_mtime_ns < newest:
        from fdr_bench.scoring import score_run

        score_run(run)
    if not board.exists() or board.stat().st_mtime_ns < newest:
        from leaderboards.site import build

        _keep_for_the_board(run)
        build([run], run)
    over = finished.failures_above(max_failures)
    _print_results(finished.manifest, run, as_json)
    for line in over:
        click.echo(f"fdr-bench: more failures than --max-failures {max_failures}: {line}", err=True)
    return 1 if over or (strict and finished.manifest["skipped"]) else 0


def _print_results(manifest: dict[str, Any], run: Path, as_json: bool) -> None:
    from fdr_bench import terminal
    from fdr_bench.store import read_scores

    board, scores = run / "index.html", read_scores(run)
    if as_json:
        terminal.print_json({"run": str(run), "board": str(board), "manifest": manifest, "scores": scores})
        return
    for title, columns, rows in terminal.result_tables(manifest, scores):
        terminal.print_table(columns, rows, title=title)
    for cell, counts in manifest.get("problems", {}).items():
        click.echo(f"texts of {cell}: {', '.join(f'{count} {problem}' for problem, count in counts.items())}")
    for label, entry in manifest["models"].items():
        if "usage" in entry:
            used = ", ".join(f"{round(number, 4):,} {name}" for name, number in entry["usage"].items())
            click.echo(f"usage of {label}: {used}")
    _tell_skipped(manifest["skipped"], "skipped")
    click.echo(f"run folder   {run}")
    if board.exists():
        click.echo(f"leaderboard  {board.resolve().as_uri()}")


def _print_plan(spec: dict[str, Any], as_json: bool) -> None:
    from fdr_bench import terminal

    if as_json:
        terminal.print_json(spec)
        return
    rows = []
    for name, keys in spec["keys"].items():
        facts = spec["datasets"][name]
        n = facts["n_real"] + facts["n_fake"]
        rows += [(label, name, n, spec["models"][label]["view"]) for label in sorted(keys)]
    terminal.print_table(
        ["model", "dataset", "samples", "view"], rows, title=f"would run (plan {spec['spec_hash'][:8]})"
    )
    _tell_skipped(spec["skipped"], "would skip")


def _tell_skipped(rows: list[dict[str, Any]], verb: str) -> None:
    """Print what is missing: of weights that a person has to fetch a table, of all else a line each."""
    from fdr_bench import terminal

    fetched: dict[str, dict[str, str]] = {}
    for row in rows:
        if "weights" in row:
            fetched[row["model"]] = row["weights"]  # once, on however many datasets
        else:
            click.echo(f"{verb} {row['model']}: {row['reason']}")
    if not fetched:
        return
    title = f"{verb}, for want of weights that may not be shipped or fetched by a program"
    terminal.print_table(
        ["model", "file", "how to get it"], ((m, w["file"], w["how"]) for m, w in fetched.items()), title=title
    )
    example = next(iter(fetched))
    click.echo(f"then put each at its place, such as {fetched[example]['place']},")
    click.echo(f"or name it: --weights {example.partition('@')[0]}=PATH. The place of each: --json")


@click.command()
@click.argument("run", type=PATH)
@click.option(
    "--validation", type=PATH, help="Another run of the same models: thresholds for acc@validation come from it."
)
@click.option("--resamples", default=1000, show_default=True, type=click.IntRange(100), help="Bootstrap resamples.")
@click.option("--level", default=0.95, show_default=True, type=click.FloatRange(0.5, 0.999), help="Of the intervals.")
@click.option("--seed", default=0, show_default=True, help="Of the bootstrap.")
@options.JSON
def score(run: Path, validation: Path | None, resamples: int, level: float, seed: int, as_json: bool) -> None:
    """Compute all metrics of a run again, from its files alone.

    \b
    Example:
      fdr-bench score runs/20260101-120000-1a2b3c4d --validation runs/on-validation-data
    """
    from fdr_bench.scoring import score_run
    from fdr_bench.store import read_manifest

    score_run(run, resamples=resamples, seed=seed, level=level, validation=validation)
    _print_results(read_manifest(run), run, as_json)


@click.command()
@click.argument("runs", type=PATH, nargs=-1, required=True)
@click.option("--out", type=PATH, help="Folder of the page [default: the run itself, else leaderboard/].")
@click.option(
    "--gallery",
    default=5000,
    show_default=True,
    type=click.IntRange(0),
    help="Samples of a dataset that the gallery shows, evenly over generators and classes; 0 keeps what is there.",
)
@click.option(
    "--compare",
    "pairs",
    nargs=2,
    multiple=True,
    metavar="A B",
    help="Also compare two, image by image, on a page that the board links to; each is RUN, RUN::MODEL or, of one run, "
    "MODEL. Repeatable.",
)
def report(runs: tuple[Path, ...], out: Path | None, gallery: int, pairs: tuple[tuple[str, str], ...]) -> None:
    """Write the leaderboard of one or several runs: folders, or files that 'fdr-bench pack' made.

    \b
    Examples:
      fdr-bench report runs/monday runs/tuesday --out leaderboard
      fdr-bench report mine.zip theirs.zip
      fdr-bench report runs/monday --gallery 500
      fdr-bench report runs/monday --compare npr@scenes fakereasoning@scenes
    """
    from contextlib import ExitStack

    from fdr_bench.cli_comparing import named, page_of_both
    from fdr_bench.packing import opened
    from leaderboards.site import build

    sides = [(named(first, runs), named(second, runs)) for first, second in pairs]
    with ExitStack() as stack:
        folders = [stack.enter_context(opened(run)) for run in runs]
        for run, folder in zip(runs, folders, strict=True):
            if not run.is_file():
                _keep_for_the_board(folder, gallery)
        alone = len(runs) == 1 and not runs[0].is_file()
        board = out or (runs[0] if alone else Path("leaderboard"))
        for first, second in sides:
            page_of_both(first, second, board)
        page = build(folders, board)
    click.echo(page.resolve().as_uri())
    if len(runs) == 2 and not sides:
        click.echo(f"image by image: add --compare {runs[0]} {runs[1]}", err=True)


def _keep_for_the_board(run: Path, gallery: int = 5000) -> None:
    """Write what boards read and scoring does not, unless the folder is read-only: curves, robustness, examples."""
    from fdr_bench.curves import write_curves
    from fdr_bench.examples import write_examples
    from fdr_bench.robustness import write_robustness

    if os.access(run, os.W_OK):
        write_curves(run)
        if (run / "scores.json").exists():
            write_robustness(run)
        write_examples(run, most=gallery)
