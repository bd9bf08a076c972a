"""The commands robustness and consistency: how answers bear that images, or questions, change."""

from __future__ import annotations

from pathlib import Path

import click

from fdr_bench import cli_options as options
from fdr_bench.cli_options import PATH


@click.command()
@click.argument("run", type=PATH)
@click.option("--metric", default="acc", show_default=True, help="acc, balanced_acc, ap or auroc.")
@options.JSON
def robustness(run: Path, metric: str, as_json: bool) -> None:
    """Show how models bear perturbations, as curves with the area under them, and what file formats gave away.

    \b
    Examples:
      fdr-bench run --models all --perturb jpeg:95..30 --perturb noise --align-format jpeg:95 --out runs/robust
      fdr-bench robustness runs/robust --metric ap
    """
    from fdr_bench import terminal
    from fdr_bench.robustness import robustness as measured

    curves, aligned = measured(run, metric=metric)
    if as_json:
        terminal.print_json({"curves": curves, "aligned": aligned})
        return
    for dataset, family in dict.fromkeys((row["dataset"], row["family"]) for row in curves):
        mine = [row for row in curves if (row["dataset"], row["family"]) == (dataset, family)]
        levels = ["none" if point["level"] is None else f"{point['level']:g}" for point in mine[0]["points"]]
        cells = [
            [row["model"], *(_percent(point["value"]) for point in row["points"]), _percent(row["area"]), _n(row)]
            for row in mine
        ]
        terminal.print_table(["model", *levels, "area", "n"], cells, title=f"{dataset}, {metric} under {family}")
        for row in mine:
            if row["reason"]:
                click.echo(f"no area for {row['model']}: {row['reason']}")
    if aligned:
        columns = ["model", "dataset", "format", "ACC own", "ACC one", "difference", "p", "n", "missing"]
        cells = [
            [row["model"], row["dataset"], row["aligned"]]
            + [_percent(row[name]) for name in ("original", "in_one_format", "difference")]
            + [None if row["p"] is None else f"{row['p']:.2g}", row["n"], row["n_missing"]]
            for row in aligned
        ]
        terminal.print_table(columns, cells, title="The same images in their own formats and in one")


@click.command()
@click.argument("run", type=PATH)
@options.JSON
def consistency(run: Path, as_json: bool) -> None:
    """Say how often zero-shot models contradict themselves: between repeats, and between the polarities of a prompt.

    \b
    Examples:
      fdr-bench run --models openai:gpt-4o@verdict --repeats 5 --temperature 0.2 --out runs/repeated
      fdr-bench consistency runs/repeated
    """
    from fdr_bench import terminal
    from fdr_bench.consistency import consistency as measured

    rows = measured(run)
    if as_json:
        terminal.print_json(rows)
        return
    columns = ["model", "dataset", "between", "inconsistent %", "fake % first", "fake % second", "n", "missing"]
    shares = ("rate", "fake_first", "fake_second")
    cells = [
        [row["model"], row["dataset"], row["between"]]
        + [None if row[name] is None else f"{100 * row[name]:.2f}" for name in shares]
        + [row["n"], row["n_missing"]]
        for row in rows
    ]
    terminal.print_table(columns, cells)


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.1f}"


def _n(row: dict[str, list[dict[str, int]]]) -> str:
    counts = [point["n"] for point in row["points"]]
    return str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
