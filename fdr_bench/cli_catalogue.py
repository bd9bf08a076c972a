"""The commands beside running: what there is, facts about it, training, self-tests and new plugins."""

from __future__ import annotations

from pathlib import Path

import click

from fdr_bench.cli_options import JSON, PATH


@click.command("list")
@click.argument("what", type=click.Choice(["models", "datasets", "metrics"]))
@JSON
def list_(what: str, as_json: bool) -> None:
    """List models, datasets or metrics; plugins that cannot be loaded are listed with the reason.

    \b
    Examples:
      fdr-bench list models
      fdr-bench list metrics --json
    """
    from fdr_bench import catalogue, terminal

    rows = {"models": catalogue.models, "datasets": catalogue.datasets, "metrics": catalogue.metrics}[what]()
    if as_json:
        terminal.print_json(rows)
    else:
        columns = list(rows[0]) if rows else []
        terminal.print_table(columns, [[row[column] for column in columns] for row in rows])


@click.command()
@click.argument("model")
@JSON
def show(model: str, as_json: bool) -> None:
    """Show a detector's card: paper, licence, presets, views, and where its weights come from.

    \b
    Example:
      fdr-bench show cnndetection
    """
    from fdr_bench import catalogue, terminal

    card = catalogue.card(model)
    if as_json:
        terminal.print_json(card)
        return
    terminal.print_table(
        ["", "value"], [(key, value) for key, value in card.items() if key not in ("presets", "options")]
    )
    for name, preset in card["presets"].items():
        terminal.print_table(["", "value"], list(preset.items()), title=f"{model}@{name}")
    if "options" in card:
        terminal.print_table(["option", "note"], list(card["options"].items()), title="--option NAME=VALUE")


@click.group()
def data() -> None:
    """Look at datasets."""


@data.command("inspect")
@click.argument("spec")
@JSON
def inspect(spec: str, as_json: bool) -> None:
    """Say what is in a dataset: generators, classes, formats, sizes, duplicates, what cannot be decoded.

    \b
    Examples:
      fdr-bench data inspect scenes
      fdr-bench data inspect folders:photos --json
    """
    from fdr_bench import terminal
    from fdr_bench.data import open_dataset
    from fdr_bench.data.inspect import inspect_dataset

    facts = inspect_dataset(open_dataset(spec))
    if as_json:
        terminal.print_json(facts)
        return
    for title, columns, rows in terminal.inspection_tables(facts):
        terminal.print_table(columns, rows, title=title)


@click.command()
@click.argument("detector")
@click.option("--data", "dataset", required=True, help="What to train on; see 'fdr-bench list datasets'.")
@click.option("--validation", help="What to validate on [default: a part held out of --data].")
@click.option(
    "--size", default="small", show_default=True, help="Size of the network; 'fdr-bench show DETECTOR' lists them."
)
@click.option(
    "--out",
    type=PATH,
    required=True,
    help="Folder for the weights and their card; an unfinished training in it is continued.",
)
@click.option("--epochs", type=click.IntRange(1), help="[default: the recipe's]")
@click.option("--batch", type=click.IntRange(1), help="[default: the recipe's]")
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="Highest learning rate [default: the recipe's].")
@click.option("--max-minutes", type=click.FloatRange(0, min_open=True), help="End, annealed, within this time.")
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Torch threads [default: all cores].")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, …")
@click.option("--restart", is_flag=True, help="Throw away an unfinished training in --out instead of continuing it.")
def train(
    detector: str,
    dataset: str,
    validation: str | None,
    size: str,
    out: Path,
    epochs: int | None,
    batch: int | None,
    lr: float | None,
    max_minutes: float | None,
    seed: int,
    threads: int | None,
    device: str,
    restart: bool,
) -> None:
    """Train a detector by its paper's recipe; writes safetensors and a card, and continues after a kill.

    \b
    Example:
      fdr-bench train cnndetection --data parquet:train.parquet --size small --out weights/mine
    """
    from typing import cast

    from fdr_bench import plugins
    from fdr_bench.data import open_dataset
    from fdr_bench.errors import UsageError
    from fdr_bench.training import Trainable
    from fdr_bench.training import train as run_training

    factory = plugins.load_detector(detector)
    if not hasattr(factory, "recipe"):
        raise UsageError(f"{detector} cannot be trained: it offers no recipe")
    folder = run_training(
        cast(Trainable, factory),
        open_dataset(dataset),
        size=size,
        out=out,
        seed=seed,
        epochs=epochs,
        batch=batch,
        lr=lr,
        max_minutes=max_minutes,
        validation=open_dataset(validation) if validation else None,
        threads=threads,
        device=device,
        resume=not restart,
    )
    click.echo(f"{folder}\nuse it: fdr-bench run --models {detector} --weights {detector}={folder} --data …")


@click.command()
@click.argument("model")
@click.option("--weights", type=PATH, help="Your own weights for it.")
@click.option("--plugin", "as_file", is_flag=True, help="MODEL is FILE.py:Class.")
@JSON
def selftest(model: str, weights: Path | None, as_file: bool, as_json: bool) -> int:
    """Check that a detector keeps the contract: order, range, batch independence, odd images, polarity.

    \b
    Examples:
      fdr-bench selftest npr@scenes
      fdr-bench selftest mine.py:MyDetector --plugin
    """
    from fdr_bench import catalogue, terminal

    results = catalogue.selftest(model, weights, as_file)
    if as_json:
        terminal.print_json([result._asdict() for result in results])
    else:
        marks = {True: "ok", False: "FAILED", None: "not applicable"}
        terminal.print_table(["check", "note", "reason"], [(r.name, marks[r.passed], r.detail) for r in results])
    return 1 if any(result.passed is False for result in results) else 0


@click.command("new-detector")
@click.argument("name")
@click.option("--out", type=PATH, help="Where to put the package [default: ./NAME].")
def new_detector(name: str, out: Path | None) -> None:
    """Make a new plugin package with a working detector and its tests, ready to install.

    \b
    Example:
      fdr-bench new-detector spectrum && pip install -e spectrum && fdr-bench selftest spectrum
    """
    from fdr_bench.scaffold import new_detector as scaffold

    folder = scaffold(name, out or Path(name))
    click.echo(f"made {folder}\nnext: pip install -e {folder} && pytest {folder} && fdr-bench selftest {name}")
