"""The single samples of a comparison, as a page shows them: which ones, what both models say, how many are which."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fdr_bench.answered_texts import read_references
from fdr_bench.compare.comparison import Compared
from fdr_bench.compare.paired import right_of
from fdr_bench.compare.report import comparison_tables
from fdr_bench.scored_slices import View
from fdr_bench.terminal import Table

MOST = 5000
"""Samples of a set that are shown: the flipped ones first, those that neither model has right, then others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPair:
    """Two models on the shown samples of a set, first then second.

    `calls` have a letter a sample: f(ake), r(eal), - (no answer) or . (not reached); `counts` are of all `n` samples.
    `texts` are (reference, first's, second's) by sample; empty where neither model writes any.
    """

    models: tuple[str, str]
    n: int
    counts: dict[str, int]
    calls: tuple[str, str]
    scores: tuple[list[float | None], list[float | None]]
    texts: Sequence[tuple[str, str, str]]
    tables: Sequence[Table]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSet:
    """The shown samples of a set that two runs have in common; `truth` has a letter each: f(ake) or r(eal).

    `generator` numbers `generators`, -1 a shared real; `images` are the digests of the bytes (None: unknown), of which
    the `thumbnails` folders may have pictures.
    """

    dataset: str
    ids: Sequence[str]
    truth: str
    generators: Sequence[str]
    generator: Sequence[int]
    images: Sequence[str | None]
    thumbnails: tuple[Path, ...]
    pairs: tuple[ShownPair, ...]


def shown_sets(found: Sequence[Compared], *, most: int = MOST) -> list[ShownSet]:
    """Return what a page shows of a comparison, dataset by dataset; of a set with more than `most` samples as many."""
    sets = []
    for dataset in dict.fromkeys(each.dataset for each in found):
        of_set = [each for each in found if each.dataset == dataset]
        first, chosen, references = of_set[0], shown_samples(of_set, most), _references(of_set)
        this = first.views[0].this
        shown = ShownSet(
            dataset=dataset,
            ids=[first.ids[n] for n in chosen.tolist()],
            truth="".join("f" if fake else "r" for fake in this.fake[chosen].tolist()),
            generators=this.generators,
            generator=this.generator[chosen].tolist(),
            images=first.images.take(chosen).to_pylist(),
            thumbnails=tuple(run / "datasets" / dataset / "thumbnails" for run in first.runs),
            pairs=tuple(_pair(each, chosen, references) for each in of_set),
        )
        sets.append(shown)
    return sets


def shown_samples(found: Sequence[Compared], most: int) -> NDArray[np.int64]:
    """Return which of a set's N samples are shown, ascending: all, or the `most` that tell most.

    Before others come those that flipped in more of the comparisons, then those that neither model has right in more
    of them; equal ones by the sha256 of their ids, so that no name is favoured.
    """
    count = len(found[0].ids)
    if count <= most:
        return np.arange(count)
    flips, wrong = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    for each in found:
        first, second = (right_of(view) for view in each.views)
        flips += (first != second) & _reached(each)
        wrong += ~first & ~second
    drawn = np.array([hashlib.sha256(id.encode()).hexdigest() for id in found[0].ids])
    return np.sort(np.lexsort((drawn, -wrong, -flips))[:most])


def _pair(each: Compared, chosen: NDArray[np.int64], references: Sequence[str] | None) -> ShownPair:
    first, second = (right_of(view) for view in each.views)
    reached = _reached(each)
    counts = {
        "worse": first & ~second & reached, "better": ~first & second & reached,
        "wrong": ~first & ~second & reached, "right": first & second, "unreached": ~reached,
    }  # fmt: skip
    one, other = each.views
    return ShownPair(
        models=(each.first, each.second),
        n=each.n,
        counts={name: int(which.sum()) for name, which in counts.items()},
        calls=(_calls(one, chosen), _calls(other, chosen)),
        scores=(_scores(one, chosen), _scores(other, chosen)),
        texts=tuple(_texts(each, chosen, references)) if _writes(each) else (),
        tables=comparison_tables(each, 0),
    )


def _reached(each: Compared) -> NDArray[np.bool_]:
    return each.views[0].reached & each.views[1].reached


def _calls(view: View, chosen: NDArray[np.int64]) -> str:
    call = np.where(view.answered, np.where(view.called, "f", "r"), np.where(view.reached, "-", "."))
    return "".join(call[chosen].tolist())


def _scores(view: View, chosen: NDArray[np.int64]) -> list[float | None]:
    return [None if np.isnan(score) else round(score, 4) for score in view.score[chosen].tolist()]


def _writes(each: Compared) -> bool:
    return any(view.this.answers[view.model].reasoning is not None for view in each.views)


def _references(found: Iterable[Compared]) -> Sequence[str] | None:
    """Return the references of a set's samples, None where no model writes anything to set beside them."""
    writing = next((each for each in found if _writes(each)), None)
    if writing is None:
        return None
    this = writing.views[0].this
    return read_references(this.samples, this.order.tolist()).reasoning


def _texts(
    each: Compared, chosen: NDArray[np.int64], references: Sequence[str] | None
) -> Iterator[tuple[str, str, str]]:
    written = []
    for view in each.views:
        words = view.this.answers[view.model].reasoning
        written.append([None] * len(chosen) if words is None else words.take(chosen).to_pylist())
    for n, first, second in zip(chosen.tolist(), *written, strict=True):
        yield references[n] if references else "", first or "", second or ""
