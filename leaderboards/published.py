"""Numbers that papers and READMEs print for detectors that are plugins here, each with its source.

published/*.csv          one file a source, as it was copied: source, method, dataset, generator, metric, value
published_methods.csv    which detector a printed name means in a file, and which weights the numbers are of
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from leaderboards.contamination import family

FOLDER = Path(__file__).parent / "published"
METHODS = Path(__file__).parent / "published_methods.csv"

DATASETS: Mapping[str, str] = {
    "AIGCDetectBenchmark": "aigcdetectbenchmark",
    "AIGCDetectionBenchmark (7G + 10D)": "aigcdetectbenchmark",
    "AIGIBench (25 test sets)": "aigibench",
    "Bfree-Online (Unknown)": "bfree-online",
    "Chameleon (Unknown)": "chameleon",
    "DDA-COCO (5D)": "dda-coco",
    "DRCT-2M": "drct-2m",
    "DRCT-2M (16D)": "drct-2m",
    "EvalGEN (3D + 2AR)": "evalgen",
    "FakeBench FakeClass": "fakebench",
    "ForenSynths": "forensynths",
    "ForenSynths (11G)": "forensynths",
    "ForenSynths (4-class)": "forensynths",
    "ForenSynths GANs (4-class ProGAN training)": "forensynths",
    "ForenSynths test": "forensynths",
    "GenImage": "genimage",
    "GenImage (1G + 7D)": "genimage",
    "GenImage degraded": "genimage-degraded",
    "GenImage, mean over 8 training generators": "genimage",
    "GenImage, trained SD V1.4": "genimage",
    "LOKI image (all images)": "loki",
    "LOKI image open-ended VQA (229)": "loki",
    "MMFR-Dataset eval": "mmfr",
    "Self-Synthesis (GAN Based)": "self-synthesis",
    "Synthbuster (9D)": "synthbuster",
    "Synthwildx (3D)": "synthwildx",
    "UniversalFakeDetect (DM Based)": "universalfakedetect",
    "UniversalFakeDetect/diffusion sets (4-class ProGAN training)": "universalfakedetect",
    "WildRF (Unknown)": "wildrf",
}
"""The set that a printed name means. Names of no one set (means over several) are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One printed number. All but the first three fields and `file` are as printed; units are the source's own.

    `preset` is the one whose network and training the number is of, None where it is none's in particular; `weights`
    says in words what is known of them. `printed` keeps the decimals.
    """

    detector: str
    preset: str | None
    weights: str
    method: str
    dataset: str
    generator: str
    metric: str
    printed: str
    source: str
    file: str

    @property
    def value(self) -> float:
        """The number, in the unit that `metric` had in the source: percent for most, shares for some."""
        return float(self.printed)


def published(detector: str, *, preset: str | None = None, dataset: str | None = None) -> tuple[Published, ...]:
    """Return what is printed for a detector, file after file, in the order of each; nothing printed: empty.

    With `preset`, numbers of another preset are left out; those that are no preset's in particular (other weights, or
    not stated) stay, and their `weights` tell. `dataset` is a printed name or that of a dataset here, which means the
    set whose name it has but for words of splits and sizes ("mmfr_mini-eval": MMFR). A number that a source prints in
    several places comes as often.
    """
    return tuple(
        row
        for row in _all()
        if row.detector == detector
        and (preset is None or row.preset in (None, preset))
        and (dataset is None or _means(dataset, row.dataset))
    )


def _means(name: str, printed: str) -> bool:
    known = DATASETS.get(printed)
    return name == printed or (known is not None and family(name) == family(known))


@functools.cache
def _all() -> tuple[Published, ...]:
    """Return every row of a method that is a detector here, by file name."""
    known = {(row["file"], row["method"]): row for row in _rows(METHODS)}
    return tuple(
        Published(
            detector=method["detector"],
            preset=method["preset"] or None,
            weights=method["weights"],
            method=row["method"],
            dataset=row["dataset"],
            generator=row["generator"],
            metric=row["metric"],
            printed=row["value"],
            source=row["source"],
            file=path.name,
        )
        for path in sorted(FOLDER.glob("*.csv"))
        for row in _rows(path)
        if (method := known.get((path.name, row["method"]))) is not None
    )


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, strict=True)
