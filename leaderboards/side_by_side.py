"""Two runs image by image on one page: both verdicts and scores, the truth, what flipped, both models' words.

Made of what `fdr_bench.compare.samples` gives. The page opens from disk; its pictures are the runs' thumbnails
beside it. What files say reaches the page as JSON or escaped; its script sets it as text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fdr_bench.store import write_atomically
from leaderboards.gallery import CHUNK, PICTURE, copy_pictures
from leaderboards.load import text
from leaderboards.rendering import environment, packed, policy, source, style

if TYPE_CHECKING:
    from fdr_bench.compare.samples import ShownPair, ShownSet

LONGEST = 6000
"""Characters of one text that are shown; the rest is cut off, visibly."""
STYLES = ("board.css", "tables.css", "gallery.css")
SCRIPTS = ("theme.js", "viewer.js", "comparison.js")


class _Part(NamedTuple):
    title: str
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]]
    facts: dict[str, Any]


def write_comparison(sets: Sequence[ShownSet], page: Path, *, names: tuple[str, str], of_a_board: bool = False) -> Path:
    """Write `page` and, beside it, thumbnails/*; return `page`. `names` are what the two runs are called.

    Where an index.html lies beside the page, or will (`of_a_board`), it links there.
    """
    columns: list[dict[str, Any]] = []
    parts: list[_Part] = []
    chunks: list[str] = []
    pictures: dict[str, Path] = {}
    for shown in sets:
        known = {path.name: path for folder in shown.thumbnails if folder.is_dir() for path in folder.iterdir()}
        columns.append(_columns(shown, known))
        pictures |= {name: known[name] for name in columns[-1]["pictures"] if name}
        for pair in shown.pairs:
            first = len(chunks)
            chunks += _chunks(pair)
            facts = {"set": len(columns) - 1, "texts": [first, len(chunks)], **_facts(pair)}
            models = dict.fromkeys(facts["models"])
            parts.append(_Part(f"{' → '.join(models)} on {columns[-1]['name']}", pair.tables, facts))
    if pictures:
        copy_pictures(pictures, page.parent / "thumbnails")
    script = "".join(source(name) for name in SCRIPTS)
    said = [text(name) for name in names]
    content = environment().get_template("comparison.html.j2").render(
        names=said,
        pairs=parts,
        index={"chunk": CHUNK, "sets": columns, "pairs": [part.facts for part in parts], "names": said},
        chunks=chunks,
        beside_a_board=of_a_board or (page.parent / "index.html").is_file(),
        style=style(STYLES),
        script=script,
        policy=policy(script, images="'self' file: data:"),
    )  # fmt: skip
    write_atomically(page, content.encode())
    return page


def _columns(shown: ShownSet, known: Mapping[str, Path]) -> dict[str, Any]:
    """Return the columns over a set's samples: id, truth, generator and picture."""
    files = [f"{digest}.jpg" for digest in shown.images]
    return {
        "name": text(shown.dataset),
        "ids": [text(id) for id in shown.ids],
        "truth": shown.truth,
        "generators": [text(name) for name in shown.generators],
        "generator": list(shown.generator),
        "pictures": [name if PICTURE.fullmatch(name) and name in known else None for name in files],
    }


def _facts(pair: ShownPair) -> dict[str, Any]:
    models = [text(name) for name in pair.models]
    return {"models": models, "n": pair.n, "counts": pair.counts, "calls": pair.calls, "scores": pair.scores}


def _chunks(pair: ShownPair) -> list[str]:
    texts = [[_cut(words) for words in each] for each in pair.texts]
    pieces = (texts[at : at + CHUNK] for at in range(0, len(texts), CHUNK))
    return [packed(json.dumps(piece, ensure_ascii=False, separators=(",", ":"))) for piece in pieces]


def _cut(words: str) -> str:
    known = text(words)
    return known if len(known) <= LONGEST else known[:LONGEST] + " […]"
