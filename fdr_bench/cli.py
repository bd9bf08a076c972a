"""The command line: parse arguments, call one function, print one result.

Heavy modules are imported inside the commands, so that --help answers at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fdr_bench.cli_catalogue import data, list_, new_detector, selftest, show, train
from fdr_bench.errors import FDRBenchError, UsageError

if TYPE_CHECKING:
    from fdr_bench.session import Finished

PATH = click.Path(path_type=Path)


def main() -> None:
    """Run the command line; the only place where errors with a message are caught."""
    try:
        code = cli.main(prog_name="fdr-bench", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except FDRBenchError as error:
        click.echo(f"fdr-bench: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nfdr-bench: stopped. What is done is kept; the same command, or 'fdr-bench resume', goes on.", err=True)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, such as 'head', has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="fdr-bench")
def cli() -> None:
    """Evaluate detectors of AI-generated images, and models that explain why an image is fake.

    \b
    Examples:
      fdr-bench run --models all                                the embedded benchmark, every detector
      fdr-bench run --models cnndetection,npr --data folders:photos
      fdr-bench predict photo.jpg --models npr
      fdr-bench list models
    """


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


def _default_workers() -> int:
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


_WORKERS = click.option("--workers", type=click.IntRange(1), help="Processes that decode and predict [default: one a core, at most 8].")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
_MAX_FAILURES = click.option(
    "--max-failures", default="1%", show_default=True, callback=_limit_of_failures,
    help="Exit 1 when a model has more failed images than this on a dataset: a number, or a share such as 5%.",
)
_RETRY = click.option("--retry-failures", is_flag=True, help="Try the images again that failed before.")


@cli.command()
@click.option("--models", default="all", show_default=True, help="Names, comma-separated: name[@preset][:view]; or all.")
@click.option("--data", "datasets", multiple=True, help="What to evaluate on, repeatable [default: scenes]. See 'fdr-bench list datasets'.")
@click.option("--preset", help="Preset of every model that has it [default: scenes on FDR-Scenes, else official].")
@click.option("--weights", multiple=True, callback=_pairs, metavar="NAME=PATH", help="Your own weights for a detector, repeatable.")
@click.option("--plugin", "plugin_files", multiple=True, metavar="FILE.py:Class", help="A detector out of a file, repeatable.")
@click.option("--out", type=PATH, help="Run folder; an unfinished run in it is continued [default: runs/<time>-<hash>].")
@click.option("--limit", type=click.IntRange(1), help="At most so many samples a dataset, evenly over generators and classes.")
@click.option("--batch", default=32, show_default=True, type=click.IntRange(1), help="Images a batch.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="Torch threads a worker.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, mps …")
@_WORKERS
@_MAX_FAILURES
@_RETRY
@click.option("--strict", is_flag=True, help="Exit 1 when any model was skipped.")
@click.option("--dry-run", is_flag=True, help="Print what would run, and stop.")
@_JSON
def run(
    models: str, datasets: tuple[str, ...], preset: str | None, weights: dict[str, str], plugin_files: tuple[str, ...],
    out: Path | None, limit: int | None, batch: int, threads: int, device: str, workers: int | None, max_failures: str,
    retry_failures: bool, strict: bool, dry_run: bool, as_json: bool,
) -> int:
    """Run models on data, score them and write the leaderboard.

    \b
    Examples:
      fdr-bench run --models all
      fdr-bench run --models all --data mmfr:evaluation_sets --preset scenes
      fdr-bench run --models cnndetection,npr:native --data folders:photos --limit 500
      fdr-bench run --models cnndetection --weights cnndetection=weights/mine --data parquet:train.parquet
    """
    from fdr_bench import session
    from fdr_bench.plan import Asked, resolve
    from fdr_bench.terminal import Bars

    names = ("all",) if models == "all" else tuple(name.strip() for name in models.split(",") if name.strip())
    if not names and not plugin_files:
        raise UsageError("--models is empty; name some, or say --models all.")
    asked = Asked(
        models=names, data=datasets or ("scenes",), preset=preset, weights=weights, plugins=plugin_files,
        limit=limit, batch=batch, threads=threads, device=device,
    )
    if dry_run:
        _print_plan(resolve(asked).spec, as_json)
        return 0
    bars = Bars()
    try:
        finished = session.run(
            asked, out=out, workers=workers or _default_workers(), progress=bars, retry_failures=retry_failures
        )
    finally:
        bars.close()
    return _conclude(finished, max_failures, strict, as_json)


@cli.command()
@click.argument("run", type=PATH)
@_WORKERS
@_MAX_FAILURES
@_RETRY
@click.option("--strict", is_flag=True, help="Exit 1 when any model was skipped.")
@_JSON
def resume(run: Path, workers: int | None, max_failures: str, retry_failures: bool, strict: bool, as_json: bool) -> int:
    """Finish an unfinished run: exactly the samples that are missing.

    \b
    Example:
      fdr-bench resume runs/20260101-120000-1a2b3c4d
    """
    from fdr_bench import session
    from fdr_bench.terminal import Bars

    bars = Bars()
    try:
        finished = session.resume(
            run, workers=workers or _default_workers(), progress=bars, retry_failures=retry_failures
        )
    finally:
        bars.close()
    return _conclude(finished, max_failures, strict, as_json)


def _conclude(finished: Finished, max_failures: str, strict: bool, as_json: bool) -> int:
    """Score and report a finished run unless that was done, print the results, return the exit code."""
    from fdr_bench.scoring import score_run
    from fdr_bench.store import read_scores

    run, board = finished.run, finished.run / "index.html"
    newest = (run / "run.json").stat().st_mtime_ns
    if not (run / "scores.json").exists() or (run / "scores.json").stat().st_mtime_ns < newest:
        score_run(run)
    if not board.exists() or board.stat().st_mtime_ns < newest:
        from leaderboards.site import build

        build([run], run)
    over = finished.failures_above(max_failures)
    _print_results(finished.manifest, read_scores(run), run, as_json)
    for line in over:
        click.echo(f"fdr-bench: more failures than --max-failures {max_failures}: {line}", err=True)
    return 1 if over or (strict and finished.manifest["skipped"]) else 0


def _print_results(manifest: dict[str, Any], scores: list[dict[str, Any]], run: Path, as_json: bool) -> None:
    from fdr_bench import terminal

    board = run / "index.html"
    if as_json:
        terminal.print_json({"run": str(run), "board": str(board), "manifest": manifest, "scores": scores})
        return
    for title, columns, rows in terminal.result_tables(manifest, scores):
        terminal.print_table(columns, rows, title=title)
    for row in manifest["skipped"]:
        click.echo(f"skipped {row['model']}: {row['reason']}")
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
        rows += [(label, name, facts["n_real"] + facts["n_fake"], spec["models"][label]["view"]) for label in sorted(keys)]
    terminal.print_table(["model", "dataset", "samples", "view"], rows, title=f"would run (plan {spec['spec_hash'][:8]})")
    for row in spec["skipped"]:
        click.echo(f"would skip {row['model']}: {row['reason']}")


@cli.command()
@click.argument("run", type=PATH)
@click.option("--validation", type=PATH, help="Another run of the same models: thresholds for acc@validation come from it.")
@click.option("--resamples", default=1000, show_default=True, type=click.IntRange(100), help="Bootstrap resamples.")
@click.option("--level", default=0.95, show_default=True, type=click.FloatRange(0.5, 0.999), help="Level of the intervals.")
@click.option("--seed", default=0, show_default=True)
@_JSON
def score(run: Path, validation: Path | None, resamples: int, level: float, seed: int, as_json: bool) -> None:
    """Compute all metrics of a run again; needs no model.

    \b
    Example:
      fdr-bench score runs/20260101-120000-1a2b3c4d --validation runs/on-validation-data
    """
    from fdr_bench.scoring import score_run
    from fdr_bench.store import read_manifest, read_scores

    score_run(run, resamples=resamples, seed=seed, level=level, validation=validation)
    _print_results(read_manifest(run), read_scores(run), run, as_json)


@cli.command()
@click.argument("runs", type=PATH, nargs=-1, required=True)
@click.option("--out", type=PATH, help="Folder of the page [default: the run itself, or leaderboard/ for several].")
def report(runs: tuple[Path, ...], out: Path | None) -> None:
    """Write the leaderboard of one or several runs.

    \b
    Example:
      fdr-bench report runs/monday runs/tuesday --out leaderboard
    """
    from leaderboards.site import build

    page = build(runs, out or (runs[0] if len(runs) == 1 else Path("leaderboard")))
    click.echo(page.resolve().as_uri())


@cli.command()
@click.argument("paths", type=PATH, nargs=-1, required=True)
@click.option("--models", default="all", show_default=True, help="Names, comma-separated: name[@preset][:view]; or all.")
@click.option("--preset", help="Preset of every model that has it [default: official where its weights are here, else scenes].")
@click.option("--weights", multiple=True, callback=_pairs, metavar="NAME=PATH", help="Your own weights for a detector, repeatable.")
@click.option("--plugin", "plugin_files", multiple=True, metavar="FILE.py:Class", help="A detector out of a file, repeatable.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, mps …")
@_JSON
def predict(
    paths: tuple[Path, ...], models: str, preset: str | None, weights: dict[str, str], plugin_files: tuple[str, ...],
    device: str, as_json: bool,
) -> int:
    """Score images without labels: files, or folders with all the images beneath them.

    \b
    Examples:
      fdr-bench predict photo.jpg --models npr
      fdr-bench predict photo.jpg folder/ --models cnndetection --weights cnndetection=weights/mine --json
    """
    from fdr_bench.predicting import predict_paths, print_answers

    asked = ("all",) if models == "all" else tuple(name.strip() for name in models.split(",") if name.strip())
    answers = predict_paths(paths, asked, preset=preset, brought=weights, files=plugin_files, device=device)
    return 1 if print_answers(answers, as_json) else 0


for command in (list_, show, data, train, selftest, new_detector):
    cli.add_command(command)
