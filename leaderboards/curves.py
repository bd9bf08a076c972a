"""What a board draws of each model beside the tables: accuracy against speed, ROC, precision-recall, reliability.

The curves come out of the runs' curves.json, which `fdr-bench report` writes; a run without it has none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fdr_bench.errors import RunError
from fdr_bench.store import read_json
from leaderboards.load import Run, mapping, number, text
from leaderboards.plots import COLOURS, DASHES, DRAWN, SHAPES, plain
from leaderboards.tables import DatasetBoard, Row

Points = list[tuple[float, float]]
CHANCE = "#808890"


class Figure(NamedTuple):
    """One plotly figure with its name and what a reader has to know of it."""

    title: str
    caption: str
    figure: dict[str, object]


class Curves(NamedTuple):
    """One model's curves on one dataset, as shares; `bins` are (mean score, share of fakes, low, high, n)."""

    n: int
    roc: Points
    pr: Points
    bins: list[tuple[float, float, float, float, int]]


Known = Mapping[tuple[str, str, str], Curves]  # (run, model, dataset)


def read_curves(runs: Sequence[Run]) -> dict[tuple[str, str, str], Curves]:
    """Return the curves of all runs. Raises `RunError` where a curves.json is not what `fdr-bench report` writes."""
    found = {}
    for run in runs:
        path = run.folder / "curves.json"
        if not path.is_file():
            continue
        try:
            for entry in read_json(path)["curves"]:
                found[run.name, text(entry["model"]), text(entry["dataset"])] = _curves(entry)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(
                f"{path} is not what 'fdr-bench report' writes ({type(error).__name__}: {error}). Delete it and report "
                "again."
            ) from None
    return found


def _curves(entry: Mapping[str, Any]) -> Curves:
    bins = [mapping(row) for row in entry["bins"]]
    return Curves(
        int(entry["n"]),
        [(_share(x), _share(y)) for x, y in entry["roc"]],
        [(_share(x), _share(y)) for x, y in entry["pr"]],
        [(*(_share(row[name]) for name in ("score", "fake", "low", "high")), int(row["n"])) for row in bins],  # type: ignore[misc]
    )


def _share(value: object) -> float:
    found = number(value)
    if found is None or not 0 <= found <= 1:
        raise ValueError(f"{value!r} is not between 0 and 1")
    return found


def figures(board: DatasetBoard, known: Known) -> tuple[Figure, ...]:
    """Return the figures that a board has data for; a model keeps its colour and its mark in all of them."""
    place = places(board)
    rows = sorted(board.overview.detectors, key=lambda row: place.get((row.run, row.model.name), len(place)))
    curves = [
        (row, found) for row in rows if (found := known.get((row.run, row.model.name, board.facts.name))) is not None
    ]
    made = [_speed(board, rows, place)]
    if curves:
        made += [_roc(board, curves, place), _pr(board, curves, place), _reliability(board, curves, place)]
    return tuple(figure for figure in made if figure is not None)


def places(board: DatasetBoard) -> dict[tuple[str, str], int]:
    """Number a board's detectors by (run, model): what has a number keeps its colour and mark in all figures."""
    order = (board.generators[0] if board.generators else board.overview).detectors
    return {(row.run, row.model.name): number for number, row in enumerate(order)}


def _speed(board: DatasetBoard, rows: Iterable[Row], place: Mapping[tuple[str, str], int]) -> Figure | None:
    at = [column.key for column in board.overview.columns].index("acc")
    known = [
        (row, row.model.images_per_second, row.cells[at].value)
        for row in rows
        if row.model.images_per_second and row.cells[at].value is not None
    ]
    if len(known) < 2:
        return None
    traces = []
    for row, speed, value in known:
        cell, index = row.cells[at], place.get((row.run, row.model.name), 0)
        low, high = (value if end is None else end for end in (cell.low, cell.high))
        traces.append({
            "type": "scatter",
            "mode": "markers",
            "name": _label(board, row),
            "x": [round(speed or 0.0, 3)],
            "y": [round(100 * (value or 0.0), 2)],
            "error_y": {"type": "data", "symmetric": False, "thickness": 1.5, "width": 0,
                        "array": [_distance(high, value)], "arrayminus": [_distance(value, low)]},
            "marker": {"color": COLOURS[index % len(COLOURS)], "symbol": SHAPES[index % len(SHAPES)], "size": 10},
            "hovertemplate": "%{fullData.name}<br>%{y:.1f} % at %{x:,.1f} images/s<extra></extra>",
        })  # fmt: skip
    drawn = layout("Images a second", "ACC, %") | {
        "xaxis": {"title": {"text": "Images a second (logarithmic)"}, "type": "log", "tickmode": "array",
                  **_decades([speed for _, speed, _ in known]), "fixedrange": True},
    }  # fmt: skip
    caption = "Up and to the right is better. Speed is that of the run, decoding apart: compare it within a run only."
    return Figure("Accuracy and speed", caption, {"data": traces, "layout": drawn})


def _decades(speeds: Iterable[float]) -> dict[str, list[object]]:
    """Return the ticks 1, 2, 5, 10, … around positive numbers, written out: plotly abbreviates all but the tens."""
    ends = min(known := list(speeds)), max(known)
    powers = range(math.floor(math.log10(ends[0])), math.floor(math.log10(ends[1])) + 2)
    ticks = [lead * 10.0**power for power in powers for lead in (1, 2, 5)]
    low, high = max(tick for tick in ticks if tick <= ends[0]), min(tick for tick in ticks if tick >= ends[1])
    around = [round(math.log10(low) - 0.05, 3), round(math.log10(high) + 0.05, 3)]
    return {"tickvals": list(ticks), "ticktext": [f"{tick:,.6g}" for tick in ticks], "range": around}


def _distance(high: float | None, low: float | None) -> float:
    return round(100 * max(0.0, (high or 0.0) - (low or 0.0)), 2)


def _roc(board: DatasetBoard, curves: Sequence[tuple[Row, Curves]], place: Mapping[tuple[str, str], int]) -> Figure:
    traces = [_line(board, row, place, found.roc, found.n, "linear") for row, found in curves]
    traces.append(_chance([(0.0, 0.0), (1.0, 1.0)], "chance"))
    drawn = layout("Reals called fake, %", "Fakes found, %")
    return Figure("ROC", "Every threshold at once: fakes found against false alarms. Over all generators.",
                  {"data": traces, "layout": drawn})  # fmt: skip


def _pr(board: DatasetBoard, curves: Sequence[tuple[Row, Curves]], place: Mapping[tuple[str, str], int]) -> Figure:
    traces = [_line(board, row, place, found.pr, found.n, "vh") for row, found in curves]
    facts = board.facts
    if facts.n_fake and facts.n_real is not None:
        share = facts.n_fake / (facts.n_fake + facts.n_real)
        traces.append(_chance([(0.0, share), (1.0, share)], "chance: the share of fakes"))
    caption = "How many of the images called fake are fake, against how many fakes are found. AP is the area below."
    return Figure("Precision and recall", caption,
                  {"data": traces, "layout": layout("Fakes found (recall), %", "Precision, %")})  # fmt: skip


def _reliability(
    board: DatasetBoard, curves: Sequence[tuple[Row, Curves]], place: Mapping[tuple[str, str], int]
) -> Figure:
    traces = []
    for row, found in curves:
        trace = _line(board, row, place, [(score, fake) for score, fake, *_ in found.bins], found.n, "linear")
        index = place.get((row.run, row.model.name), 0)
        trace |= {
            "mode": "lines+markers",
            "marker": {"symbol": SHAPES[index % len(SHAPES)], "size": 8, "color": COLOURS[index % len(COLOURS)]},
            "error_y": {"type": "data", "symmetric": False, "thickness": 1, "width": 0,
                        "array": [_distance(high, fake) for _, fake, _, high, _ in found.bins],
                        "arrayminus": [_distance(fake, low) for _, fake, low, _, _ in found.bins]},
            "text": [f"n = {n:,}" for *_, n in found.bins],
            "hovertemplate": "%{fullData.name}<br>says %{x:.1f} %, are fake %{y:.1f} %, %{text}<extra></extra>",
        }  # fmt: skip
        traces.append(trace)
    traces.append(_chance([(0.0, 0.0), (1.0, 1.0)], "calibrated"))
    caption = (
        "Of the images that a model gives this P(fake), so many are fake, with 95 % intervals; fifteen equal bins."
    )
    drawn = layout("P(fake) that the model gives, %", "Share of fakes, %")
    return Figure("Reliability", caption, {"data": traces, "layout": drawn})


def _line(
    board: DatasetBoard, row: Row, place: Mapping[tuple[str, str], int], points: Points, n: int, shape: str
) -> dict[str, object]:
    index = place.get((row.run, row.model.name), 0)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"{_label(board, row)}, n = {n:,}",
        "visible": True if index < DRAWN else "legendonly",
        "x": [round(100 * x, 3) for x, _ in points],
        "y": [round(100 * y, 3) for _, y in points],
        "line": {"color": COLOURS[index % len(COLOURS)], "dash": DASHES[index % len(DASHES)], "width": 2,
                 "shape": shape},
        "hovertemplate": "%{fullData.name}<br>%{x:.1f} %, %{y:.1f} %<extra></extra>",
    }  # fmt: skip


def _chance(points: Points, name: str) -> dict[str, object]:
    return {
        "type": "scatter", "mode": "lines", "name": name, "hoverinfo": "skip",
        "x": [100 * x for x, _ in points], "y": [round(100 * y, 2) for _, y in points],
        "line": {"color": CHANCE, "dash": "dot", "width": 1.5},
    }  # fmt: skip


def _label(board: DatasetBoard, row: Row) -> str:
    return plain(f"{row.model.name} · {row.run}" if board.overview.several_runs else row.model.name)


def layout(across: str, up: str) -> dict[str, object]:
    """Return the layout of a figure of shares: both axes in percent, with these titles."""
    share = {"range": [-1, 101], "dtick": 25, "fixedrange": True}
    return {
        "hovermode": "closest",
        "xaxis": {"title": {"text": across}, **share},
        "yaxis": {"title": {"text": up}, "range": [-2, 103], "dtick": 25, "fixedrange": True},
        "legend": {"orientation": "h", "yanchor": "top", "y": -0.16},
        "margin": {"l": 54, "r": 10, "t": 12, "b": 40},
    }
