"""FDR-Scenes, the embedded benchmark: rendered scenes, photographed or generated, with known violations.

    scenes                                the test split: ten generators × 50 fakes and 100 shared reals
    scenes:train?generator=NAME&n=20000   half fakes of one generator, half reals
    scenes:val?generator=NAME&n=1000

Options: size (pixels, 128), seed (0), fakes (a generator), reals, n (both classes together), generator (several: joined
by +, or "all"), violation and fingerprint (strengths, 1). Made once, then read from the cache.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl

from fdr_bench.cache import cache_folder
from fdr_bench.data.scenes.scene import VERSION
from fdr_bench.errors import UsageError, nearest
from fdr_bench.types import Dataset, Sample

SPLITS = ("test", "train", "val")
OPTIONS = ("size", "seed", "n", "fakes", "reals", "generator", "violation", "fingerprint")
TRAIN_GENERATOR = "transposed-conv-2"
"""The generator that the shipped detectors were trained on: the default of train and val."""


class Wanted(NamedTuple):
    """A parsed request."""

    split: str
    size: int
    seed: int
    fakes: int
    reals: int
    generators: tuple[str, ...]
    violation: float
    fingerprint: float


def open_scenes(rest: str = "") -> Dataset:
    """Return the set that `rest` asks for, as in "test?size=64&fakes=10", rendering it first where the cache lacks it.

    Raises `UsageError` for an unknown split, option or generator, or a number out of range.
    """
    from fdr_bench.data import make_dataset

    wanted = parse(rest)
    folder = scenes_folder(wanted)
    samples = _samples(folder)
    spec = f"scenes:{rest}" if rest else "scenes"
    note = f"FDR-Scenes version {VERSION}, seed {wanted.seed}"
    return make_dataset(f"fdr-scenes-{wanted.split}", spec, samples, notes=(note,))


def scenes_folder(wanted: Wanted) -> Path:
    """Return the folder of a set in the cache, complete; it is rendered first where it is missing."""
    from fdr_bench.data.scenes.materialise import SetPlan, materialise
    from fdr_bench.data.scenes.sample import CAMERA, Recipe

    recipe = Recipe(
        split=wanted.split,
        size=wanted.size,
        seed=wanted.seed,
        violation_strength=wanted.violation,
        fingerprint_strength=wanted.fingerprint,
    )
    counts = {CAMERA: wanted.reals, **dict.fromkeys(wanted.generators, wanted.fakes)}
    identity = hashlib.sha256(repr((VERSION, wanted)).encode()).hexdigest()[:12]
    place = cache_folder() / "scenes" / f"v{VERSION}-{wanted.split}-{identity}"
    return materialise(SetPlan(recipe=recipe, counts=counts), place)


def parse(rest: str) -> Wanted:
    """Read "split?option=value&…"; the split defaults to test."""
    from fdr_bench.data.scenes.generators import GENERATORS

    split, _, query = rest.partition("?")
    split = split or "test"
    if split not in SPLITS:
        raise UsageError(
            f"FDR-Scenes has no split {split!r}; expected one of {', '.join(SPLITS)}.{nearest(split, SPLITS)}"
        )
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in OPTIONS:
            raise UsageError(
                f"FDR-Scenes has no option {name!r}; expected one of {', '.join(OPTIONS)}.{nearest(name, OPTIONS)}"
            )
        # A query's plus sign reads as a space.
        options[name] = value.replace(" ", "+")
    chosen = options.get("generator", "all" if split == "test" else TRAIN_GENERATOR)
    generators = tuple(GENERATORS) if chosen == "all" else tuple(dict.fromkeys(chosen.split("+")))
    for name in generators:
        if name not in GENERATORS:
            raise UsageError(
                f"FDR-Scenes has no generator {name!r}; expected 'all' or one of {', '.join(GENERATORS)}."
                f"{nearest(name, GENERATORS)}"
            )
    fakes, reals = _counts(split, options, len(generators))
    return Wanted(
        split=split,
        size=_whole(options, "size", 128, 32, 1024),
        seed=_whole(options, "seed", 0, 0, 2**32 - 1),
        fakes=fakes,
        reals=reals,
        generators=generators,
        violation=_strength(options, "violation"),
        fingerprint=_strength(options, "fingerprint"),
    )


def _counts(split: str, options: dict[str, str], generators: int) -> tuple[int, int]:
    """Return fakes a generator and reals in all; `n` is both classes together, half of each."""
    if "n" in options:
        both = _whole(options, "n", 0, 2, 10_000_000)
        fakes, reals = max(1, both // 2 // generators), both - both // 2
    else:
        fakes, reals = {"test": (50, 100), "train": (10_000, 10_000), "val": (500, 500)}[split]
    return _whole(options, "fakes", fakes, 0, 10_000_000), _whole(options, "reals", reals, 0, 10_000_000)


def _whole(options: dict[str, str], name: str, default: int, low: int, high: int) -> int:
    text = options.get(name, str(default))
    if not text.isdecimal() or not low <= int(text) <= high:
        raise UsageError(f"FDR-Scenes option {name}={text!r}: expected a whole number from {low} to {high}.")
    return int(text)


def _strength(options: dict[str, str], name: str) -> float:
    text = options.get(name, "1")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 4:
        raise UsageError(f"FDR-Scenes option {name}={text!r}: expected a strength from 0 (none) to 4; 1 is normal.")
    return value


def _samples(folder: Path) -> list[Sample]:
    from fdr_bench.data.files import FileImage
    from fdr_bench.data.scenes.language import reference_reasoning
    from fdr_bench.data.scenes.sample import CAMERA

    counts = json.loads((folder / "set.json").read_text(encoding="utf-8"))["counts"]
    captions = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
    regions = json.loads((folder / "regions.json").read_text(encoding="utf-8"))
    samples = []
    for source in counts:
        attributes_of = json.loads((folder / source / f"{source}_reasoning.json").read_text(encoding="utf-8"))
        for path, attributes in attributes_of.items():
            file = folder / path
            samples.append(
                Sample(
                    id=path,
                    image=FileImage(str(file), file.stat().st_size),
                    label="real" if source == CAMERA else "fake",
                    generator=None if source == CAMERA else source,
                    attributes=attributes,
                    reasoning=reference_reasoning(attributes),
                    caption=captions[path],
                    regions={name: str(folder / mask) for name, mask in regions.get(path, {}).items()} or None,
                )
            )
    return samples
