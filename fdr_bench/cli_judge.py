"""The command judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fdr_bench import cli_options as options
from fdr_bench.cli_options import PATH

if TYPE_CHECKING:
    from fdr_bench.judge.judging import Judged
    from fdr_bench.judge.options import Judge


@click.command()
@click.argument("run", type=PATH)
@click.option("--model", required=True, help="The judge, as the server calls it.")
@click.option("--rubric", default="reference", show_default=True, help="reference, standalone, or a .toml file.")
@click.option(
    "--models", help="Whose reasoning is marked, comma-separated labels of the run [default: all that give any]."
)
@click.option("--limit", type=click.IntRange(1), help="Samples a dataset, the same ones for every model.")
@click.option("--name", help="What the judge is called in its metrics' names [default: as --model].")
@options.server
@options.JSON
def judge(
    run: Path, model: str, rubric: str, models: str | None, limit: int | None, name: str | None, as_json: bool
) -> int:
    """Have a language model mark the reasoning of a run by a rubric, and score the run again with its marks.

    It is asked once a text; every answer is kept, and the same command goes on where it stopped. Where it fails, the
    mark is missing. The key comes from the environment: OPENAI_API_KEY, or for other servers FDR_BENCH_API_KEY.

    \b
    Examples:
      fdr-bench judge runs/NAME --model gpt-4o --budget 5USD --option price=2.5,10
      fdr-bench judge runs/NAME --base-url http://localhost:8000/v1 --model Qwen/Qwen3-32B --rubric standalone
    """
    from fdr_bench.errors import RunStopped
    from fdr_bench.judge import rubrics
    from fdr_bench.judge.judging import judge_run
    from fdr_bench.judge.options import read_judge
    from fdr_bench.terminal import Bars

    asked = read_judge(model, rubrics.load(rubric), options.of_families(), name)
    chosen = tuple(each.strip() for each in models.split(",") if each.strip()) if models else ()
    with Bars() as bars:
        try:
            judged = judge_run(run, asked, progress=bars, models=chosen, limit=limit)
        except RunStopped:  # what was answered counts already
            _score_again(run)
            raise
    rescored = _score_again(run)
    _print(run, asked, judged, as_json)
    if not rescored:
        click.echo(
            f"scores.json was made with a validation run and is left as it is; to have the marks in it: "
            f"fdr-bench score {run} --validation …",
            err=True,
        )
    return 1 if not any(cell["marked"] for cell in judged.cells) else 0


def _score_again(run: Path) -> bool:
    """Score and report the run with the settings it was scored with; False where these cannot be had again."""
    from fdr_bench.scoring import score_run
    from fdr_bench.store import read_json
    from leaderboards.site import build

    settings: Mapping[str, Any] = {}
    if (run / "scores.json").exists():
        settings = read_json(run / "scores.json").get("settings", {})
    if settings.get("validation"):
        return False
    score_run(run, **{key: settings[key] for key in ("resamples", "seed", "level") if key in settings})
    build([run], run)
    return True


def _print(run: Path, judge: Judge, judged: Judged, as_json: bool) -> None:
    from fdr_bench import terminal
    from fdr_bench.store import read_scores

    rows = read_scores(run) if (run / "scores.json").exists() else []
    scores = [row for row in rows if str(row["metric"]).partition("@")[2] == judge.label and row["slice"] == "all"]
    if as_json:
        content = {"judge": judge.label, "folder": str(judged.folder), "cells": judged.cells, "usage": judged.usage}
        terminal.print_json({**content, "scores": scores})
        return
    table = []
    for cell in judged.cells:
        mine = {
            row["metric"]: row for row in scores if (row["model"], row["dataset"]) == (cell["model"], cell["dataset"])
        }
        marks = [_shown(mine.get(f"judge_{name}@{judge.label}")) for name in judge.rubric.criteria]
        missing = ", ".join(f"{count} {kind}" for kind, count in cell["missing"].items()) or "none"
        table.append([cell["model"], cell["dataset"], *marks, cell["marked"], cell["no_text"], missing])
    columns: Sequence[str] = ["model", "dataset", *judge.rubric.criteria, "n", "without text", "missing"]
    title = f"{judge.label}: 0 is a mark of {judge.rubric.lowest}, 100 of {judge.rubric.highest}"
    terminal.print_table(columns, table, title=title)
    click.echo("usage: " + ", ".join(f"{round(number, 4):,} {name}" for name, number in judged.usage.items()))
    click.echo(f"answers and marks  {judged.folder}")


def _shown(score: Mapping[str, Any] | None) -> str | None:
    if score is None or score["value"] is None:
        return None
    interval = score.get("interval")
    within = f" [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]" if interval else ""
    return f"{100 * score['value']:.1f}{within}"
