"""Where a printed number has its counterpart among the scores of a run: the slice, the metric, the unit, the view.

Papers name generators and means each in its own way; what they mean is written down here, and nothing is guessed: what
no score here answers to has no counterpart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from leaderboards.published import Published

MEANS = frozenset({"avg", "average", "mean", "meanovergenerators"})
"""Printed columns that are a mean over generators."""
METRICS: Mapping[str, tuple[str, float]] = {
    "ACC": ("acc", 100),
    "ACC real": ("real_acc", 100),
    "ACC fake": ("fake_acc", 100),
    "AP": ("ap", 100),
    "Fail%": ("failure_rate", 100),
    "ACC (fraction; radar chart)": ("acc", 1),
    "BLEU-1": ("bleu1@nltk-split", 1),
    "ROUGE-L": ("rougeL@stem", 1),
    "CSS": ("css@minilm-l6", 1),
}
"""A printed metric's key here, and what a share of 1 is in the printed unit."""
OTHERWISE: Mapping[str, str] = {"CSS": "CLIP's text encoder there, all-MiniLM-L6-v2 here"}
"""What papers compute in another way than the metric here does."""
VIEWS: Mapping[str, str] = {"crop 224": "crop224", "no crop": "no_crop"}
"""A preprocessing printed behind a metric, and the view that it is here."""
README_VIEWS: Mapping[tuple[str, str, str], str] = {
    ("npr_readme.csv", "npr", "AIGCDetectBenchmark"): "native",
    ("npr_readme.csv", "npr", "GenImage"): "tile_crop224",
    ("npr_readme.csv", "npr", "ForenSynths (4-class)"): "resize256",
}
"""(file, detector, printed dataset): the view of the commands that stand beside the numbers."""
TILED = ", translate_duplicate)"
"""The end of a method's name whose numbers are of images tiled up to the crop."""

_SAME = (
    ("adm", "guided"),
    ("kandinsky", "kd"),
    ("ldm100", "ldm100steps"),
    ("ldm200", "ldm200steps"),
    ("ldm200cfg", "ldm200wcfg"),
    ("midjourney", "mj"),
    ("seeingdark", "sitd"),
    ("stablediffusion", "sd"),
    ("styleganxl", "sgxl"),
    ("vqdm", "vqdiffusion"),
    ("whichfaceisreal", "wfir"),
    ("sd14", "sdv14", "sdv4", "stablediffusionv14"),
    ("sd15", "sdv15", "sdv5", "stablediffusionv15"),
    ("ldm", "ldmtext2imlarge256"),
    ("sdv2", "stablediffusion21"),
    ("sdxl", "stablediffusionxlbase10"),
    ("sdxlrefiner", "stablediffusionxlrefiner10"),
    ("lcmsdv15", "lcmlorasdv15"),
    ("lcmsdxl", "lcmlorasdxl"),
    ("sdv1ctrl", "sdcontrolnetcanny"),
    ("sdv2ctrl", "sd21controlnetcanny"),
    ("sdxlctrl", "controlnetcannysdxl10"),
    ("sdv1dr", "stablediffusioninpainting"),
    ("sdv2dr", "stablediffusion2inpainting"),
    ("sdxldr", "stablediffusionxl10inpainting01"),
)
"""Spellings of one generator, letters and digits alone; the first is the one that stands for all."""
_CANONICAL = {word: words[0] for words in _SAME for word in words}


class Counterpart(NamedTuple):
    """A printed number's place among scores. `scale` is what a share of 1 is in the printed unit.

    `base` is the printed metric without what stands in brackets behind it, `bracket` that; `view` is the preprocessing
    where the source states it.
    """

    slice: str
    metric: str
    scale: float
    base: str
    bracket: str
    view: str | None


def counterpart(row: Published, generators: Sequence[str]) -> Counterpart | None:
    """Return the place of a printed number in a run whose dataset has these generators; None where it has none."""
    base, bracket = _split(row.metric)
    part = slice_of(row.generator, generators)
    if base not in METRICS or part is None:
        return None
    view = VIEWS.get(bracket) or README_VIEWS.get((row.file, row.detector, row.dataset))
    if row.method.endswith(TILED):
        view = "tile_crop224"
    return Counterpart(part, *METRICS[base], base, bracket, view)


def slice_of(printed: str, generators: Sequence[str]) -> str | None:
    """Return the slice of our scores that a printed column means, None where our set has it not.

    A mean is the mean over generators, and where a set has none, the whole set.
    """
    word = canonical(re.sub(r"\(\d+\)$", "", printed.strip()))
    if word == "all":
        return "all"
    if word in MEANS:
        return "macro" if generators else "all"
    return next((f"generator:{name}" for name in generators if canonical(name) == word), None)


def canonical(name: str) -> str:
    """Return a name as it is compared: letters and digits alone, papers' abbreviations of generators written out."""
    word = re.sub(r"[\W_]+", "", name.casefold())
    return _CANONICAL.get(word, word)


def _split(metric: str) -> tuple[str, str]:
    """Return "ACC (crop 224)" as ("ACC", "crop 224"); what is in METRICS as it stands stays whole."""
    parts = re.fullmatch(r"(.+?) \((.+)\)", metric)
    return (metric, "") if metric in METRICS or parts is None else (parts.group(1), parts.group(2))
