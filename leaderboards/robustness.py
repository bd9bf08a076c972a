"""How models bear perturbations, as a board shows it: a curve a family with its area, and what file formats gave away.

Read from the runs' robustness.json, which `fdr-bench report` writes. A perturbed set stands in these curves and gets no
tables of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fdr_bench.errors import RunError
from fdr_bench.store import read_json
from leaderboards.curves import Figure, layout, places
from leaderboards.formats import DASH, percent
from leaderboards.load import Run, mapping, number, text
from leaderboards.plots import COLOURS, DASHES, DRAWN, SHAPES, plain
from leaderboards.tables import DatasetBoard

STRENGTHS: Mapping[str, tuple[str, str]] = {
    "jpeg": ("JPEG", "100 less the quality"),
    "webp": ("WebP", "100 less the quality"),
    "blur": ("Blur", "standard deviation in pixels"),
    "resize": ("Resize", "1 less the factor"),
    "crop": ("Crop", "1 less the share of both sides"),
    "noise": ("Noise", "standard deviation in 8-bit levels"),
    "social": ("Social", "times posted"),
}
"""By family, what it is called and what its strength is."""


class Point(NamedTuple):
    """ACC at one strength; `value` is None with a `reason`. `level` is None for the unchanged images."""

    level: float | None
    strength: float
    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None


class Curve(NamedTuple):
    """One model under one family; `area` is the mean of ACC along the way, None with a `reason`."""

    run: str
    model: str
    dataset: str
    family: str
    points: tuple[Point, ...]
    area: float | None
    reason: str | None


class Aligned(NamedTuple):
    """One model's ACC on the same images in their own formats and in one; shares, None where it answered none twice."""

    run: str
    model: str
    dataset: str
    format: str
    original: float | None
    in_one: float | None
    p: float | None
    n: int
    n_missing: int


class Robustness(NamedTuple):
    """What the runs know. `aside` are the perturbed sets as (run, dataset)."""

    curves: tuple[Curve, ...]
    aligned: tuple[Aligned, ...]
    aside: frozenset[tuple[str, str]]


class Area(NamedTuple):
    """A cell of the table: the area, under it the value at the strongest level, and all of it in words."""

    main: str
    under: str
    said: str


class Section(NamedTuple):
    """What one board shows: a figure a family, and the table of areas, one row a model."""

    figures: tuple[Figure, ...]
    families: tuple[str, ...]
    rows: tuple[tuple[str, str, str, tuple[Area, ...]], ...]
    """Model, run, ACC on the unchanged images, an area a family."""
    aligned: tuple[Aligned, ...]


def read_robustness(runs: Sequence[Run]) -> Robustness:
    """Return what is known of all runs. Raises `RunError` where a robustness.json is not what `report` writes."""
    curves: list[Curve] = []
    aligned: list[Aligned] = []
    aside: set[tuple[str, str]] = set()
    for run in runs:
        path = run.folder / "robustness.json"
        if not path.is_file():
            continue
        try:
            known = read_json(path)
            curves += [_curve(run.name, row) for row in known["curves"]]
            aligned += [_aligned(run.name, row) for row in known["aligned"]]
            aside |= {(run.name, text(name)) for name in known["sets"]}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(
                f"{path} is not what 'fdr-bench report' writes ({type(error).__name__}: {error}). Delete it and report "
                "again."
            ) from None
    return Robustness(tuple(curves), tuple(aligned), frozenset(aside))


def _curve(run: str, row: Mapping[str, Any]) -> Curve:
    reason = row.get("reason")
    return Curve(
        run, text(row["model"]), text(row["dataset"]), text(row["family"]),
        tuple(_point(point) for point in row["points"]), number(row["area"]), None if reason is None else text(reason),
    )  # fmt: skip


def _point(row: Mapping[str, Any]) -> Point:
    interval, strength, reason = mapping(row.get("interval")), number(row["strength"]), row.get("reason")
    if strength is None:
        raise ValueError(f"{row['strength']!r} is no strength")
    ends = number(interval.get("low")), number(interval.get("high"))
    why = None if reason is None else text(reason)
    return Point(number(row["level"]), strength, number(row["value"]), *ends, int(row["n"]), why)


def _aligned(run: str, row: Mapping[str, Any]) -> Aligned:
    values = (number(row[name]) for name in ("original", "in_one_format", "p"))
    return Aligned(
        run,
        text(row["model"]),
        text(row["dataset"]),
        text(row["aligned"]),
        *values,
        int(row["n"]),
        int(row["n_missing"]),
    )


def section(board: DatasetBoard, known: Robustness) -> Section | None:
    """Return what a board shows of its models, in the order of its tables; None where nothing is known of them."""
    rows = (*board.overview.detectors, *board.overview.baselines)
    place = {(row.run, row.model.name): number for number, row in enumerate(rows)}

    def mine(each: Curve | Aligned) -> bool:
        return each.dataset == board.facts.name and (each.run, each.model) in place

    curves = sorted(filter(mine, known.curves), key=lambda curve: place[curve.run, curve.model])
    aligned = sorted(filter(mine, known.aligned), key=lambda row: place[row.run, row.model])
    if not curves and not aligned:
        return None
    families = tuple(dict.fromkeys(curve.family for curve in sorted(curves, key=_rank)))
    drawn = {key: number for number, key in enumerate(dict.fromkeys((*places(board), *place)))}
    figures = tuple(_figure(board, family, [c for c in curves if c.family == family], drawn) for family in families)
    of_model: dict[tuple[str, str], dict[str, Curve]] = {}
    for curve in curves:
        of_model.setdefault((curve.run, curve.model), {})[curve.family] = curve
    table = tuple(
        (model, run, _value(next(iter(of.values())).points[0].value), tuple(_area(of.get(name)) for name in families))
        for (run, model), of in of_model.items()
    )
    return Section(figures, tuple(map(_name, families)), table, tuple(aligned))


def _rank(curve: Curve) -> int:
    return [*STRENGTHS, curve.family].index(curve.family)


def _name(family: str) -> str:
    return STRENGTHS.get(family, (family, ""))[0]


def _value(value: float | None) -> str:
    return DASH if value is None else percent(value)


def _area(curve: Curve | None) -> Area:
    if curve is None:
        return Area(DASH, "", "undefined: the model was not run under it")
    last = curve.points[-1]
    at = "" if last.level is None else f"at {last.level:g}: {_value(last.value)}"
    said = "; ".join(_said(point) for point in curve.points)
    if curve.area is None:
        return Area(DASH, at, f"undefined: {curve.reason}. {said}")
    return Area(percent(curve.area), at, f"area {percent(curve.area)} %. {said}")


def _said(point: Point) -> str:
    where = "unchanged" if point.level is None else f"at {point.level:g}"
    if point.value is None:
        return f"{where}: undefined, {point.reason}"
    interval = "" if point.low is None or point.high is None else f" ({percent(point.low)}–{percent(point.high)})"
    return f"{where} {percent(point.value)}{interval}, n = {point.n:,}"


def _figure(board: DatasetBoard, family: str, curves: Iterable[Curve], place: Mapping[tuple[str, str], int]) -> Figure:
    traces = []
    for curve in curves:
        index = place[curve.run, curve.model]
        known = [(p, p.value) for p in curve.points if p.value is not None]
        name = f"{curve.model} · {curve.run}" if board.overview.several_runs else curve.model
        area = "" if curve.area is None else f", area {percent(curve.area)}"
        colour = COLOURS[index % len(COLOURS)]
        traces.append({
            "type": "scatter", "mode": "lines+markers", "name": plain(f"{name}{area}"),
            "visible": True if index < DRAWN else "legendonly",
            "x": [point.strength for point, _ in known],
            "y": [round(100 * value, 2) for _, value in known],
            "error_y": {"type": "data", "symmetric": False, "thickness": 1, "width": 0, "color": colour,
                        "array": [_distance(point.high, value) for point, value in known],
                        "arrayminus": [_distance(value, point.low) for point, value in known]},
            "line": {"color": colour, "dash": DASHES[index % len(DASHES)], "width": 2},
            "marker": {"symbol": SHAPES[index % len(SHAPES)], "size": 8, "color": colour},
            "text": [plain(_said(point)) for point, _ in known],
            "hovertemplate": "%{fullData.name}<br>%{text}<extra></extra>",
        })  # fmt: skip
    title, strength = _name(family), STRENGTHS.get(family, ("", "strength"))[1]
    drawn = layout("", "ACC, %")
    drawn["xaxis"] = {"title": {"text": f"Strength: {strength}"}, "rangemode": "tozero", "fixedrange": True}
    caption = (
        f"ACC on the same images, the stronger the further right ({strength}; 0: unchanged), with intervals. The area "
        "is the mean of ACC along the line."
    )
    return Figure(title, caption, {"data": traces, "layout": drawn})


def _distance(high: float | None, low: float | None) -> float:
    return 0.0 if high is None or low is None else round(100 * max(0.0, high - low), 2)
