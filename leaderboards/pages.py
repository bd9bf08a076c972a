"""A page a model and a page a generator: the cells of the tables, seen from the side of one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from leaderboards.columns import Column
from leaderboards.gallery import Gallery
from leaderboards.load import DatasetFacts, ModelFacts
from leaderboards.ranks import Standing
from leaderboards.slugs import slugged
from leaderboards.tables import Cell, DatasetBoard, Row, Table

GENERATOR = "generator:"
Galleries = Mapping[str, Gallery]  # by the slug of the board


class OfGenerator(NamedTuple):
    """What a model got on one generator: a cell for each metric; `link` is the generator's page."""

    name: str
    link: str | None
    cells: tuple[Cell, ...]


class Part(NamedTuple):
    """One model on one dataset in one run. `examples` are links into the gallery: all, wrong ones, without answer."""

    title: str
    dataset: DatasetFacts
    by: str
    """The run's name."""
    run: str | None
    """The same where it has to be told because there are several."""
    facts: ModelFacts
    scores: tuple[tuple[Column, Cell], ...]
    metrics: tuple[Column, ...]
    generators: tuple[OfGenerator, ...]
    examples: tuple[tuple[str, str], ...]
    standing: Standing | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPage:
    """All that the runs know of one model."""

    file: str
    name: str
    parts: tuple[Part, ...]

    @property
    def card(self) -> str:
        """The name of the file with the snippet for a model card."""
        return f"model-card-{self.file.removeprefix('model-').removesuffix('.html')}.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorPage:
    """Every model on the fakes of one generator of one dataset, best first; baselines apart."""

    file: str
    name: str
    dataset: str
    metrics: tuple[Column, ...]
    detectors: tuple[Row, ...]
    baselines: tuple[Row, ...]
    several_runs: bool
    examples: tuple[tuple[str, str], ...]


class Links(NamedTuple):
    """Where the pages are: of models by name, of generators by (slug of the board, name)."""

    models: Mapping[str, str]
    generators: Mapping[tuple[str, str], str]


def links(boards: Sequence[DatasetBoard]) -> Links:
    """Name the file of every page."""
    taken: set[str] = set()
    models: dict[str, str] = {}
    generators: dict[tuple[str, str], str] = {}
    for board in boards:
        for row in _rows(board.overview):
            if row.model.name not in models:
                models[row.model.name] = f"model-{slugged(row.model.name, taken)}.html"
    taken = set()
    for board in boards:
        for name in _generators(board):
            generators[board.slug, name] = f"generator-{slugged(f'{board.slug} {name}', taken)}.html"
    return Links(models, generators)


def model_pages(boards: Sequence[DatasetBoard], found: Links, galleries: Galleries) -> tuple[ModelPage, ...]:
    """Return a page for every model that stands in a table."""
    parts: dict[str, list[Part]] = {}
    for board in boards:
        for row in _rows(board.overview):
            parts.setdefault(row.model.name, []).append(_part(board, row, found, galleries.get(board.slug)))
    return tuple(ModelPage(file=found.models[name], name=name, parts=tuple(of)) for name, of in parts.items())


def _part(board: DatasetBoard, row: Row, found: Links, gallery: Gallery | None) -> Part:
    rows = [_row_of(table, row) for table in board.generators]
    known = [(table, mine) for table, mine in zip(board.generators, rows, strict=True) if mine is not None]
    generators = []
    for name in _generators(board) if known else ():
        cells = tuple(mine.cells[_position(table, name)] for table, mine in known)
        generators.append(OfGenerator(name, found.generators.get((board.slug, name)), cells))
    return Part(
        title=board.title,
        dataset=board.facts,
        by=row.run,
        run=row.run if board.overview.several_runs else None,
        facts=row.model,
        scores=tuple(zip(board.overview.columns, row.cells, strict=True)),
        metrics=tuple(table.metric for table, _ in known),
        generators=tuple(generators),
        examples=_examples_of_model(board.slug, gallery, row),
        standing=row.standing,
    )


def generator_pages(boards: Sequence[DatasetBoard], found: Links, galleries: Galleries) -> tuple[GeneratorPage, ...]:
    """Return a page for every generator that stands in a table."""
    pages = []
    for board in boards:
        for name in _generators(board):
            first = board.generators[0]
            pages.append(
                GeneratorPage(
                    file=found.generators[board.slug, name],
                    name=name,
                    dataset=board.title,
                    metrics=tuple(table.metric for table in board.generators),
                    detectors=_ranked(board, first.detectors, name),
                    baselines=_ranked(board, first.baselines, name),
                    several_runs=first.several_runs,
                    examples=_examples_of_generator(board.slug, galleries.get(board.slug), name),
                )
            )
    return tuple(pages)


def _ranked(board: DatasetBoard, rows: Iterable[Row], generator: str) -> tuple[Row, ...]:
    """Return the rows with one cell a metric, by the first metric; undefined last, equal ones by name."""
    found = []
    for row in rows:
        mine = [(table, _row_of(table, row)) for table in board.generators]
        cells = [other.cells[_position(table, generator)] for table, other in mine if other is not None]
        found.append(row._replace(cells=tuple(cells)))
    found.sort(key=lambda row: (row.cells[0].value is None, -(row.cells[0].value or 0.0), row.model.name))
    return tuple(found)


def _rows(table: Table) -> tuple[Row, ...]:
    return (*table.detectors, *table.baselines)


def _row_of(table: Table, row: Row) -> Row | None:
    """Return the row of the same model and run in another table; texts that no image went into have none."""
    return next((each for each in _rows(table) if (each.run, each.model.name) == (row.run, row.model.name)), None)


def _generators(board: DatasetBoard) -> list[str]:
    columns = board.generators[0].columns if board.generators else ()
    return [column.key.removeprefix(GENERATOR) for column in columns if column.key.startswith(GENERATOR)]


def _position(table: Table, generator: str) -> int:
    return next(at for at, column in enumerate(table.columns) if column.key == f"{GENERATOR}{generator}")


def _examples_of_model(slug: str, gallery: Gallery | None, row: Row) -> tuple[tuple[str, str], ...]:
    listed = gallery.index["models"] if gallery else ()
    for place, model in enumerate(listed):
        if model["name"] == row.model.name and model["run"] in (None, row.run):
            page = f"examples-{slug}.html#model={place}"
            shows = [("all examples", ""), ("wrong ones", "&show=wrong"), ("without an answer", "&show=failed")]
            return tuple((words, page + show) for words, show in shows)
    return ()


def _examples_of_generator(slug: str, gallery: Gallery | None, name: str) -> tuple[tuple[str, str], ...]:
    if gallery is None or name not in gallery.index["generators"]:
        return ()
    page = f"examples-{slug}.html#generator={gallery.index['generators'].index(name)}"
    return (("all examples", page), ("wrong ones", f"{page}&show=wrong"), ("disagreement", f"{page}&show=split"))
