"""The command that holds a run against printed numbers."""

from __future__ import annotations

from pathlib import Path

import click

from fdr_bench.cli_options import JSON, PATH


@click.command("check-published")
@click.argument("runs", type=PATH, nargs=-1, required=True)
@JSON
def check_published(runs: tuple[Path, ...], as_json: bool) -> None:
    """Put the numbers that papers print beside ours, with what is not the same about how they came about.

    A printed number belongs to a model of the run where its detector and its set are meant. Nothing is judged: a
    difference may come from other weights, other images or other preprocessing, and the table says which it can see.

    \b
    Examples:
      fdr-bench check-published runs/mine
      fdr-bench check-published runs/mine --json
    """
    from fdr_bench import terminal
    from leaderboards.load import load_runs
    from leaderboards.reproduction import reproduction

    rows = reproduction(load_runs(runs))
    if as_json:
        terminal.print_json([{**row._asdict(), "difference": row.difference} for row in rows])
        return
    if not rows:
        terminal.say(
            "nothing is printed of these models on these sets. Sets are known by their names, such as mmfr, genimage, "
            "forensynths, aigcdetectbenchmark, drct-2m; 'fdr-bench list models' names the detectors"
        )
        return
    columns = ("model", "set", "generator", "metric", "printed", "ours", "difference", "n", "not the same", "source")
    terminal.print_table(
        columns,
        (
            (
                row.model,
                row.dataset,
                row.generator,
                row.metric,
                f"{row.printed:.1f}",
                None if row.ours is None else f"{row.ours:.1f}",
                None if row.difference is None else f"{row.difference:+.1f}",
                row.n,
                "; ".join(row.differences) or row.reason,
                row.source,
            )
            for row in rows
        ),
        title=f"{len(rows)} printed numbers, in percent",
    )
