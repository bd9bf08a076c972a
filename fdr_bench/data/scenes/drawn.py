"""Pictures that another set in the cache holds already: a set with new words, or more samples, is not drawn anew."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from fdr_bench.data.scenes.sample import Recipe
from fdr_bench.data.scenes.scene import DRAWING
from fdr_bench.data.scenes.violations import Violation


class Drawn(NamedTuple):
    """A complete set of the same drawing and recipe: its folder, and its images' facts and region masks by path."""

    folder: Path
    facts: Mapping[str, Sequence[Mapping[str, Any]]]
    regions: Mapping[str, dict[str, str]]

    def holds(self, path: str) -> bool:
        """Whether an image, by its relative path, and all of its masks are there."""
        return all((self.folder / name).is_file() for name in (path, *self.regions.get(path, {}).values()))


def find_drawn(near: Path, recipe: Recipe, counts: Mapping[str, int]) -> Drawn | None:
    """Return the set beside the folder `near` that has the most of the wanted samples; None where none has any.

    `counts` are the wanted samples of each source. Sets that are being written do not count.
    """
    best: Path | None = None
    most = 0
    for path in sorted(near.parent.glob("*/set.json")):
        if ".partial-" in path.parent.name:
            continue
        told = _read(path)
        # Up to version 4 the version was the key of the random streams as well, and the only one written down.
        if told.get("drawing", told["version"]) != DRAWING or told["recipe"] != asdict(recipe):
            continue
        shared = sum(min(count, told["counts"].get(source, 0)) for source, count in counts.items())
        if shared > most:
            best, most = path.parent, shared
    if best is None:
        return None
    return Drawn(best, _read(best / "facts.json"), _read(best / "regions.json"))


def facts_of(drawn: Drawn, path: str) -> tuple[Violation, ...]:
    """Return the violations of an image of the set by its relative path; none of a captured one."""
    return tuple(Violation.from_json(fact) for fact in drawn.facts.get(path, ()))


def take(drawn: Drawn, path: str, root: Path) -> dict[str, str]:
    """Put an image that the set holds and its region masks under `root`, as hard links where the disk allows it.

    Return the masks' relative paths by attribute. Raises `OSError` where a file cannot be read or written.
    """
    masks = drawn.regions.get(path, {})
    for name in (path, *masks.values()):
        try:
            os.link(drawn.folder / name, root / name)
        except OSError:  # a file system without hard links
            shutil.copyfile(drawn.folder / name, root / name)
    return dict(masks)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
