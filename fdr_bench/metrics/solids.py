"""Coloured solids in a text: "striped red and blue ball" is a red sphere, whatever word of English names the shape.

The words are those in which FDR-Scenes' captions and references speak (fdr_bench/data/scenes); a test holds them equal.
"""

from __future__ import annotations

import re
from typing import NamedTuple

SHAPES: dict[str, str] = {
    **dict.fromkeys(("sphere", "ball", "globe"), "sphere"),
    **dict.fromkeys(("box", "block", "cuboid"), "box"),
    **dict.fromkeys(("cylinder", "drum", "column"), "cylinder"),
    **dict.fromkeys(("cone", "conical solid"), "cone"),
}
COLOURS = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "brown", "white", "grey")
QUALIFIERS = ("small", "medium-sized", "large", "matte", "glossy", "striped", "checked", "grainy")

_COLOUR = "|".join((*COLOURS, "gray"))
_PHRASE = re.compile(
    rf"\b(?:(?:{'|'.join(QUALIFIERS)})\s+)*"
    rf"(?P<colour>{_COLOUR})(?:\s+and\s+(?P<second>{_COLOUR}))?\s+"
    rf"(?P<shape>{'|'.join(SHAPES)})(?:s|es)?\b",
    re.IGNORECASE,
)


class NamedSolid(NamedTuple):
    """A solid as a text names it; colour and shape single it out, for no two solids of a scene share a colour."""

    colour: str
    shape: str


def named_solids(text: str) -> frozenset[NamedSolid]:
    """Return the solids that a text names by a colour and a noun; of two colours the first counts."""
    return frozenset(_named(match, "colour") for match in _PHRASE.finditer(text))


def captioned_solids(caption: str) -> frozenset[frozenset[NamedSolid]]:
    """Return the solids of a caption, each by all of its names: a striped red and blue ball is called by either."""
    return frozenset(
        frozenset(_named(match, group) for group in ("colour", "second") if match[group])
        for match in _PHRASE.finditer(caption)
    )


def _named(match: re.Match[str], colour: str) -> NamedSolid:
    return NamedSolid(match[colour].lower().replace("gray", "grey"), SHAPES[match["shape"].lower()])


def without_solids(text: str) -> str:
    """Return a text with "it" for each named solid: "the grainy green block" has neither grain nor blocks."""
    return _PHRASE.sub("it", text)
