"""What the samples of a dataset state of their attributes: the texts that FACL holds images against."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdr_bench.errors import DataError
from fdr_bench.metrics.sentences import SentenceEncoder
from fdr_bench.store import write_atomically
from fdr_bench.types import Sample

Floats = NDArray[np.float32]


class Statements(NamedTuple):
    """The classes and attribute sentences of N images; A attributes, T distinct sentences."""

    fake: NDArray[np.bool_]
    """(N,)"""
    attributes: tuple[str, ...]
    """The attributes' names, sorted, A of them."""
    texts: tuple[str, ...]
    """The distinct sentences, T of them."""
    sentence: NDArray[np.intp]
    """(N, A), the place of the image's sentence in `texts`; -1 where it states nothing of the attribute."""

    @property
    def stated(self) -> NDArray[np.bool_]:
        """Which attributes each image states, (N, A)."""
        return self.sentence >= 0

    def digest(self) -> str:
        """Return a sha256 over all of it."""
        listed = [self.fake.tolist(), self.attributes, self.texts, self.sentence.tolist()]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()

    def forged(self, images: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which attributes are of fakes, (A,): more than half of those of `images` that state it are fake."""
        stated = self.stated[images]
        forged: NDArray[np.bool_] = stated[self.fake[images]].sum(axis=0) * 2 > stated.sum(axis=0)
        return forged


def statements(samples: Sequence[Sample]) -> Statements:
    """Return what samples state. A sample without sentences is kept: its class is known.

    Raises `DataError` where no sample has a sentence, or a class is missing, so that there is nothing to compare.
    """
    names = sorted({name for sample in samples for name, text in (sample.attributes or {}).items() if text})
    if not names:
        raise DataError(
            f"none of the {len(samples)} samples has a sentence about an attribute; FACL needs a dataset with "
            "attribute annotations, such as scenes:train"
        )
    fake = np.array([sample.label == "fake" for sample in samples], dtype=np.bool_)
    if fake.all() or not fake.any():
        raise DataError(f"all {len(fake)} samples are {'fake' if fake.all() else 'real'}; FACL compares both classes")
    place: dict[str, int] = {}
    column = {name: number for number, name in enumerate(names)}
    sentence = np.full((len(samples), len(names)), -1, dtype=np.intp)
    for row, sample in enumerate(samples):
        for name, text in (sample.attributes or {}).items():
            if text:
                sentence[row, column[name]] = place.setdefault(text, len(place))
    return Statements(fake, tuple(names), tuple(place), sentence)


def text_vectors(stated: Statements, learnt: NDArray[np.intp], encoder: SentenceEncoder, cache: Path) -> Floats:
    """Return the sentences as unit vectors (T, width), taken from their mean over the images `learnt`.

    All sentences about pictures lie close together; without their mean, what tells them apart is not drowned by what
    they share. The encoder's vectors are kept in the folder `cache`, where a later call finds them.
    """
    key = hashlib.sha256(json.dumps([encoder.name, encoder.width, stated.texts]).encode()).hexdigest()
    path = cache / f"sentences-{key[:16]}.npy"
    if path.is_file():
        vectors: Floats = np.load(path)
    else:
        vectors = encoder.encode(stated.texts)
        buffer = io.BytesIO()
        np.save(buffer, vectors)
        write_atomically(path, buffer.getvalue())
    said = stated.sentence[learnt]
    centred = vectors - vectors[said[said >= 0]].mean(axis=0, dtype=np.float64).astype(np.float32)
    return _unit(centred)


def prototypes(stated: Statements, learnt: NDArray[np.intp], vectors: Floats) -> Floats:
    """Return the mean direction of each attribute's sentences over the images `learnt`, (A, width); 0 without any."""
    means = np.zeros((len(stated.attributes), vectors.shape[1]), dtype=np.float32)
    for number, said in enumerate(stated.sentence[learnt].T):
        if (said >= 0).any():
            means[number] = vectors[said[said >= 0]].mean(axis=0)
    return _unit(means)


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit
