"""Show what a model wrote about an image: its stages one under the other, and nothing that a terminal would obey.

A model's text is anybody's text: it may repeat what stands in the image. So control characters, colour codes and marks
that reverse the order of letters are shown as escapes, and no markup in it is read.
"""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from typing import NamedTuple

WIDTH = 100
"""Columns of a text that goes to a file; a terminal's own, up to this, on one."""

_STAGE = re.compile(r"<([A-Z][A-Z0-9_ -]{0,23})>(.*?)</\1>", re.DOTALL)
# Controls but for newline and tab; Unicode's marks of direction, which reorder what is read; line and paragraph
# separators; characters without width; tags, which nobody sees; surrogates, which no stream can write.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)


FOUR_STAGES = ("summary", "caption", "reasoning", "conclusion")


class Stage(NamedTuple):
    """One part of an answer: the name in its tags, in small letters, and what stands between them."""

    name: str
    text: str


def visible(text: str) -> str:
    """Return a text whose control and direction characters are spelled out, such as "\\x1b" for an escape.

    Newlines and tabs stay; "\\r\\n" becomes a newline.
    """
    return _OBEYED.sub(_spelled, text.replace("\r\n", "\n"))


def in_one_line(text: str) -> str:
    """Return a text as `visible` does, newlines and tabs spelled out too: what a name or a message is shown as."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def stages(raw: str) -> list[Stage]:
    """Return the parts of an answer that are marked as <NAME> … </NAME>, in order; text beside them is "(beside)".

    An answer without marks is one part, "answer". Empty for a text of nothing but space.
    """
    found, position, beside = [], 0, []
    for match in _STAGE.finditer(raw):
        beside.append(raw[position : match.start()].strip())
        position = match.end()
        found.append(Stage(match.group(1).lower(), match.group(2).strip()))
    beside.append(raw[position:].strip())
    rest = "\n".join(filter(None, beside))
    if rest:
        found.append(Stage("(beside)" if found else "answer", rest))
    return found


def four_stages(raw: str) -> dict[str, str | None] | None:
    """Return the four stages of an answer by name, None for one that is missing or empty; None where none is there.

    Of a stage that comes twice the first counts.
    """
    found = {part.name: part.text or None for part in reversed(stages(raw))}
    return {name: found.get(name) for name in FOUR_STAGES} if found.keys() & set(FOUR_STAGES) else None


def print_explanation(heading: str, parts: list[Stage]) -> None:
    """Print a heading and, indented beneath it, the parts with their names in a column of their own, to stdout."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    console.print(Text(in_one_line(heading), style="bold"))
    column = max((len(part.name) for part in parts), default=0) + 2
    columns = min(WIDTH, shutil.get_terminal_size().columns) if sys.stdout.isatty() else WIDTH
    for part in parts:
        name = in_one_line(part.name).ljust(column)
        console.print(Text.assemble("  ", (name, "dim"), _block(part.text, max(20, columns - column - 2), column + 2)))
    console.print()


def _block(text: str, width: int, indent: int) -> str:
    """Return a text in lines of at most `width` columns; all but the first are indented."""
    paragraphs = [line for line in visible(text).expandtabs(4).split("\n") if line.strip()]
    lines = [line for paragraph in paragraphs for line in textwrap.wrap(paragraph.strip(), width)]
    return ("\n" + " " * indent).join(lines) or "–"


def _spelled(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
