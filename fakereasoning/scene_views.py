"""The scenes of FDR-Scenes, drawn again from the ids of their samples: what is in a picture, and what was touched."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from fdr_bench.data.scenes import parse, scenes_folder
from fdr_bench.data.scenes.scene import DRAWING, Scene, Solid, pick, random_scene, stream
from fdr_bench.errors import UsageError
from fdr_bench.processes import in_processes
from fdr_bench.types import Dataset, Sample

Random = np.random.Generator
Told = TypeVar("Told")
CHUNK, SERIAL = 256, 4096
"""Scenes that a process gets at a time, and up to how many are read in this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A scene and which of its solids, by number, are as the scene graph has them."""

    scene: Scene
    intact: tuple[int, ...]

    @property
    def whole(self) -> bool:
        """Whether no solid was touched."""
        return len(self.intact) == len(self.scene.solids)

    def any_solid(self, random: Random) -> Solid | None:
        """Return one of the intact solids; None where there is none."""
        return self.scene.solids[pick(random, self.intact)] if self.intact else None


class Drawn(NamedTuple):
    """What the scene of a sample is drawn from again."""

    id: str
    caption: str
    seed: int
    split: str
    facts: Sequence[Mapping[str, object]]

    def view(self) -> View:
        """Draw it."""
        return view_of(self.id, seed=self.seed, split=self.split, facts=self.facts)


def of_each_scene(dataset: Dataset, told: Callable[[Drawn], Told]) -> Iterator[tuple[Sample, Told]]:
    """Yield each sample of a set of FDR-Scenes with what `told` makes of its scene, over all cores.

    Raises `UsageError` for another dataset.
    """
    kind, _, rest = dataset.spec.partition(":")
    if kind != "scenes":
        raise UsageError(
            f"'{dataset.spec}' has no scene graphs: expected FDR-Scenes, such as scenes:train?n=6000. A tuning by "
            "--recipe mmfr needs none"
        )
    wanted = parse(rest)
    facts = json.loads((scenes_folder(wanted) / "facts.json").read_text(encoding="utf-8"))
    drawn = [
        Drawn(sample.id, sample.caption or "", wanted.seed, wanted.split, facts.get(sample.id, ()))
        for sample in dataset.samples
    ]
    return zip(dataset.samples, in_processes(told, drawn, chunk=CHUNK, serial=SERIAL), strict=True)


def view_of(sample_id: str, *, seed: int, split: str, facts: Sequence[Mapping[str, object]]) -> View:
    """Draw the scene of a sample again, as "camera/0_real/00012.jpg" names it; `facts` are its violations."""
    source, _, file = sample_id.split("/")
    scene = random_scene(stream("scene", DRAWING, seed, split, source, int(file.split(".")[0])))
    touched = {fact[role] for fact in facts for role in ("solid", "other")}
    return View(scene=scene, intact=tuple(i for i in range(len(scene.solids)) if i not in touched))
