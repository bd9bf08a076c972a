"""What a board draws: the heatmap's colours and the small interval bars.

Colours are chosen in OKLCH (Ottosson, "A perceptual color space for image processing", 2020), where equal steps look
equal; blue against orange stays apart in every common kind of colour blindness, and lightness alone tells strength.
"""

from __future__ import annotations

import math
from typing import NamedTuple

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
