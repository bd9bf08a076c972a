"""The rank of each detector in a board's overview, shared by those that chance could make differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from fdr_bench.ranking import ALPHA, Entrant, rank
from leaderboards.load import Run

if TYPE_CHECKING:
    from leaderboards.tables import DatasetBoard, Row


class Standing(NamedTuple):
    """A detector's rank among `of` ranked ones; `shared` and `alike` are names (see `fdr_bench.ranking.Rank`)."""

    place: int
    of: int
    shared: tuple[str, ...]
    alike: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """All about the rank in words, for tooltips, screen readers and the model's page."""
        pairs = self.of * (self.of - 1) // 2
        said = [f"rank {self.place} of {self.of} by ACC strict"]
        if self.shared:
            said.append(f"shared with {', '.join(self.shared)}")
        if self.alike:
            said.append(f"not told apart from {', '.join(self.alike)} either")
        if pairs:
            said.append(f"by McNemar's exact test, Holm over {pairs} {'pair' if pairs == 1 else 'pairs'}, α = {ALPHA}")
        return ", ".join(said)


def with_ranks(board: DatasetBoard, runs: Sequence[Run]) -> DatasetBoard:
    """Return a board whose overview's detectors carry their rank and stand by it, equal ones by ACC strict or ACC.

    Detectors without stored predictions have none and stand last; where none has any, the board stays as it is.
    """
    folders = {run.name: run.folder for run in runs}
    rows = board.overview.detectors
    found = rank([Entrant(folders[row.run], row.model.name) for row in rows], board.facts.name)
    names = [f"{row.model.name} in {row.run}" if board.overview.several_runs else row.model.name for row in rows]
    of = sum(each is not None for each in found)
    ranked = []
    for row, each in zip(rows, found, strict=True):
        if each is not None:
            shared, alike = (tuple(names[other] for other in others) for others in (each.shared, each.alike))
            row = row._replace(standing=Standing(each.place, of, shared, alike))
        ranked.append(row)
    if not of:
        return board
    keys = [column.key for column in board.overview.columns]
    at = keys.index("acc@strict" if "acc@strict" in keys else "acc")

    def order(row: Row) -> tuple[bool, int, float]:
        place = row.standing.place if row.standing else 0
        return row.standing is None, place, -(row.cells[at].value or 0.0)

    return replace(board, overview=replace(board.overview, detectors=tuple(sorted(ranked, key=order))))
