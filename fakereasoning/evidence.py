"""What is wrong, and where: the kinds of forgery, or the words about them, at the places that show them.

FACL compares whole images with sentences, and a tower without pretraining learns from that whether an image is a fake,
but not what is wrong with it: most of a picture has nothing wrong, and the sentences do not say which part they are
about. Where the data have masks of what their sentences state, the image tokens that the language model gets, after
projectors and fusion, are also told it place by place, and of each image as a whole. Of fakes only: where photographs
are told too that they show none of it, the trace of the training generator answers for most places, and what is wrong
in the picture is not learnt.

What is told are terms: the kind of forgery, where the data name it (FDR-Scenes does), and else the sentence's words.
Words are a noisy name of a kind, since each sentence is worded anew. A linear head of its own reads the terms off the
tokens. The language model's embeddings of the words did worse in its place.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from fakereasoning.concepts import KindsReader, as_taken
from fakereasoning.model import FakeReasoning
from fakereasoning.places import NOTHING, UNKNOWN, SaidHere, places_loss, shares_here
from fdr_bench.errors import DataError, UsageError
from fdr_bench.processes import in_processes
from fdr_bench.types import ImageFile, Sample

Kinds = Mapping[str, Mapping[str, str]]
"""By an image's location and the attribute, which kind of forgery it is."""
RAREST = 0.005
"""Share of the images with regions below which a term is left out."""
SHOWS = 0.1
"""A patch shows what a mask covers by this share of it, or by half of what the mask covers of any patch."""


class Evidence(NamedTuple):
    """Which terms are true of each place of each image."""

    names: tuple[str, ...]
    """Of the V terms."""
    here: SaidHere

    def of_images(self, index: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return the terms that any place of the images at `index` (B,) shows, (B, V)."""
        told = np.zeros((len(index), len(self.names)), dtype=np.bool_)
        for image, row in zip(told, self.here.rows[index], strict=True):
            image |= self.here.told[row[row >= 0]].any(axis=0)
        return told

    def known(self, index: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return of which of the images at `index` (B,) it is known what they show."""
        known: NDArray[np.bool_] = (self.here.rows[index] != UNKNOWN).any(axis=1)
        return known

    def digest(self) -> str:
        """Return a sha256 over all of it."""
        return hashlib.sha256("\n".join((*self.names, self.here.digest())).encode()).hexdigest()


def evidence(samples: Sequence[Sample], grid: int, kinds: Kinds | None = None) -> Evidence:
    """Return the terms of the sentences that each of grid × grid patches shows, by the samples' regions.

    A term is the kind that `kinds` has for a sample's location and attribute, and without `kinds` a word of the
    sentence that no caption has: those tell what is in a picture, not what is wrong with it. A patch beside a region
    counts for nothing, and so does all of a photograph, or of a fake with a sentence that has no region,
    or whose kind is not known. Raises `DataError` where no sample has a region and a sentence about it, or a mask
    cannot be read.
    """
    spoken = [_terms(sample, kinds) for sample in samples]
    shown = [frozenset[str]().union(*said.values()) for said in spoken]
    counts = Counter(term for terms in shown for term in terms)
    captions = () if kinds is not None else {sample.caption for sample in samples if sample.caption}
    plain = frozenset[str]().union(*map(_words, captions))
    least = RAREST * sum(map(bool, shown))
    names = tuple(sorted(term for term, count in counts.items() if term not in plain and count >= least))
    wanted = [_masks(sample) if all(said.values()) else None for sample, said in zip(samples, spoken, strict=True)]
    if not names or not any(wanted):
        raise DataError(
            f"none of the {len(samples)} samples has a sentence and a mask of where that shows, which the recipe's "
            "evidence_weight asks for. Take a dataset with regions, such as scenes:train, or set it to 0"
        )
    rows = np.full((len(samples), grid * grid), NOTHING, dtype=np.int32)
    things: dict[frozenset[str], int] = {}
    read = in_processes(partial(_read, grid=grid), [paths for paths in wanted if paths], chunk=64, serial=1024)
    for row, paths, said in zip(rows, wanted, spoken, strict=True):
        if paths is None:
            row[:] = UNKNOWN
            continue
        masks = next(read) if paths else {}
        near = np.zeros((grid, grid), dtype=np.bool_)
        for mask in masks.values():
            near |= binary_dilation(mask, np.ones((3, 3)))
        row[near.ravel()] = UNKNOWN
        for patch in np.flatnonzero(np.any([mask.ravel() for mask in masks.values()], axis=0)) if masks else ():
            here = frozenset[str]().union(*(said[name] for name, mask in masks.items() if mask.flat[patch]))
            row[patch] = things.setdefault(here, len(things))
    told = np.array([[name in terms for name in names] for terms in things], dtype=np.bool_)
    behind = np.zeros((len(samples), len(names)), dtype=np.bool_)
    return Evidence(names, SaidHere(tuple(range(len(names))), rows, told.reshape(len(things), len(names)), behind))


def shown_by(
    files: Sequence[ImageFile], samples: Sequence[Sample], model: FakeReasoning, kinds: Kinds | None = None
) -> Evidence:
    """Return `evidence` of images, by those of `samples` that they are of; one patch of CLIP's is a place.

    Raises `UsageError` where an image is of no sample.
    """
    of = {sample.image.location: sample for sample in samples}
    if missing := [file.location for file in files if file.location not in of]:
        raise UsageError(
            f"the recipe weighs evidence, but of {len(missing)} images, such as {missing[0]}, no sample with masks is "
            "known; give the samples, or set evidence_weight to 0"
        )
    return evidence([of[file.location] for file in files], model.config.grid, kinds)


def _terms(sample: Sample, kinds: Kinds | None) -> dict[str, frozenset[str]]:
    """Return the terms of what a sample states and has a region of, by attribute."""
    stated = {name: text for name, text in (sample.attributes or {}).items() if text and name in (sample.regions or {})}
    if kinds is None:
        return {name: _words(text) for name, text in stated.items()}
    of = kinds.get(sample.image.location, {})
    return {name: frozenset({of[name]} if name in of else ()) for name in stated}


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))


def _masks(sample: Sample) -> dict[str, str] | None:
    """Return the masks of what a fake's sentences state; None where one has none, and for a photograph."""
    regions = sample.regions or {}
    stated = [name for name, text in (sample.attributes or {}).items() if text]
    if sample.label == "real" or any(name not in regions for name in stated):
        return None
    return {name: str(regions[name]) for name in stated}


def _read(paths: Mapping[str, str], *, grid: int) -> dict[str, NDArray[np.bool_]]:
    return {name: patches(Path(path), grid) for name, path in paths.items()}


def patches(path: Path, grid: int) -> NDArray[np.bool_]:
    """Return which of the grid × grid patches of a picture on its square a mask covers, (grid, grid).

    Raises `DataError` where the file cannot be read.
    """
    try:
        with Image.open(path) as opened:
            mask = opened.convert("L")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"the mask {path} cannot be read: {error}. Repair it, or leave it out") from error
    edge = max(mask.size)
    square = Image.new("F", (edge, edge))
    square.paste(
        mask.point(lambda level: level > 127).convert("F"), ((edge - mask.width) // 2, (edge - mask.height) // 2)
    )
    share = np.asarray(square.resize((grid, grid), Image.Resampling.BOX))
    covered: NDArray[np.bool_] = (share > 0) & (share >= min(SHOWS, share.max() / 2))
    return covered


class EvidenceHead(nn.Module):
    """What is wrong with an image, learnt by a reader of its tokens; dropped when the stage is over.

    The reader may be a model's own (`fakereasoning.concepts`). Another begins with what is known without looking.
    """

    def __init__(self, width: int, shown: Evidence, reader: KindsReader | None = None) -> None:
        """`width` of the tokens; `reader` of the terms of `shown`, in their order."""
        super().__init__()
        self.shown = shown
        if reader is None:
            patches = shown.here.rows.shape[1]
            reader = KindsReader(width, len(shown.names), patches)
            every = np.arange(len(shown.here.rows))
            told = shown.of_images(every[shown.known(every)])
            reader.known.data = _logits(shares_here(shown.here, every))
            reader.seldom.data = _logits(told.mean(axis=0)) - float(np.log(patches))
        self.reader = reader

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Map image tokens (B, n, width) to logits (B, patches, V) and (B, V)."""
        logits: tuple[Tensor, Tensor] = self.reader(tokens)
        return logits

    def loss(self, tokens: Tensor, images: NDArray[np.intp], mirrored: Tensor | None = None) -> Tensor:
        """Return the cross-entropy of places and of images (B,) with tokens (B, n, width), the mean over terms.

        An image of which nothing is known adds nothing. `mirrored` (B,) says which were seen the other way round; a
        kind of forgery is the same there.
        """
        here, anywhere = self(tokens)
        if mirrored is not None:
            names = self.shown.names
            here, whole = (as_taken(said, names, mirrored) for said in (here, anywhere[:, None]))
            anywhere = whole.squeeze(1)
        places = torch.stack(places_loss(here, self.shown.here, images)).sum()
        known = torch.from_numpy(self.shown.known(images)).to(anywhere.device)
        told = torch.from_numpy(self.shown.of_images(images)).to(anywhere)
        whole = binary_cross_entropy_with_logits(anywhere[known], told[known], reduction="sum")
        return (places + whole / max(1, int(known.sum()))) / len(self.shown.names)


def _logits(shares: NDArray[np.floating]) -> Tensor:
    return torch.logit(torch.from_numpy(np.clip(shares, 1e-3, 1 - 1e-3)).float())
