"""What is wrong, and where: the words about forgery at the places that show it.

FACL compares whole images with sentences, and a tower without pretraining learns from that whether an image is a fake,
but not what is wrong with it: most of a picture has nothing wrong, and the sentences do not say which part they are
about. Where the data have masks of what their sentences state, the image tokens that the language model gets, after
projectors and fusion, are also told the sentences' words place by place, as in `fakereasoning.words`. Of fakes only:
where photographs are told too that they show none of it, the trace of the training generator answers for most places,
and what is wrong in the picture is not learnt.

In tuning the same may go on (`KeptEvidence`): towers that learn by the text alone forget it again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation
from torch import Tensor, nn

from fakereasoning.facl_recipe import Tower
from fakereasoning.model import FakeReasoning
from fakereasoning.places import NOTHING, UNKNOWN, SaidHere, places_loss, shares_here
from fakereasoning.tokenizer import Codec
from fdr_bench.errors import DataError, UsageError
from fdr_bench.processes import in_processes
from fdr_bench.types import ImageFile, Sample

RAREST = 0.005
"""Share of the images with regions below which a word is left out."""
SHOWS = 0.1
"""A patch shows what a mask covers by this share of it, or by half of what the mask covers of any patch."""


def evidence(samples: Sequence[Sample], codec: Codec, grid: int) -> SaidHere:
    """Return the words of the sentences that each of grid × grid patches shows, by the samples' regions, as tokens.

    Words of several tokens are left out, and words that any caption has: those tell what is in a picture, not what is
    wrong with it. A patch beside a region counts for nothing, and so does all of a photograph, or of a fake with a
    sentence that has no region. Raises `DataError` where no sample has a region and a sentence about it, or a mask
    cannot be read.
    """
    words = _Words(codec)
    spoken = [
        {
            name: words.of(text)
            for name, text in (sample.attributes or {}).items()
            if text and name in (sample.regions or {})
        }
        for sample in samples
    ]
    shown = [frozenset[int]().union(*said.values()) for said in spoken]
    counts = Counter(token for tokens in shown for token in tokens)
    plain = frozenset[int]().union(*(words.of(sample.caption) for sample in samples if sample.caption))
    least = RAREST * sum(map(bool, shown))
    ids = tuple(sorted(token for token, count in counts.items() if token not in plain and count >= least))
    if not ids:
        raise DataError(
            f"none of the {len(samples)} samples has a sentence and a mask of where that shows, which the recipe's "
            "evidence_weight asks for. Take a dataset with regions, such as scenes:train, or set it to 0"
        )
    rows = np.full((len(samples), grid * grid), NOTHING, dtype=np.int32)
    things: dict[frozenset[int], int] = {}
    wanted = [_masks(sample) for sample in samples]
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
            here = frozenset[int]().union(*(said[name] for name, mask in masks.items() if mask.flat[patch]))
            row[patch] = things.setdefault(here, len(things))
    told = np.array([[token in tokens for token in ids] for tokens in things], dtype=np.bool_)
    return SaidHere(ids, rows, told.reshape(len(things), len(ids)), np.zeros((len(samples), len(ids)), dtype=np.bool_))


def shown_by(files: Sequence[ImageFile], samples: Sequence[Sample], codec: Codec, model: FakeReasoning) -> SaidHere:
    """Return `evidence` of images, by those of `samples` that they are of; one patch of CLIP's is a place.

    Raises `UsageError` where an image is of no sample.
    """
    of = {sample.image.location: sample for sample in samples}
    if missing := [file.location for file in files if file.location not in of]:
        raise UsageError(
            f"the recipe weighs evidence, but of {len(missing)} images, such as {missing[0]}, no sample with masks is "
            "known; give the samples, or set evidence_weight to 0"
        )
    grid = model.config.image_size // int(model.config.clip["patch_size"])
    return evidence([of[file.location] for file in files], codec, grid)


def _masks(sample: Sample) -> dict[str, str] | None:
    """Return the masks of what a fake's sentences state; None where one has none, and for a photograph."""
    regions = sample.regions or {}
    stated = [name for name, text in (sample.attributes or {}).items() if text]
    if sample.label == "real" or any(name not in regions for name in stated):
        return None
    return {name: str(regions[name]) for name in stated}


def _read(paths: Mapping[str, str], *, grid: int) -> dict[str, NDArray[np.bool_]]:
    return {name: patches(Path(path), grid) for name, path in paths.items()}


class _Words(dict[str, tuple[int, ...]]):
    """The tokens of words, as they stand behind a space."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self._codec = codec

    def __missing__(self, word: str) -> tuple[int, ...]:
        self[word] = tuple(self._codec.encode(f" {word}"))
        return self[word]

    def of(self, text: str) -> frozenset[int]:
        """Return the tokens that are whole words of a text."""
        return frozenset(self[word][0] for word in re.findall(r"\w+", text) if len(self[word]) == 1)


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


class KeptEvidence(nn.Module):
    """`EvidenceHead` without weights of its own: what places say by the embeddings that a language model has."""

    def __init__(self, here: SaidHere) -> None:
        super().__init__()
        self.here, self.ids = here, torch.tensor(here.ids)
        self.known = known(here)

    def loss(self, model: FakeReasoning, tokens: Tensor, images: NDArray[np.intp]) -> Tensor:
        """Return `places_loss` of the image tokens (B, n, width) of these images (B,), the mean over words."""
        words = embeddings(model)[self.ids.to(tokens.device)]
        logits = said_here(tokens, words, self.known.to(tokens.device), self.here.rows.shape[1])
        return torch.stack(places_loss(logits, self.here, images)).sum() / len(self.ids)


def embeddings(model: FakeReasoning) -> Tensor:
    """Return what the language model has for each token, (vocabulary, width)."""
    return cast(Tensor, model.language.get_input_embeddings().weight)


def known(here: SaidHere) -> Tensor:
    """Return how often each word is true of a place, as logits (V,)."""
    shares = shares_here(here, np.arange(len(here.rows)))
    return torch.logit(torch.from_numpy(np.clip(shares, 1e-3, 1 - 1e-3)).float())


def said_here(tokens: Tensor, words: Tensor, known: Tensor, patches: int) -> Tensor:
    """Map image tokens (B, n, width) to logits (B, patches, V); of several tokens a patch, the mean counts."""
    said = known + (tokens @ words.T).float()
    return said.reshape(len(said), patches, -1, said.shape[2]).mean(dim=2)


class EvidenceHead(nn.Module):
    """From the image tokens of the language model to a logit a word, place by place.

        here = known + tokens · words    (B, patches, V)

    `words` begin as the language model's own embeddings of them and learn, with the fusion and the projectors of the
    towers that learn; `fold` puts them back.
    """

    def __init__(self, model: FakeReasoning, towers: Collection[Tower], here: SaidHere) -> None:
        super().__init__()
        found = [getattr(model, f"{tower}_projector") for tower in towers] + [model.fusion]
        self.parts = nn.ModuleList(part.float().requires_grad_() for part in found if part is not None)
        self.patches = here.rows.shape[1]
        self.ids = torch.tensor(here.ids)
        self.words = nn.Parameter(embeddings(model)[self.ids].detach().float().clone())
        self.known = nn.Parameter(known(here))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return `said_here` of image tokens (B, n, width)."""
        return said_here(tokens, self.words, self.known, self.patches)

    def fold(self, model: FakeReasoning) -> None:
        """Make the words that were learnt the model's embeddings of them."""
        with torch.no_grad():
            embeddings(model)[self.ids] = self.words.to(model.dtype)
