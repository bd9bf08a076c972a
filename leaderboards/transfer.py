"""The train × test matrix: what detectors get on each dataset and generator, by what they were trained on."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from leaderboards.contamination import family
from leaderboards.load import ModelFacts
from leaderboards.tables import DatasetBoard

METRIC = "balanced_acc"


class Transfer(NamedTuple):
    """The mean over the models of one training, with how many these are and the least and the most that one got."""

    value: float
    models: int
    low: float
    high: float
    familiar: bool  # tested on the family of datasets that it was trained on


class Training(NamedTuple):
    """One row: what was trained on, the models, and a cell for each board; None where none of them was scored."""

    title: str
    models: tuple[str, ...]
    cells: tuple[Transfer | None, ...]


def trainings(boards: Sequence[DatasetBoard]) -> tuple[Training, ...]:
    """Return the rows of the matrix, by training set; nothing where fewer than two rows or two boards are known.

    A model is counted once a board and run. Numbers are balanced ACC, over all of a board's images.
    """
    names: dict[str, dict[str, None]] = {}
    sources: dict[str, str] = {}
    found: dict[str, dict[int, list[float]]] = {}
    for place, board in enumerate(boards):
        at = [column.key for column in board.overview.columns].index(METRIC)
        for row in board.overview.detectors:
            title, value = _title(row.model), row.cells[at].value
            if title is not None and value is not None:
                names.setdefault(title, {})[row.model.name] = None
                sources[title] = row.model.trained_on.dataset if row.model.trained_on else ""
                found.setdefault(title, {}).setdefault(place, []).append(value)
    if len(names) < 2 or len(boards) < 2:
        return ()
    return tuple(
        Training(
            title,
            tuple(names[title]),
            tuple(_cell(found[title].get(place), sources[title], board) for place, board in enumerate(boards)),
        )
        for title in sorted(names)
    )


def _title(model: ModelFacts) -> str | None:
    trained = model.trained_on
    if trained is None or not trained.dataset:
        return None
    named = trained.generators
    listed = ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
    return f"{trained.dataset}: {listed}" if named else trained.dataset


def _cell(values: list[float] | None, source: str, board: DatasetBoard) -> Transfer | None:
    if not values:
        return None
    ours, theirs = family(board.facts.name), family(source)
    familiar = bool(ours and theirs and (ours <= theirs or theirs <= ours))
    return Transfer(fmean(values), len(values), min(values), max(values), familiar)
