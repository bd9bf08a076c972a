"""What a board draws: the heatmap's colours, the small interval bars, and the plot with intervals.

Colours are chosen in OKLCH (Ottosson, "A perceptual color space for image processing", 2020), where equal steps look
equal; blue against orange stays apart in every common kind of colour blindness, and lightness alone tells strength.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

from leaderboards.formats import sentence
from leaderboards.tables import FILES_ALONE, Row, Table

STEPS = 10  # shades on either side of chance
Colour = tuple[int, int, int]


class Ramp(NamedTuple):
    """One arm of the scale: lightness, chroma and hue (degrees) at its far end."""

    lightness: float
    chroma: float
    hue: float


# Chance is nearly the page's own colour; the arms grow away from it, darker on light pages and lighter on dark ones.
THEMES: dict[str, tuple[float, Ramp, Ramp]] = {
    "light": (0.965, Ramp(0.46, 0.125, 250.0), Ramp(0.60, 0.145, 52.0)),
    "dark": (0.275, Ramp(0.78, 0.115, 240.0), Ramp(0.76, 0.135, 62.0)),
}
# Black itself, not a softer ink: with white it is the only pair that has AA contrast on every ground.
INKS: tuple[Colour, Colour] = ((0, 0, 0), (255, 255, 255))


def heat_step(value: float, chance: float) -> int:
    """Return the shade of a value in [0, 1]: 0 at `chance`, STEPS at 1, -STEPS at 0, linear on either side."""
    if value == chance:
        return 0
    reach = (value - chance) / (1 - chance if value > chance else chance)
    return max(-STEPS, min(STEPS, round(STEPS * reach)))


def heat_class(value: float, chance: float) -> str:
    """Return the CSS class of a value's shade."""
    step = heat_step(value, chance)
    return f"heat-{'m' if step < 0 else 'p'}{abs(step)}"


def heat_tokens(theme: str) -> dict[str, str]:
    """Return the CSS variables of one theme: a ground and a legible ink for each shade."""
    tokens = {}
    for step in range(-STEPS, STEPS + 1):
        ground = shade(theme, step)
        name = f"--heat-{'m' if step < 0 else 'p'}{abs(step)}"
        tokens[name] = _hex(ground)
        tokens[f"{name}-ink"] = _hex(legible(ground))
    return tokens


def heat_classes() -> list[str]:
    """Return the names of all shades, from 0 over chance to 1."""
    return [f"heat-{'m' if step < 0 else 'p'}{abs(step)}" for step in range(-STEPS, STEPS + 1)]


def shade(theme: str, step: int) -> Colour:
    """Return the sRGB colour of a shade, `step` from -STEPS to STEPS."""
    neutral, above, below = THEMES[theme]
    end = above if step >= 0 else below
    share = abs(step) / STEPS
    return _oklch(neutral + share * (end.lightness - neutral), share * end.chroma, end.hue)


def contrast(one: Colour, other: Colour) -> float:
    """Return the contrast ratio of WCAG 2 between two sRGB colours, 1 to 21."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def legible(ground: Colour) -> Colour:
    """Return the ink, black or white, that stands out most on a ground."""
    return max(INKS, key=lambda ink: contrast(ink, ground))


def _luminance(colour: Colour) -> float:
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _oklch(lightness: float, chroma: float, hue: float) -> Colour:
    """Return the nearest 8-bit sRGB colour; channels outside the gamut are cut off."""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        _encode(4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short),
        _encode(-1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short),
        _encode(-0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short),
    )


def _encode(linear: float) -> int:
    bounded = min(1.0, max(0.0, linear))
    return round(255 * (12.92 * bounded if bounded <= 0.0031308 else 1.055 * bounded ** (1 / 2.4) - 0.055))


def _hex(colour: Colour) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in colour)


class Bar(NamedTuple):
    """A small bar for 0 to 1, in pixels: the interval from `start` over `width`, the value, what files alone get."""

    start: float
    width: float
    value: float
    files: float | None


BAR_WIDTH = 84


def interval_bar(value: float, low: float | None, high: float | None, files: float | None) -> Bar:
    """Return where the parts of an interval bar lie; without an interval it is as wide as the value's mark."""
    start, end = (value, value) if low is None or high is None else (low, high)
    at = [round(BAR_WIDTH * min(1.0, max(0.0, share)), 1) for share in (start, end, value)]
    beside = None if files is None else round(BAR_WIDTH * min(1.0, max(0.0, files)), 1)
    return Bar(at[0], max(2.0, round(at[1] - at[0], 1)), at[2], beside)


DRAWN = 6  # detectors shown at once; the others wait in the legend
# Okabe and Ito's colours without black and yellow, which vanish on one of the two grounds. Shapes repeat at another
# pace, so that colour and shape together are told apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
DASHES = ("solid", "dash", "dot", "dashdot")
SHAPES = ("circle", "diamond", "square", "triangle-up", "cross", "star", "x")


def generator_figure(table: Table) -> dict[str, object]:
    """Return a plotly figure of a generator table: one series a model, with intervals; hollow where trained on it.

    Colours of text and lines are left to the page, which knows its theme.
    """
    position = [i for i, column in enumerate(table.columns) if column.key.startswith("generator:")]
    names = [plain(table.columns[i].title) for i in position]
    traces = [_trace(row, position, names, index, table) for index, row in enumerate(table.detectors)]
    files = [row for row in table.baselines if row.model.name.partition("@")[0] == FILES_ALONE]
    traces += [_trace(row, position, names, None, table) for row in files]
    layout = {
        "scattermode": "group",
        "scattergap": 0.3,
        "hovermode": "closest",
        "xaxis": {
            "type": "category",
            "categoryorder": "array",
            "categoryarray": names,
            "range": [-0.5, len(names) - 0.5],
            "tickmode": "array",
            "tickvals": names,
            "ticktext": [_wrapped(table.columns[i].title) for i in position],
            "tickangle": 0,
            "fixedrange": True,
        },
        "yaxis": {"title": {"text": f"{table.metric.title}, %"}, "range": [-2, 103], "dtick": 25, "fixedrange": True},
        "legend": {"orientation": "h", "yanchor": "top", "y": -0.16},
        "margin": {"l": 54, "r": 10, "t": 12, "b": 40},
    }
    return {"data": traces, "layout": layout}


def _trace(
    row: Row, position: Sequence[int], names: Sequence[str], index: int | None, table: Table
) -> dict[str, object]:
    cells = [row.cells[i] for i in position]
    known = [(name, cell, cell.value) for name, cell in zip(names, cells, strict=True) if cell.value is not None]
    known.sort(key=lambda point: point[1].trained == "here")  # the legend draws the first point's shape: a full one
    up = [max(0.0, (value if cell.high is None else cell.high) - value) for _, cell, value in known]
    down = [max(0.0, value - (value if cell.low is None else cell.low)) for _, cell, value in known]
    colour = "#808890" if index is None else COLOURS[index % len(COLOURS)]
    shape = "line-ew" if index is None else SHAPES[index % len(SHAPES)]
    label = f"{row.model.name} · {row.run}" if table.several_runs else row.model.name
    return {
        "type": "scatter",
        "mode": "markers",
        "name": plain(label),
        "offsetgroup": str(index),
        "visible": True if index is None or index < DRAWN else "legendonly",
        "x": [name for name, _, _ in known],
        "y": [round(100 * value, 2) for _, _, value in known],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [round(100 * distance, 2) for distance in up],
            "arrayminus": [round(100 * distance, 2) for distance in down],
            "thickness": 1.5,
            "width": 0,
            "color": colour,
        },
        "marker": {
            "color": colour,
            "size": 9,
            "symbol": [f"{shape}-open" if cell.trained == "here" or index is None else shape for _, cell, _ in known],
            "line": {"width": 2, "color": colour},
        },
        "text": [plain(sentence(cell)) for _, cell, _ in known],
        "hovertemplate": "%{fullData.name}<br>%{x}: %{text}<extra></extra>",
    }


def _wrapped(name: str) -> str:
    """Return a generator's name over at most three short lines."""
    return "<br>".join(plain(line) for line in textwrap.wrap(name, 13, max_lines=3, placeholder="…"))


def plain(text: str) -> str:
    """Escape text for plotly, which reads a few tags and links in labels."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def plotly_source() -> str:
    """Return plotly's own script as it is installed."""
    return (resources.files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
