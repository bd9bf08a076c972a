"""The tables of a board: models × metrics and models × generators of each dataset, before they become HTML or files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Literal, NamedTuple

from fdr_bench.types import Score
from leaderboards.columns import (
    BY_GENERATOR,
    CAPACITY,
    MACRO,
    ONLY_WHERE,
    OVERVIEW,
    REASONING,
    UNSEEN,
    Column,
    Form,
    judge_column,
)
from leaderboards.contamination import seen_in_training
from leaderboards.load import TEXT_BASELINES, DatasetFacts, ModelFacts, Run
from leaderboards.reproduction import Beside, Quote, besides
from leaderboards.slugs import slugged

if TYPE_CHECKING:
    from leaderboards.ranks import Standing

FILES_ALONE = "file-metadata"
BIASED_ABOVE = 0.6  # balanced accuracy that the interval of `file-metadata` must lie above for the warning


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number with what it rests on, or None with its reason.

    `chance` is what always giving one answer gets; `trained` says that the model saw this generator in training, in
    this family of datasets ("here") or in another ("elsewhere"); `note` numbers the footnote with the reason.
    """

    value: float | None
    form: Form = "percent"
    low: float | None = None
    high: float | None = None
    level: float | None = None
    n: int | None = None
    n_missing: int = 0
    reason: str | None = None
    detail: str | None = None
    chance: float | None = None
    trained: Literal["here", "elsewhere"] | None = None
    place: Literal["best", "second"] | None = None
    note: int | None = None


class Row(NamedTuple):
    """One model of one run; `quotes` are what papers print of it (see `quoted`), `standing` is its rank (`ranks`)."""

    run: str
    model: ModelFacts
    cells: tuple[Cell, ...]
    quotes: tuple[Quote, ...] = ()
    standing: Standing | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Detectors best first, and apart from them the baselines that never look at a pixel."""

    slug: str
    title: str
    dataset: str
    metric: Column
    columns: tuple[Column, ...]
    detectors: tuple[Row, ...]
    baselines: tuple[Row, ...]
    notes: tuple[str, ...]
    several_runs: bool

    @property
    def ranked(self) -> bool:
        """Whether any detector has a rank: the table then has a column of ranks."""
        return any(row.standing is not None for row in self.detectors)


class Bias(NamedTuple):
    """What `file-metadata` says of a dataset: `kind` is how loud the board has to be about it."""

    kind: Literal["biased", "slight", "none", "unknown"]
    cell: Cell | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetBoard:
    """All that is shown of one dataset."""

    facts: DatasetFacts
    title: str
    slug: str
    overview: Table
    generators: tuple[Table, ...]
    bias: Bias
    printed: tuple[Beside, ...]
    """What papers print for these models on this set, beside our numbers."""


class _Entry(NamedTuple):
    run: str
    model: ModelFacts
    scores: Mapping[tuple[str, str], Score]  # (slice, metric)


def dataset_boards(runs: Sequence[Run], aside: Collection[tuple[str, str]] = ()) -> tuple[DatasetBoard, ...]:
    """Return one board a dataset, in order of appearance; none of those of a run that are `aside`, as (run, dataset).

    Datasets of one name that differ in content (other fingerprints) get boards of their own: their numbers do not
    belong in one table.
    """
    found: dict[tuple[str, str | None], tuple[DatasetFacts, list[_Entry]]] = {}
    printed: dict[tuple[str, str | None], list[Beside]] = {}
    for run in runs:
        for name, facts in run.datasets.items():
            if (run.name, name) in aside:
                continue
            _, entries = found.setdefault((name, facts.fingerprint), (facts, []))
            entries.extend(_entries(run, name))
            beside = printed.setdefault((name, facts.fingerprint), [])
            beside.extend(row for model in run.models.values() for row in besides(run, model, facts))
    names = [name for name, _ in found]
    boards, slugs = [], set[str]()
    for (name, fingerprint), (facts, entries) in found.items():
        twin = names.count(name) > 1
        title = f"{name} · content {(fingerprint or 'not recorded')[:8]}" if twin else name
        board = _board(facts, title, slugged(title, slugs), entries, len({entry.run for entry in entries}) > 1)
        boards.append(replace(board, printed=tuple(printed[name, fingerprint])))
    return tuple(boards)


def _entries(run: Run, dataset: str) -> Iterable[_Entry]:
    for name, model in run.models.items():
        scores = {(s.slice, s.metric): s for s in run.scores if (s.model, s.dataset) == (name, dataset)}
        if scores:
            yield _Entry(run.name, model, scores)


def _board(facts: DatasetFacts, title: str, slug: str, entries: Sequence[_Entry], several: bool) -> DatasetBoard:
    occurring = {key for e in entries for (part, key), score in e.scores.items() if part == "all" and score.value}
    metrics = [column for column in OVERVIEW if ONLY_WHERE.get(column.key) in {None, *occurring}]
    metrics += [column for column in REASONING if any(("all", column.key) in e.scores for e in entries)]
    judged = {key: None for e in entries for part, key in e.scores if part == "all"}
    metrics += [column for key in judged if (column := judge_column(key)) is not None]
    capacity = [c for c in CAPACITY if any(getattr(e.model, c.key) is not None for e in entries)]

    def overview_cells(entry: _Entry) -> list[Cell]:
        measured = [_cell(entry, "all", column.key, column.form) for column in metrics]
        return measured + [Cell(value=getattr(entry.model, c.key), form=c.form) for c in capacity]

    overview = _table(
        entries, overview_cells, (*metrics, *capacity), slug=f"{slug}-overview", title="Models",
        dataset=title, metric=OVERVIEW[0], several=several,
    )  # fmt: skip
    generators = _generators(facts, entries)
    detecting = [entry for entry in entries if not entry.model.name.startswith(TEXT_BASELINES)]
    matrices = [
        _matrix(facts, detecting, generators, column, slug=f"{slug}-generators-{column.key.replace('_', '-')}",
                dataset=title, several=several)
        for column in OVERVIEW if column.key in BY_GENERATOR and generators
    ]  # fmt: skip
    return DatasetBoard(
        facts=facts, title=title, slug=slug, overview=overview, generators=tuple(matrices), bias=_bias(entries),
        printed=(),
    )  # fmt: skip


def _generators(facts: DatasetFacts, entries: Sequence[_Entry]) -> tuple[str, ...]:
    """Return the generators that anything was scored on, in the dataset's order, others after them by name."""
    prefix = "generator:"
    scored = {slice.removeprefix(prefix) for e in entries for slice, _ in e.scores if slice.startswith(prefix)}
    return (*(name for name in facts.generators if name in scored), *sorted(scored - set(facts.generators)))


def _matrix(
    facts: DatasetFacts, entries: Sequence[_Entry], generators: Sequence[str], metric: Column,
    *, slug: str, dataset: str, several: bool,
) -> Table:  # fmt: skip
    flagged = any(seen_in_training(e.model, facts.name, g) == "here" for e in entries for g in generators)
    means = [MACRO, UNSEEN] if flagged else [MACRO]
    columns = [*means, *(Column(f"generator:{g}", g, f"Fakes of {g}.") for g in generators)]

    def cells(entry: _Entry) -> list[Cell]:
        each = [
            replace(_cell(entry, f"generator:{g}", metric.key), trained=seen_in_training(entry.model, facts.name, g))
            for g in generators
        ]
        chances = [cell.chance for cell in each if cell.chance is not None]
        macro = replace(_cell(entry, "macro", metric.key), chance=fmean(chances) if chances else 0.5)
        return [macro, *([_unseen(each)] if flagged else []), *each]

    return _table(
        entries, cells, columns, slug=slug, title=f"{metric.title} by generator", dataset=dataset,
        metric=metric, several=several,
    )  # fmt: skip


def _unseen(each: Sequence[Cell]) -> Cell:
    """Return the mean over the generators that training did not show; no interval is known for it."""
    known = [cell for cell in each if cell.trained != "here" and cell.value is not None]
    if not known:
        return Cell(value=None, reason="no unseen generator has a value")
    values, chances = [cell.value for cell in known], [cell.chance or 0.5 for cell in known]
    return Cell(value=fmean(v for v in values if v is not None), chance=fmean(chances),
                detail=f"{len(known)} generators")  # fmt: skip


def _cell(entry: _Entry, slice: str, metric: str, form: Form = "percent") -> Cell:
    score = entry.scores.get((slice, metric))
    if score is None:
        return Cell(value=None, form=form, reason=_why_absent(entry, metric))
    low, high, level = score.interval[:3] if score.interval else (None, None, None)
    return Cell(
        value=score.value, form=form, low=low, high=high, level=level, n=score.n, n_missing=score.n_missing,
        reason=score.reason, chance=_chance(entry, slice, metric),
    )  # fmt: skip


def _why_absent(entry: _Entry, metric: str) -> str:
    if entry.model.name.startswith(TEXT_BASELINES):
        return "texts alone, without verdicts"
    if judge_column(metric) is not None:
        return "not judged in this run"
    return "gives no reasoning" if metric in {column.key for column in REASONING} else "not computed in this run"


def _chance(entry: _Entry, slice: str, metric: str) -> float | None:
    """Return what always giving one answer gets: the larger class for ACC, the share of fakes for AP."""
    real, fake = (entry.scores.get((slice, name)) for name in ("real_acc", "fake_acc"))
    if metric not in BY_GENERATOR:
        return None
    if metric == "balanced_acc" or real is None or fake is None or not real.n or not fake.n:
        return 0.5
    share = fake.n / (real.n + fake.n)
    return share if metric == "ap" else max(share, 1 - share)


def _table(
    entries: Sequence[_Entry], cells: Callable[[_Entry], list[Cell]], columns: Sequence[Column],
    *, slug: str, title: str, dataset: str, metric: Column, several: bool,
) -> Table:  # fmt: skip
    grid = [cells(entry) for entry in entries]
    reasons = list(dict.fromkeys(c.reason for row in grid for c in row if c.value is None and c.reason))
    detectors = [index for index, entry in enumerate(entries) if not entry.model.baseline]
    for position, column in enumerate(columns):
        _place([grid[index] for index in detectors], position, column)
    rows = [Row(e.run, e.model, tuple(_noted(c, reasons) for c in row)) for e, row in zip(entries, grid, strict=True)]
    rows.sort(key=lambda row: (row.cells[0].value is None, -(row.cells[0].value or 0.0), row.model.name))
    return Table(
        slug=slug, title=title, dataset=dataset, metric=metric, notes=tuple(reasons), several_runs=several,
        columns=tuple(column._replace(n=_common_n([row.cells[i] for row in rows])) for i, column in enumerate(columns)),
        detectors=tuple(row for row in rows if not row.model.baseline),
        baselines=tuple(row for row in rows if row.model.baseline),
    )  # fmt: skip


def _noted(cell: Cell, reasons: Sequence[str]) -> Cell:
    known = cell.value is None and cell.reason in reasons
    return replace(cell, note=reasons.index(cell.reason) + 1) if known and cell.reason else cell


def _place(grid: Sequence[list[Cell]], position: int, column: Column) -> None:
    """Mark best and second as printed, so that what reads equal is marked alike; nothing where all are equal."""
    if column.form != "percent":
        return
    printed = [None if (value := row[position].value) is None else round(100 * value, 1) for row in grid]
    ranked = sorted({value for value in printed if value is not None}, reverse=column.higher_is_better)
    if len(ranked) < 2:
        return
    places: dict[float, Literal["best", "second"]] = {ranked[0]: "best"}
    if printed.count(ranked[0]) == 1 and len(ranked) > 2:
        places[ranked[1]] = "second"
    for row, value in zip(grid, printed, strict=True):
        row[position] = replace(row[position], place=places.get(value) if value is not None else None)


def _common_n(cells: Sequence[Cell]) -> int | None:
    """Return the n that most cells of a column stand on, else the largest; the others state their own."""
    counts = [cell.n for cell in cells if cell.value is not None and cell.n is not None]
    most = max(counts, key=counts.count, default=None)
    return most if most is None or 2 * counts.count(most) > len(counts) else max(counts)


def _bias(entries: Sequence[_Entry]) -> Bias:
    found = (_cell(e, "all", "balanced_acc") for e in entries if e.model.name.partition("@")[0] == FILES_ALONE)
    cell = next((cell for cell in found if cell.value is not None), None)
    if cell is None or cell.value is None:
        return Bias("unknown", None)
    low = cell.value if cell.low is None else cell.low
    return Bias("biased" if low > BIASED_ABOVE else "slight" if low > 0.5 else "none", cell)
