"""What is where in an image, as its data say: which words are true of which patches, and how well they are told."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from fakereasoning.concepts import WordsReader, as_taken
from fakereasoning.tokenizer import Codec
from fdr_bench.errors import DataError

NOTHING, UNKNOWN = -1, -2
MARGIN = 1.8
"""Within so many times its size a thing makes a patch neither its own nor an empty one."""


class Place(NamedTuple):
    """A thing in an image, about an upright ellipse; numbers are shares of the image's sides, from the upper left."""

    across: float
    """Of the middle."""
    down: float
    """Of the middle."""
    half_width: float
    half_height: float
    words: tuple[str, ...]
    """What is true of the thing; empty where that is not known."""


class Shown(NamedTuple):
    """What is known of what an image shows."""

    things: Sequence[Place]
    """The farthest first."""
    behind: tuple[str, ...] = ()
    """What is true of all that is no thing: of the ground, the sky, the light."""


class SaidHere(NamedTuple):
    """Which words are said of each place of each image."""

    ids: tuple[int, ...]
    """V of them: tokens, in order, or numbers of the `names`. None where no image has places."""
    rows: NDArray[np.int32]
    """(N, patches): a row of `told`, `NOTHING` where nothing stands there, or `UNKNOWN`."""
    told: NDArray[np.bool_]
    """(things, V)"""
    behind: NDArray[np.bool_]
    """(N, V), of the places where nothing stands"""
    names: tuple[str, ...] = ()
    """Of the V words, where they are not tokens."""

    def digest(self) -> str:
        """Return a sha256 over all of it."""
        parts = (np.array(self.ids), self.rows, self.told, self.behind)
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def covered(place: Place, grid: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which of grid × grid patches, row by row, lie on the thing, and which on it or near it, (grid²,) each.

    A patch counts by its middle; the one that holds the middle of the thing lies on it in any case.
    """
    middles = (np.arange(grid) + 0.5) / grid
    across = (middles[None, :] - place.across) / max(place.half_width, 1e-6)
    down = (middles[:, None] - place.down) / max(place.half_height, 1e-6)
    distance = np.hypot(across, down)
    inside = distance <= 1
    row, column = (min(max(int(share * grid), 0), grid - 1) for share in (place.down, place.across))
    inside[row, column] = True
    return inside.ravel(), ((distance <= MARGIN) | inside).ravel()


def words_here(shown: Mapping[str, Shown], locations: Sequence[str], codec: Codec | None, grid: int) -> SaidHere:
    """Return the words of what is in each of grid × grid patches of the images at `locations`.

    They are the codec's tokens; without one each word, or phrase, is one by itself, in the order of the alphabet. Of an
    image that is not in `shown` nothing is known. A thing without words is one of which nothing is known either.
    """
    spoken: dict[tuple[str, ...], set[int]] = {}
    numbers: dict[str, int] = {}

    def tokens_of(words: tuple[str, ...]) -> set[int]:
        if words not in spoken:
            spoken[words] = {token for word in words for token in tokens_of_word(word)}
        return spoken[words]

    def tokens_of_word(word: str) -> list[int]:
        return [numbers.setdefault(word, len(numbers))] if codec is None else codec.encode(f" {word}")

    rows = np.full((len(locations), grid * grid), UNKNOWN, dtype=np.int32)
    things: list[tuple[str, ...]] = []
    for row, location in zip(rows, locations, strict=True):
        if location not in shown:
            continue
        row[:] = NOTHING
        tokens_of(shown[location].behind)
        for place in shown[location].things:
            inside, near = covered(place, grid)
            row[near & (row == NOTHING)] = UNKNOWN
            row[inside] = len(things) if place.words else UNKNOWN
            if place.words:
                things.append(place.words)
                tokens_of(place.words)
    names = tuple(sorted(numbers))
    ids = tuple(numbers[name] for name in names) if codec is None else tuple(sorted(set().union(*spoken.values())))
    behind = [shown[location].behind if location in shown else () for location in locations]

    def told(given: Sequence[tuple[str, ...]]) -> NDArray[np.bool_]:
        listed = np.array([[token in tokens_of(words) for token in ids] for words in given], dtype=np.bool_)
        return listed.reshape(len(given), len(ids))

    return SaidHere(ids, rows, told(things), told(behind), names)


def shares_here(here: SaidHere, index: NDArray[np.intp]) -> NDArray[np.floating]:
    """Return the share of each word (V,) in what `places_loss` is taken of: half places of things, half others.

    0 where there is no such place.
    """
    rows = here.rows[index]
    told, behind = here.told[rows[rows >= 0]], here.behind[index][np.nonzero(rows == NOTHING)[0]]
    parts = [part.mean(axis=0) for part in (told, behind) if len(part)]
    return np.mean(parts, axis=0) if parts else np.zeros(len(here.ids))


def places_loss(logits: Tensor, here: SaidHere, index: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy, summed over the V words, of a place where a thing stands, and of one where none does.

    `logits` (B, N, V) are of the images at `index` (B,); 0 where there is no such place.
    """
    rows = torch.from_numpy(here.rows[index])
    on, off = rows >= 0, rows == NOTHING
    told = torch.from_numpy(here.told[rows[on].numpy()]).to(logits)
    things = binary_cross_entropy_with_logits(logits[on.to(logits.device)], told, reduction="sum") / max(1, len(told))
    empty = logits[off.to(logits.device)]
    behind = torch.from_numpy(here.behind[index]).to(logits)[:, None].expand_as(logits)[off.to(logits.device)]
    nothing = binary_cross_entropy_with_logits(empty, behind, reduction="sum") / max(1, len(empty))
    return things, nothing


class PlacesHead(nn.Module):
    """What stands where in an image, learnt by a reader of its tokens; dropped when the stage is over.

    The reader may be a model's own (`fakereasoning.concepts`). Another begins with what is known without looking.
    """

    def __init__(self, width: int, here: SaidHere, reader: WordsReader | None = None) -> None:
        """`width` of the tokens; `reader` of the words of `here`, in their order. Raises `DataError` without places."""
        super().__init__()
        if not here.ids:
            raise DataError(
                "nothing is known of what stands where, which the recipe's places_weight asks for. Take FDR-Scenes, "
                "such as scenes:train, or set it to 0"
            )
        self.here = here
        if reader is None:
            reader = WordsReader(width, len(here.ids), here.rows.shape[1])
            shares = shares_here(here, np.arange(len(here.rows)))
            reader.known.data = torch.logit(torch.from_numpy(np.clip(shares, 1e-3, 1 - 1e-3)).float())
        self.reader = reader

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (B, patches, V)."""
        logits: Tensor = self.reader(tokens)
        return logits

    def loss(self, tokens: Tensor, images: NDArray[np.intp], mirrored: Tensor | None = None) -> Tensor:
        """Return the cross-entropy of things' places plus that of the others, the mean over words.

        `mirrored` (B,) says which of the images were seen the other way round, as in `as_taken`.
        """
        said = self(tokens)
        said = said if mirrored is None else as_taken(said, self.here.names, mirrored)
        return torch.stack(places_loss(said, self.here, images)).sum() / len(self.here.ids)


def mean_precision(logits: NDArray[np.floating], told: NDArray[np.bool_]) -> float:
    """Return the mean over words of the average precision of logits (N, W) for who has them (N, W).

    Words that all or none have are out; NaN where there are no others.
    """
    from sklearn.metrics import average_precision_score

    varied = np.flatnonzero(told.any(axis=0) & ~told.all(axis=0))
    if not len(varied):
        return float("nan")
    return float(np.mean([average_precision_score(told[:, w], logits[:, w]) for w in varied]))
