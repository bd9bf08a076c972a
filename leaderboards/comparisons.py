"""Where two models, or two runs, are laid side by side: the pages that lie beside a board, and how to make one."""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from leaderboards.load import Run, text
from leaderboards.tables import DatasetBoard

NAME = re.compile(r"comparison[a-z0-9-]*\.html")
_TITLE = re.compile(r"<title>([^<]*) · FDR-Bench</title>")
_HEAD = 65536
"""Bytes of a page that are searched for its title."""


class Made(NamedTuple):
    """A page of a comparison beside the board: its file and what it compares."""

    file: str
    title: str


class Choice(NamedTuple):
    """A model that can be compared: what the reader sees, and the word of it in a shell."""

    shown: str
    word: str


class Offer(NamedTuple):
    """The command that makes a page of two models: what stands before them, and which there are, the best first."""

    command: str
    choices: tuple[Choice, ...]


def made(out: Path) -> tuple[Made, ...]:
    """Return the pages in a board's folder that `fdr-bench compare --html` or `report --compare` wrote, by name."""
    found = []
    for path in sorted(out.glob("comparison*.html")):
        if NAME.fullmatch(path.name) and path.is_file():
            with open(path, encoding="utf-8", errors="replace") as file:
                title = _TITLE.search(file.read(_HEAD))
            if title:
                found.append(Made(path.name, text(html.unescape(title[1]))))
    return tuple(found)


def offer(runs: Sequence[Run], boards: Sequence[DatasetBoard]) -> Offer | None:
    """Return how to compare two of a board's detectors; None where fewer than two have stored answers.

    A run is named as it lies under runs/ as a rule; names that others wrote are quoted for the shell.
    """
    several = len(runs) > 1
    ranked = [row for board in boards for row in board.overview.detectors if row.standing is not None]
    keys = dict.fromkeys((row.run, row.model.name) for row in ranked)
    if len(keys) < 2:
        return None
    choices = tuple(
        Choice(f"{model} in {run}", shlex.quote(f"runs/{run}::{model}"))
        if several
        else Choice(model, shlex.quote(model))
        for run, model in keys
    )
    given = " ".join(shlex.quote(f"runs/{run.name}") for run in runs)
    return Offer(f"fdr-bench report {given} --compare", choices)
