"""Labels from folder names: the field's spellings of "real" and "fake", and what the levels around them are.

    0_real/1_fake (ForenSynths, MMFR) · real/fake · REAL/FAKE (CIFAKE) · nature/ai (GenImage) · natural/generated …
    with a generator and a semantic class above (progan/airplane/0_real) or below (fake/progan), or neither

A label never comes from a number: "0_fake" is fake. Splits ("train", "val") are neither generator nor class.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fdr_bench.data.listing import Listing, is_other, words
from fdr_bench.errors import DataError
from fdr_bench.types import ImageFile, Label, Sample

REAL = words("real reals real_images authentic genuine pristine bonafide non_ai not_ai")
FAKE = words("fake fakes fake_images ai ai_generated aigc generated synthetic synthesized synthesised")
# These may also say what a picture shows, so they are a class only beside a folder that is spelt as a fake class.
REAL_IF_PAIRED = words("nature natural human photo photos photograph photographs original originals")

KNOWN_SPELLINGS = "0_real and 1_fake, real and fake, nature and ai, natural and generated, authentic and synthetic"

SPLITS = words(
    "train training val valid validation test testing eval evaluation evaluation_sets dev images imgs img dataset "
    "datasets data test_set testset train_set trainset val_set valset"
)

_GENERATOR = re.compile(
    r"gan|diffus|^sd|_sd|sdxl|dall|midjourney|^mj|glide|flux|imagen|^adm|ldm|pndm|vqdm|wukong|pixart|kandinsky|firefly"
    r"|gpt|gemini|playground|^if$|deepfloyd|ddpm|^var$|cogview|recraft|ideogram|faceswap|face2face|deepfake",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ClassOptions:
    """What names cannot tell: who made the fakes that no folder names, and what a level below a class folder is."""

    generator: str | None = None
    below: str | None = None  # "generator" or "category"; None: told by the names


@dataclass(slots=True)
class Place:
    """What a directory's path says of the images in it."""

    label: Label
    above: list[str]
    below: list[str]
    generator: str | None = None
    category: str | None = None


def label_of(folder: str) -> Label | None:
    """Return the label that a folder's name states by itself, or None. A leading number is passed over."""
    word = _word(folder)
    if word in REAL:
        return "real"
    return "fake" if word in FAKE else None


def may_be_class(folder: str) -> bool:
    """Tell whether a folder may turn out to be a class folder once its neighbours are known."""
    return label_of(folder) is not None or _word(folder) in REAL_IF_PAIRED


def arrange(listing: Listing, options: ClassOptions | None = None) -> tuple[list[Sample], list[str]]:
    """Turn a listing into samples by its class folders. Returns them with notes on what was left out and why.

    Every file in a class folder becomes a sample unless its name says that it is no image (`listing.is_other`).
    Raises `DataError` where no folder is spelt as a class, where a path states both classes, or where a folder of
    images that is no class stands beside one that is: a misspelt class must not shrink the set.
    """
    children = _children(listing.directories)
    places: dict[str, Place] = {}
    for path in listing.directories:
        place = _place(path, children, listing.root)
        if place is not None:
            places[path] = place
    if not places:
        raise DataError(_nothing_found(listing, children))
    notes = [*listing.notes, *_outside(listing, places, children)]
    notes += _name_generators(places, options or ClassOptions())
    samples: list[Sample] = []
    left_out: list[str] = []
    for path, place in places.items():
        images, others = _split(listing.directories[path])
        left_out += (f"{path}/{name}" for name in others)
        samples += (_sample(f"{path}/{name}", image, place) for name, image in images)
        if not images and not children.get(path):
            notes.append(f"the class folder {path} holds no image")
    if left_out:
        notes.append(f"{len(left_out)} file(s) in class folders are no images by their names: {_some(left_out)}")
    return samples, notes


def _sample(identity: str, image: ImageFile, place: Place) -> Sample:
    return Sample(id=identity, image=image, label=place.label, generator=place.generator, category=place.category)


def _word(folder: str) -> str:
    return re.sub(r"^\d+_", "", re.sub(r"[\s.-]+", "_", folder.strip().casefold()))


def _children(directories: Mapping[str, object]) -> dict[str, set[str]]:
    """Return the folders directly in each folder, "" being the top."""
    children: dict[str, set[str]] = {}
    for path in directories:
        while path:
            parent, _, name = path.rpartition("/")
            below = children.setdefault(parent, set())
            if name in below:
                break
            below.add(name)
            path = parent
    return children


def _levels(path: str) -> Iterator[tuple[str, str]]:
    """Yield (parent path, name) of each level of a path, the top first."""
    parent = ""
    for name in path.split("/") if path else ():
        yield parent, name
        parent = f"{parent}/{name}" if parent else name


def _place(path: str, children: Mapping[str, set[str]], root: str) -> Place | None:
    levels = list(_levels(path))
    stated: dict[int, Label] = {}
    for index, (_, name) in enumerate(levels):
        label = label_of(name)
        if label is not None:
            stated[index] = label
    if not stated:
        for index, (parent, name) in enumerate(levels):
            if _word(name) in REAL_IF_PAIRED and any(label_of(other) == "fake" for other in children[parent]):
                stated[index] = "real"
    if not stated:
        return None
    if len(set(stated.values())) > 1:
        names = ", ".join(f"'{levels[index][1]}'" for index in stated)
        raise DataError(f"{root}: the path {path} states both classes ({names}). Rename the folder that is no class")
    first = min(stated)
    free = [
        (index, name) for index, (_, name) in enumerate(levels) if index not in stated and _word(name) not in SPLITS
    ]
    return Place(
        label=stated[first],
        above=[name for index, name in free if index < first],
        below=[name for index, name in free if index > first],
    )


def _name_generators(places: Mapping[str, Place], options: ClassOptions) -> list[str]:
    """Set each place's generator and category. A level above the class is the generator; one below, as names tell."""
    notes: list[str] = []
    below_fakes = {place.below[0] for place in places.values() if _only_below(place) and place.label == "fake"}
    below_reals = {place.below[0] for place in places.values() if _only_below(place) and place.label == "real"}
    if options.below is not None:
        generators = options.below == "generator"
    else:
        # Classes of things stand below both labels; a generator's name below the reals too only says whose they are.
        generators = not below_fakes & below_reals or any(_GENERATOR.search(name) for name in below_fakes)
        if below_fakes:
            kind = "generators" if generators else "semantic classes"
            notes.append(
                f"the folders below the class folders are read as {kind}: {_some(sorted(below_fakes))}; "
                "'?below=generator' or '?below=category' after the path says it outright"
            )
    for place in places.values():
        rest = [*place.above, *place.below]
        if place.above or (rest and generators):
            place.generator = rest.pop(0)
        elif place.label == "fake":
            place.generator = options.generator
        place.category = "/".join(rest) or None
    notes += _share_sources(places)
    return notes


def _only_below(place: Place) -> bool:
    return bool(place.below) and not place.above


def _share_sources(places: Mapping[str, Place]) -> list[str]:
    """Let reals under a name without fakes (a source such as "coco") belong to no generator: all compare with them."""
    makers = {place.generator for place in places.values() if place.label == "fake"}
    sources = set()
    for place in places.values():
        if place.generator is not None and place.generator not in makers:
            sources.add(place.generator)
            place.category = "/".join(filter(None, (place.generator, place.category)))
            place.generator = None
    if not sources or not makers:
        return []
    return [f"reals in folders without fakes count for every generator: {_some(sorted(sources))}"]


def _outside(listing: Listing, places: Mapping[str, Place], children: Mapping[str, set[str]]) -> list[str]:
    """Return notes on images in no class folder. Raises `DataError` where that looks like a misspelt class."""
    notes = []
    for path, files in listing.directories.items():
        images = [] if path in places else _split(files)[0]
        if not images:
            continue
        for parent, name in _levels(path):
            classes = sorted(other for other in children[parent] if _under(parent, other) in places)
            if classes:
                raise DataError(
                    f"{listing.root}: the folder '{name}' ({len(images)} images in {path}) stands beside the class "
                    f"folder '{classes[0]}' and is itself no known class. Known spellings: {KNOWN_SPELLINGS} "
                    "(any case, any leading number). Rename it or move it away; fakes sorted by generator go into "
                    "fake/<generator>"
                )
        where = f"the folder {path}" if path else "the top folder"
        notes.append(f"{len(images)} image(s) in {where} stand in no class folder and are left out")
    return notes


def _nothing_found(listing: Listing, children: Mapping[str, set[str]]) -> str:
    names = sorted({name for below in children.values() for name in below})
    images = sum(len(_split(files)[0]) for files in listing.directories.values())
    found = f"the folders {_some(names, 8)}" if names else "no folders"
    return (
        f"{listing.root}: no folder is spelt as a class, so the labels of its {images} images are unknown. "
        f"Found {found}; expected a level such as {KNOWN_SPELLINGS} (any case, any leading number). "
        "Rename the folders, or use 'fdr-bench predict' for images without labels"
    )


def _split(files: list[tuple[str, ImageFile]]) -> tuple[list[tuple[str, ImageFile]], list[str]]:
    """Split a directory's files into images and what is none by its name."""
    names = {name for name, _ in files} if any(name.startswith("._") for name, _ in files) else set()
    images, others = [], []
    for name, image in files:
        # macOS keeps a file's attributes beside it under its name with "._" in front.
        if is_other(name) or (name.startswith("._") and name[2:] in names):
            others.append(name)
        else:
            images.append((name, image))
    return images, others


def _under(parent: str, name: str) -> str:
    return f"{parent}/{name}" if parent else name


def _some(names: list[str], limit: int = 5) -> str:
    """Return names for a message, cut short after `limit` with the number of the rest."""
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown
