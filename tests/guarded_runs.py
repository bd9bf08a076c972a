"""Runs to hold against a reference: made once, then changed in one respect."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fdr_bench.cli import main
from tests.runs import make_run, read_lines, write_lines

MODEL = "npr@scenes"
DATASET = "fdr-scenes-test"
Row = dict[str, object]


def one_model(root: Path, n: int = 600, **settings: object) -> Path:
    """Write a run of one detector that answered every image, on as many reals as fakes."""
    return make_run(root, n, models=(MODEL,), failures=0.0, **settings)  # type: ignore[arg-type]


def changed(run: Path, target: Path, change: Callable[[list[Row], list[Row]], list[Row]]) -> Path:
    """Copy a run, its predictions replaced by `change(predictions, samples)`."""
    shutil.copytree(run, target)
    path = target / MODEL / DATASET / "predictions.jsonl"
    write_lines(path, change(read_lines(path), read_lines(target / "datasets" / DATASET / "samples.jsonl")))
    return target


def flipped(lost: int, won: int, seed: int = 0) -> Callable[[list[Row], list[Row]], list[Row]]:
    """Return a change that turns `lost` right answers and `won` wrong ones, at random, to the other side of 0.5."""

    def change(rows: list[Row], samples: list[Row]) -> list[Row]:
        right = np.array(
            [(row["score"] > 0.5) == (of["label"] == "fake") for row, of in zip(rows, samples, strict=True)]
        )  # type: ignore[operator]
        draws = np.random.default_rng(seed)
        chosen = [*draws.choice(np.flatnonzero(right), lost, replace=False)]
        chosen += [*draws.choice(np.flatnonzero(~right), won, replace=False)]
        for place in chosen:
            rows[place]["score"] = 1 - rows[place]["score"]  # type: ignore[operator]
        return rows

    return change


def jittered(spread: float, seed: int) -> Callable[[list[Row], list[Row]], list[Row]]:
    """Return a change that adds noise to every score's logit, as inference that is not deterministic does."""

    def change(rows: list[Row], samples: list[Row]) -> list[Row]:
        noise = np.random.default_rng([7, seed]).normal(0, spread, len(rows))
        for row, step in zip(rows, noise, strict=True):
            score = float(row["score"])  # type: ignore[arg-type]
            row["score"] = float(1 / (1 + np.exp(-(np.log(score / (1 - score)) + step))))
        return rows

    return change


def edited(path: Path, target: Path, edit: Callable[[dict[str, object]], object]) -> Path:
    """Copy a JSON file, `edit` having changed its content."""
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    target.write_text(json.dumps(content), encoding="utf-8")
    return target


def exit_code(*words: object) -> int:
    """Return what the command line exits with, in this process."""
    before, sys.argv = sys.argv, ["fdr-bench", *map(str, words)]
    try:
        main()
    except SystemExit as leaving:
        return int(leaving.code or 0)
    finally:
        sys.argv = before
    raise AssertionError("main always exits")


def check(run: Path, reference: Path, *words: object) -> int:
    """Return the exit code of a quick check."""
    return exit_code("check", run, "--reference", reference, "--resamples", "200", *words)


def verdicts_only(run: Path) -> None:
    """Take the scores out of a run, a stated verdict instead."""
    path = run / MODEL / DATASET / "predictions.jsonl"
    rows = [row | {"verdict": "fake" if row.pop("score") > 0.5 else "real"} for row in read_lines(path)]
    write_lines(path, rows)
