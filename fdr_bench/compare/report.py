"""Tables and plain values of a comparison of two models."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fdr_bench.compare.comparison import BY_GENERATOR, Compared, Flip
from fdr_bench.compare.paired import Paired
from fdr_bench.metrics import METRICS
from fdr_bench.metrics.text_metrics import TEXT_METRICS
from fdr_bench.terminal import Table


def as_plain(compared: Compared) -> dict[str, Any]:
    """Return everything that was found, ready for JSON."""
    rows = [asdict(row) | {"interval": row.interval._asdict() if row.interval else None} for row in compared.rows]
    names = ("first", "second", "dataset", "n", "n_only_first_run", "n_only_second_run", "adjusted")
    return {
        **{name: getattr(compared, name) for name in names},
        "rows": rows,
        "flips": [flip._asdict() for flip in compared.flips],
    }


def comparison_tables(compared: Compared, flips: int) -> list[Table]:
    """Return the whole set's metrics, the generators' accuracy and the first `flips` samples that flipped."""
    first, second = ("A", "B") if compared.first == compared.second else (compared.first, compared.second)
    title = f"{compared.dataset}: {_title(compared)}, {compared.n} images in both"
    alone = [(compared.n_only_first_run, "A"), (compared.n_only_second_run, "B")]
    title += "".join(f"; {n} only in {name}, left out" for n, name in alone if n)
    columns = ["metric", first, second, "B − A", "only A right", "only B right", "p", "n"]
    whole = [row for row in compared.rows if row.slice in ("all", "macro")]
    shown = [[_metric(row), *_cells(row), _p(row.p_value), str(row.n)] for row in whole if row.slice == "all"]
    shown += [
        [f"{_metric(row)}, mean of generators", *_cells(row), _p(row.p_value), str(row.n)]
        for row in whole
        if row.slice == "macro" and row.metric in (BY_GENERATOR, "ap")
    ]
    tables: list[Table] = [(title, columns, shown)]
    ones = [row for row in compared.rows if row.metric == BY_GENERATOR and row.slice.startswith("generator:")]
    if ones:
        each = [
            [
                row.slice.partition(":")[2],
                *_cells(row),
                _p(row.p_value),
                _p(compared.adjusted.get(row.slice)),
                str(row.n),
            ]
            for row in ones
        ]
        heads = ["generator", *columns[1:7], "p (Holm)", "n"]
        tables.append((f"{METRICS[BY_GENERATOR].title} by generator", heads, each))
    lost = [flip for flip in compared.flips if flip.first_right]
    won = [flip for flip in compared.flips if not flip.first_right]
    if compared.flips and flips:
        heads = ["sample", "value of", "label", "generator", f"score {first}", f"score {second}"]
        listed = _mixed(lost, won, flips)
        tables.append((f"flipped: {len(lost)} only A has right, {len(won)} only B has right", heads, listed))
    return tables


def _mixed(lost: list[Flip], won: list[Flip], most: int) -> list[list[str]]:
    """Return the first of both kinds, half of each where there are enough."""
    of_lost = min(len(lost), max(most - len(won), most - most // 2))
    return [_flip(flip) for flip in (*lost[:of_lost], *won[: most - of_lost])]


def _title(compared: Compared) -> str:
    same = compared.first == compared.second
    return compared.first if same else f"{compared.first} (A) against {compared.second} (B)"


def _metric(row: Paired) -> str:
    title = (METRICS.get(row.metric) or TEXT_METRICS[row.metric]).title
    better = (METRICS.get(row.metric) or TEXT_METRICS[row.metric]).higher_is_better
    return title if better else f"{title} (lower is better)"


def _cells(row: Paired) -> list[str]:
    difference = _points(row.difference, signed=True)
    if row.interval:
        difference += f" [{_points(row.interval.low, signed=True)}, {_points(row.interval.high, signed=True)}]"
    only = ["–" if n is None else str(n) for n in (row.only_first, row.only_second)]
    return [_points(row.first), _points(row.second), difference, *only]


def _points(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return "–"
    return f"{100 * value:+.2f}" if signed else f"{100 * value:.2f}"


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "<0.0001" if value < 0.0001 else f"{value:.2g}"


def _flip(flip: Flip) -> list[str]:
    scores = ["–" if score is None else f"{score:.3f}" for score in (flip.first_score, flip.second_score)]
    return [flip.id, "only A right" if flip.first_right else "only B right", flip.label, flip.generator or "–", *scores]
