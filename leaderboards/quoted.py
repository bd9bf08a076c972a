"""The numbers that papers print, laid under a board's columns: a quieter row beneath the model that they are of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from leaderboards.reproduction import Beside, Quote
from leaderboards.tables import DatasetBoard, Row, Table

Place = tuple[tuple[str, ...], str]
"""The slices that a printed number in a column may be of, the first one first, and the metric."""


def with_quotes(board: DatasetBoard) -> DatasetBoard:
    """Return a board whose tables' rows carry what is printed of their models, a quote a source; often none."""
    overview = [(("all", "macro"), column.key) for column in board.overview.columns]
    return replace(
        board,
        overview=_quoting(board.overview, board.printed, overview),
        generators=tuple(
            _quoting(table, board.printed, [((column.key,), table.metric.key) for column in table.columns])
            for table in board.generators
        ),
    )


def _quoting(table: Table, printed: Sequence[Beside], places: Sequence[Place]) -> Table:
    rows = tuple(row._replace(quotes=quotes(row, printed, places)) for row in table.detectors)
    return replace(table, detectors=rows)


def quotes(row: Row, printed: Sequence[Beside], places: Sequence[Place]) -> tuple[Quote, ...]:
    """Return what is printed of a row's model for these columns; nothing printed: empty.

    Numbers of the model's own preset come alone where there are any; without them those of no preset in particular, and
    only then those of another one: `weights` says which. A quote that shows nothing new is left out, and so is a
    preprocessing that is not ours beside the same source's with ours. The board lists all below, with what differs.
    """
    mine = [each for each in printed if (each.run, each.model) == (row.run, row.model.name)]
    own = [each for each in mine if each.preset is not None and each.preset == row.model.preset]
    kept = own or [each for each in mine if each.preset is None] or mine
    return tuple(_without_repeats(_quotes(row, kept, places)))


def _quotes(row: Row, rows: Sequence[Beside], places: Sequence[Place]) -> Iterable[Quote]:
    groups: dict[tuple[str, str, str, str | None], dict[tuple[str, str], Beside]] = {}
    for each in rows:
        head = (each.source, each.method, each.dataset_printed, each.view)
        groups.setdefault(head, {}).setdefault((each.slice, each.key), each)
    for (source, method, dataset, view), found in groups.items():
        if view not in (None, row.model.view) and (source, method, dataset, row.model.view) in groups:
            continue
        cells = tuple(_first(found, slices, metric) for slices, metric in places)
        first = next((cell for cell in cells if cell is not None), None)
        if first is not None:
            yield Quote(method, first.weights, source, dataset, None if view == row.model.view else view, cells)


def _first(found: dict[tuple[str, str], Beside], slices: Sequence[str], metric: str) -> Beside | None:
    return next((found[part, metric] for part in slices if (part, metric) in found), None)


def _without_repeats(every: Iterable[Quote]) -> Iterable[Quote]:
    """Yield the quotes whose numbers no other one has as well, the first of those that have the same."""
    listed = list(every)
    numbers = [frozenset((place, cell.printed) for place, cell in enumerate(q.cells) if cell) for q in listed]
    told: set[frozenset[tuple[int, float]]] = set()
    for quote, own in zip(listed, numbers, strict=True):
        if own not in told and not any(own < other for other in numbers):
            yield quote
        told.add(own)
