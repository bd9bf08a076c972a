"""Write a set of FDR-Scenes to the cache in MMFR's layout: whole or not at all, over all cores, once.

Pictures that another set in the cache has are taken from there; only their words are written anew.

<set>/camera/0_real/00000.jpg                      captured images, shared by all generators
<set>/<generator>/1_fake/00000.jpg
<set>/<generator>/<generator>_reasoning.json       path -> attribute -> sentence or null
<set>/regions/<generator>/00000-<attribute>.png    where a forgery attribute shows
<set>/forgery_reasoning_cot.json                   conversations with the chain of thought
<set>/captions.json  facts.json  set.json          path -> caption; path -> violations; what the set is
"""

from __future__ import annotations

import json
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from fdr_bench.data.scenes.drawn import Drawn, facts_of, find_drawn, take
from fdr_bench.data.scenes.sample import CAMERA, Recipe, make_sample, say
from fdr_bench.data.scenes.scene import DRAWING, VERSION
from fdr_bench.processes import in_processes


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPlan:
    """What a set holds: the recipe of its samples and how many of each source (`camera` or a generator)."""

    recipe: Recipe
    counts: Mapping[str, int]


class Record(NamedTuple):
    """What is written down of one sample beside its image."""

    path: str
    caption: str
    attributes: dict[str, str | None]
    facts: list[dict[str, object]]
    regions: dict[str, str]
    question: str
    chain_of_thought: str


def relative_path(source: str, index: int) -> str:
    """Return where sample `index` of a source lies in its set."""
    return f"{source}/{'0_real' if source == CAMERA else '1_fake'}/{index:05d}.jpg"


def write_sample(root: str, recipe: Recipe, job: tuple[str, int]) -> Record:
    """Make one sample and write its image and region masks under `root`."""
    source, index = job
    sample = make_sample(recipe, source, index)
    path = relative_path(source, index)
    (Path(root) / path).write_bytes(sample.jpeg)
    regions = {}
    for attribute, mask in sample.regions.items():
        regions[attribute] = f"regions/{source}/{index:05d}-{attribute.lower().replace(' ', '-')}.png"
        Image.fromarray(mask.astype(np.uint8) * 255).convert("1").save(Path(root) / regions[attribute], "PNG")
    facts = [fact.to_json() for fact in sample.facts]
    return Record(path, sample.caption, sample.attributes, facts, regions, sample.question, sample.chain_of_thought)


def retell_sample(root: str, recipe: Recipe, drawn: Drawn, job: tuple[str, int]) -> Record:
    """Take one sample's image and masks from a set that has them, and say anew what is in it."""
    source, index = job
    path = relative_path(source, index)
    facts = facts_of(drawn, path)
    regions = take(drawn, path, Path(root))
    words = say(recipe, source, index, facts)
    described = [fact.to_json() for fact in facts]
    return Record(path, words.caption, words.attributes, described, regions, words.question, words.chain_of_thought)


def materialise(plan: SetPlan, folder: Path) -> Path:
    """Return the folder of a set, writing it first where it is not there.

    A set appears under its name by one rename when it is complete; a second process waits for the first.
    """
    if (folder / "set.json").is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(folder.with_name(folder.name + ".lock")):
        if (folder / "set.json").is_file():
            return folder
        # Whoever holds the lock is alone, so any other partial folder of this set was left by a killed process.
        for left in folder.parent.glob(f"{folder.name}.partial-*"):
            shutil.rmtree(left, ignore_errors=True)
        partial_folder = folder.with_name(f"{folder.name}.partial-{uuid.uuid4().hex[:8]}")
        try:
            _write(plan, partial_folder)
            partial_folder.rename(folder)
        except BaseException:
            shutil.rmtree(partial_folder, ignore_errors=True)
            raise
    return folder


def _write(plan: SetPlan, root: Path) -> None:
    jobs = [(source, index) for source, count in plan.counts.items() for index in range(count)]
    for source in plan.counts:
        (root / relative_path(source, 0)).parent.mkdir(parents=True)
        if source != CAMERA:
            (root / "regions" / source).mkdir(parents=True)
    records = list(_progress(_records(plan, root, jobs), len(jobs)))
    for source in plan.counts:
        of_it = {record.path: record.attributes for record in records if record.path.startswith(f"{source}/")}
        _dump(root / source / f"{source}_reasoning.json", of_it)
    _dump(root / "captions.json", {record.path: record.caption for record in records})
    _dump(root / "facts.json", {record.path: record.facts for record in records if record.facts})
    _dump(root / "regions.json", {record.path: record.regions for record in records if record.regions})
    conversations = [
        {
            "id": record.path.removesuffix(".jpg"),
            "image": record.path,
            "conversations": [
                {"from": "human", "value": record.question},
                {"from": "gpt", "value": record.chain_of_thought},
            ],
        }
        for record in records
    ]
    _dump(root / "forgery_reasoning_cot.json", conversations)
    told = {"version": VERSION, "drawing": DRAWING, "recipe": asdict(plan.recipe), "counts": dict(plan.counts)}
    _dump(root / "set.json", told)


def _records(plan: SetPlan, root: Path, jobs: list[tuple[str, int]]) -> Iterator[Record]:
    """Yield the records in the jobs' order: of what another set has by retelling it, of all else by making it."""
    drawn = find_drawn(root, plan.recipe, plan.counts)
    held = {job for job in jobs if drawn.holds(relative_path(*job))} if drawn else set()
    made = in_processes(partial(write_sample, str(root), plan.recipe), [job for job in jobs if job not in held])
    for job in jobs:
        if drawn is not None and job in held:
            yield retell_sample(str(root), plan.recipe, drawn, job)
        else:
            yield next(made)


def _dump(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _progress(records: Iterator[Record], total: int) -> Iterator[Record]:
    if not sys.stderr.isatty():
        yield from records
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(records, description="Rendering FDR-Scenes", total=total, console=Console(stderr=True))


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Hold a lock on a file; the system drops it when the process dies, however it does."""
    with open(lock, "a+b") as stream:
        if sys.platform == "win32":
            import msvcrt

            stream.seek(0)
            while True:
                try:
                    msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK, 1)
                    break
                except OSError:
                    continue
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
