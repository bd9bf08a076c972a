"""The MMFR-Dataset's layouts: its evaluation sets with reasoning annotations, and its training json.

Evaluation: ROOT/<set>/{0_real,1_fake}/ with an optional <set>_reasoning.json, as the official evaluation script reads
it (PRIS-CV/FakeReasoning, arXiv 2503.21210). "mmfr:PATH" takes ROOT, the folder that holds it as evaluation_sets, one
set alone, or a tar archive of any of these.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

from fdr_bench.data import make_dataset
from fdr_bench.data.archives import list_archives
from fdr_bench.data.classes import arrange, label_of
from fdr_bench.data.folders import list_classes
from fdr_bench.data.listing import Listing, stable_name
from fdr_bench.data.mmfr_training import open_training_json
from fdr_bench.data.specs import dataset_name, split_options
from fdr_bench.errors import DataError, UsageError
from fdr_bench.types import Dataset, Sample

Attributes: TypeAlias = dict[str, str | None]

_SETS = "evaluation_sets"


def open_mmfr(rest: str) -> Dataset:
    """Open MMFR data. `rest` is "PATH", or "train.json[?images=DIR]" for training conversations.

    A set's name is its samples' generator. Ids are relative to the folder of the sets, as the annotations' keys are.
    Raises `UsageError` for a path that is not there, `DataError` for no sets or unreadable annotations.
    """
    path, options = split_options(rest, ("images",))
    if path.lower().endswith(".json"):
        return open_training_json(path, images=options.get("images"), spec=f"mmfr:{rest}")
    if options:
        raise UsageError(f"'{rest}': 'images' goes with a training json, and {path} is none")
    listing, notes = _sets(path)
    samples, found = arrange(listing)
    samples, matched = _annotate(samples, _annotations(listing))
    notes += [*found, *_unequal(samples), *matched]
    name = dataset_name(os.path.dirname(path) if os.path.basename(path) == _SETS else path)
    return make_dataset(name, f"mmfr:{rest}", samples, notes)


def _sets(path: str) -> tuple[Listing, list[str]]:
    """List the folder or archive that holds the sets, its paths beginning with a set's name."""
    notes = []
    if os.path.isdir(path):
        root = os.path.join(path, _SETS) if os.path.isdir(os.path.join(path, _SETS)) else path
        notes = _beside(path) if root != path else []
        listing = list_classes(root)
    else:
        if not os.path.exists(path) and ".tar" not in path.lower():
            raise UsageError(f"'{path}' is not there: expected a folder of evaluation sets, a tar of them or a json")
        root = path
        listing = _without_prefix(list_archives(path))
    if any(label_of(directory.split("/")[0]) for directory in listing.directories):
        listing = _one_set(listing, dataset_name(root))
    return listing, notes


def _without_prefix(listing: Listing) -> Listing:
    """Drop the levels down to "evaluation_sets" where an archive has such a level; what stands beside it goes too."""
    inside = {}
    for directory, files in listing.directories.items():
        parts = directory.split("/")
        if _SETS in parts:
            inside["/".join(parts[parts.index(_SETS) + 1 :])] = files
    if not inside:
        return listing
    beside = len(listing.directories) - len(inside)
    notes = [*listing.notes, f"{beside} folder(s) beside {_SETS} are left out"] if beside else listing.notes
    return Listing(root=listing.root, directories=inside, notes=notes)


def _one_set(listing: Listing, name: str) -> Listing:
    """Put one set's folders below its name, so that ids are the same as when the set is opened among others."""
    moved = {f"{name}/{path}" if path else name: files for path, files in listing.directories.items()}
    return Listing(root=listing.root, directories=moved, notes=listing.notes)


def _beside(path: str) -> list[str]:
    others = [entry.name for entry in os.scandir(path) if entry.is_dir() and entry.name != _SETS]
    classes = sorted(name for name in others if any(label_of(below) for below in os.listdir(os.path.join(path, name))))
    return [f"{name} stands beside {_SETS} and is a set of its own: open it as mmfr:{path}/{name}" for name in classes]


def _annotations(listing: Listing) -> dict[str, Attributes]:
    """Return the attributes of every annotated image by its id, from <set>_reasoning.json inside or beside the set."""
    # Imported here: a run on plain folders does without it.
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(dict[str, Attributes])
    found: dict[str, Attributes] = {}
    for directory, files in listing.directories.items():
        for name, file in files:
            if not name.endswith("_reasoning.json"):
                continue
            try:
                rows = adapter.validate_json(file.read().removeprefix(b"\xef\xbb\xbf"))
            except ValidationError as error:
                first = error.errors()[0]
                where = " > ".join(map(str, first["loc"])) or "the whole file"
                raise DataError(
                    f"{file.location}: not as expected at {where}: {first['msg']}. "
                    "Expected {image path: {attribute: text or null}}"
                ) from error
            set_name = name.removesuffix("_reasoning.json") if not directory else directory.split("/")[0]
            for key, attributes in rows.items():
                found[_id_of(key, set_name)] = attributes
    return found


def _id_of(key: str, set_name: str) -> str:
    """Return the id that an annotation's path means: from the set's name on, whatever folder it was relative to."""
    parts = stable_name(key).replace("\\", "/").split("/")
    classes = [index for index, part in enumerate(parts) if label_of(part)]
    if not classes:
        return "/".join(parts)
    return "/".join([set_name, *parts[classes[0] :]])


def _annotate(samples: list[Sample], annotations: Mapping[str, Attributes]) -> tuple[list[Sample], list[str]]:
    """Give samples their annotated attributes and the reference reasoning; note annotations that fit no image."""
    if not annotations:
        return samples, []
    annotated = [
        replace(sample, attributes=annotations[sample.id], reasoning=join_attributes(annotations[sample.id]))
        if sample.id in annotations
        else sample
        for sample in samples
    ]
    ids = {sample.id for sample in samples}
    astray = sorted(set(annotations) - ids)
    notes = [f"{len(ids & set(annotations))} of {len(samples)} images have a reasoning annotation"]
    if astray:
        notes.append(f"{len(astray)} annotation(s) name no image here, such as {astray[0]}")
    return annotated, notes


def join_attributes(attributes: Attributes) -> str | None:
    """Return the reference reasoning: texts in the order of their attributes' names, joined by spaces; None if none."""
    return " ".join(text for _, text in sorted(attributes.items()) if text is not None) or None


def _unequal(samples: list[Sample]) -> list[str]:
    """Note sets whose classes differ in size; the official script refuses them, since its accuracy has no balance."""
    counts = Counter((sample.generator, sample.label) for sample in samples)
    notes = []
    for name in sorted({sample.generator for sample in samples if sample.generator}):
        real, fake = counts[name, "real"], counts[name, "fake"]
        if real != fake:
            notes.append(
                f"the set '{name}' has {real} real and {fake} fake images; the official evaluation wants equally many"
            )
    return notes
