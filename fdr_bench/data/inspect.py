"""Facts about a dataset before any model sees it: what is in it, what is broken, what gives the label away."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdr_bench.errors import ImageError
from fdr_bench.images import decode
from fdr_bench.types import Dataset, FileMetadata, Sample

EXAMPLES = 20
"""So many failures, duplicates and sizes are listed; the counts beside them are always complete."""


class Decoded(NamedTuple):
    """One sample that could be decoded: what its file says of itself, and the sha256 of its bytes."""

    sample: Sample
    metadata: FileMetadata
    sha256: bytes


def inspect_dataset(dataset: Dataset, *, advance: Callable[[int], None] | None = None) -> dict[str, object]:
    """Decode every image once and return the dataset's facts, ready for JSON.

    `advance` is called with 1 after each image (a progress bar). Pixels are dropped at once: memory grows by some
    hundred bytes an image. What stands under "shortcuts" is the balanced accuracy that a single property of the
    *file* reaches on this very set when real and fake are told apart by it: 0.5 is chance, 1.0 separates the classes
    without looking at a pixel.
    """
    decoded: list[Decoded] = []
    failures: list[tuple[str, str]] = []
    for sample in dataset.samples:
        try:
            image = decode(sample.image.read(), sample.image.location)
        except ImageError as error:
            failures.append((sample.id, str(error).removeprefix(f"{sample.image.location}: ")))
        else:
            decoded.append(Decoded(sample, image.metadata, bytes.fromhex(image.sha256)))
        if advance is not None:
            advance(1)
    real = sum(sample.label == "real" for sample in dataset.samples)
    return {
        "name": dataset.name,
        "spec": dataset.spec,
        "fingerprint": dataset.fingerprint,
        "images": len(dataset.samples),
        "real": real,
        "fake": len(dataset.samples) - real,
        "annotated": sum(sample.reasoning is not None for sample in dataset.samples),
        "generators": _generators(dataset.samples),
        "files": _files(decoded),
        "failures": {
            "count": len(failures),
            "examples": [{"id": identity, "reason": reason} for identity, reason in failures[:EXAMPLES]],
        },
        "duplicates": _duplicates(decoded),
        "shortcuts": _shortcuts(decoded),
        "notes": [*dataset.notes, *_remarks(dataset, len(failures))],
    }


def _generators(samples: Sequence[Sample]) -> list[dict[str, object]]:
    """Count each generator's classes; a row whose generator is None holds what no generator is named for."""
    counts = Counter((sample.generator, sample.label) for sample in samples)
    categories: defaultdict[str | None, set[str]] = defaultdict(set)
    for sample in samples:
        if sample.category is not None:
            categories[sample.generator].add(sample.category)
    names = sorted({name for name, _ in counts}, key=lambda name: (name is None, name or ""))
    return [
        {
            "generator": name,
            "real": counts[name, "real"],
            "fake": counts[name, "fake"],
            "categories": len(categories[name]),
        }
        for name in names
    ]


def _files(decoded: Sequence[Decoded]) -> dict[str, dict[str, object]]:
    """Return per label: formats with modes, image sizes and file sizes."""
    return {
        label: _label_files([entry.metadata for entry in decoded if entry.sample.label == label])
        for label in ("real", "fake")
    }


def _label_files(files: Sequence[FileMetadata]) -> dict[str, object]:
    if not files:
        return {"count": 0}
    formats = Counter(f"{file.format} {file.mode}" for file in files)
    sizes = Counter(f"{file.width}x{file.height}" for file in files)
    lengths = [file.bytes for file in files]
    return {
        "count": len(files),
        "formats": dict(formats.most_common()),
        "sizes": dict(sizes.most_common(EXAMPLES)),
        "distinct_sizes": len(sizes),
        "width": _range([file.width for file in files]),
        "height": _range([file.height for file in files]),
        "bytes": _range(lengths),
        "quantisation_tables": len({file.quantisation for file in files if file.quantisation}),
    }


def _range(values: Sequence[int]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def _duplicates(decoded: Sequence[Decoded]) -> dict[str, object]:
    """Count byte-identical images: groups of two or more, and those that cross labels or generators."""
    groups: defaultdict[bytes, list[Sample]] = defaultdict(list)
    for entry in decoded:
        groups[entry.sha256].append(entry.sample)
    repeated = [group for group in groups.values() if len(group) > 1]
    across_labels = [group for group in repeated if len({sample.label for sample in group}) > 1]
    across_generators = [group for group in repeated if len({sample.generator for sample in group}) > 1]
    return {
        "groups": len(repeated),
        "images": sum(map(len, repeated)),
        "across_labels": len(across_labels),
        "across_generators": len(across_generators),
        "examples": [[sample.id for sample in group] for group in (across_labels or repeated)[:EXAMPLES]],
    }


def _shortcuts(decoded: Sequence[Decoded]) -> dict[str, float] | None:
    """Return the balanced accuracy of one file property at its best; None where a class has no decodable image."""
    fake = np.array([entry.sample.label == "fake" for entry in decoded], dtype=bool)
    if fake.all() or not fake.any():
        return None
    files = [entry.metadata for entry in decoded]
    measures: Mapping[str, Iterable[float]] = {
        "width": (file.width for file in files),
        "height": (file.height for file in files),
        "pixels": (file.width * file.height for file in files),
        "bytes": (file.bytes for file in files),
        "bytes_per_pixel": (file.bytes / (file.width * file.height) for file in files),
    }
    found = {name: _best_threshold(np.array(list(values), dtype=np.float64), fake) for name, values in measures.items()}
    found["format_and_mode"] = _best_assignment([(file.format, file.mode) for file in files], fake)
    found["quantisation"] = _best_assignment([file.quantisation for file in files], fake)
    return {name: round(value, 4) for name, value in found.items()}


def _best_threshold(value: NDArray[np.float64], fake: NDArray[np.bool_]) -> float:
    """Return the best balanced accuracy of "fake where value > t" or its opposite, over all t. Ties stay together."""
    order = np.argsort(value, kind="stable")
    # Balanced accuracy of calling all beyond place i fake is (1 + reals up to i - fakes up to i) / 2.
    reals = np.cumsum(~fake[order]) / np.count_nonzero(~fake)
    fakes = np.cumsum(fake[order]) / np.count_nonzero(fake)
    last_of_value = np.append(np.diff(value[order]) > 0, True)
    return float(0.5 + np.abs(reals - fakes)[last_of_value].max() / 2)


def _best_assignment(values: Sequence[object], fake: NDArray[np.bool_]) -> float:
    """Return the balanced accuracy of calling each value what it is the larger share of."""
    real_of, fake_of = Counter[object](), Counter[object]()
    for value, is_fake in zip(values, fake, strict=True):
        (fake_of if is_fake else real_of)[value] += 1
    reals, fakes = real_of.total(), fake_of.total()
    return 0.5 * sum(max(real_of[value] / reals, fake_of[value] / fakes) for value in real_of.keys() | fake_of.keys())


def _remarks(dataset: Dataset, failures: int) -> list[str]:
    """Return what a reader should know of the counts: one class only, far from balanced, fakes without a generator."""
    remarks = []
    real = sum(sample.label == "real" for sample in dataset.samples)
    fake = len(dataset.samples) - real
    if not real or not fake:
        missing = "real" if not real else "fake"
        remarks.append(f"no {missing} image: ranking metrics (AUROC, AP) and balanced accuracy are undefined")
    elif max(real, fake) >= 2 * min(real, fake):
        remarks.append(f"unbalanced: {real} real and {fake} fake; read balanced accuracy beside accuracy")
    nameless = sum(sample.label == "fake" and sample.generator is None for sample in dataset.samples)
    if nameless:
        remarks.append(f"{nameless} fake image(s) name no generator; '?generator=NAME' after the path names it")
    if failures:
        remarks.append(f"{failures} image(s) cannot be decoded and will be recorded as failures")
    return remarks
