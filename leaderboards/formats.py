"""How numbers are written: percent with one decimal, intervals, and the sentence that says all of a cell."""

from __future__ import annotations

from leaderboards.tables import Cell

DASH = "–"


def main(cell: Cell) -> str:
    """Return what stands large in a cell; a dash where the number does not exist."""
    if cell.value is None:
        return DASH
    if cell.form == "count":
        return count(cell.value)
    if cell.form == "rate":
        return f"{cell.value:,.0f}" if cell.value >= 10 else f"{cell.value:.1f}"
    if cell.form == "failures":
        return f"{round(cell.value * (cell.n or 0)):,}"
    return percent(cell.value)


def percent(value: float) -> str:
    """Return a share as percent with one decimal, without the sign."""
    return f"{100 * value:.1f}"


def count(value: float) -> str:
    """Return a number of parameters in its usual short form: 412 k, 23.5 M, 7.1 B."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            short = value / size
            return f"{short:.0f} {unit}" if short >= 100 else f"{short:.1f} {unit}"
    return f"{value:.0f}"


def span(cell: Cell) -> str | None:
    """Return an interval as "92.1–95.7", None where there is none."""
    if cell.low is None or cell.high is None:
        return None
    return f"{percent(cell.low)}–{percent(cell.high)}"


def under(cell: Cell, common_n: int | None) -> list[str]:
    """Return the small parts under a number: its interval, and its n where that is not the column's."""
    if cell.value is None or cell.form in ("count", "rate"):
        return []
    if cell.form == "failures":
        return [f"{percent(cell.value)} % of {cell.n or 0:,}"]
    parts = [span(cell), cell.detail, f"n {cell.n:,}" if cell.n is not None and cell.n != common_n else None]
    return [part for part in parts if part]


def resting(cell: Cell) -> str:
    """Return what a number rests on: its interval and n."""
    parts = [f"{cell.level or 0.95:.0%} interval {interval}" if (interval := span(cell)) else "no interval"]
    return ", ".join([*parts, f"n = {cell.n:,}"] if cell.n is not None else parts)


def sentence(cell: Cell) -> str:
    """Return everything about a cell in words, for tooltips and screen readers."""
    if cell.value is None:
        return f"undefined: {cell.reason}" if cell.reason else "not recorded"
    if cell.form == "count":
        return f"{cell.value:,.0f}"
    if cell.form == "failures":
        return f"{main(cell)} of {cell.n or 0:,} images without an answer"
    parts = [f"{main(cell)} %" if cell.form == "percent" else main(cell)]
    if interval := span(cell):
        parts.append(f"{cell.level or 0.95:.0%} interval {interval}")
    if cell.n is not None:
        parts.append(f"n = {cell.n:,}")
    if cell.n_missing:
        parts.append(f"{cell.n_missing:,} without an answer")
    if cell.detail:
        parts.append(f"mean over {cell.detail}, no interval computed")
    if cell.trained:
        parts.append(TRAINED[cell.trained])
    if cell.place:
        parts.append({"best": "best", "second": "second best"}[cell.place])
    return ", ".join(parts)


TRAINED = {
    "here": "trained on this generator",
    "elsewhere": "trained on a generator of this name in another set",
}
