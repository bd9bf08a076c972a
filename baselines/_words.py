"""A vocabulary of whole words, for a CLIP that reads the captions of FDR-Scenes only."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PAD, UNKNOWN, START, END = range(4)
SPECIAL = ("<pad>", "<unknown>", "<start>", "<end>")
FILE = "vocabulary.json"


class Words:
    """Words to numbers. The first four numbers are the padding, an unknown word, and a text's start and end."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self.vocabulary = tuple(vocabulary)
        self._number = {word: number for number, word in enumerate(self.vocabulary)}

    @classmethod
    def of(cls, texts: Iterable[str]) -> Words:
        """Return the words that occur in the texts, the frequent ones first."""
        counted = Counter(word for text in texts for word in split(text))
        return cls([*SPECIAL, *sorted(counted, key=lambda word: (-counted[word], word))])

    @classmethod
    def read(cls, folder: Path) -> Words:
        """Read what `write` wrote."""
        return cls(json.loads((folder / FILE).read_text(encoding="utf-8")))

    def as_json(self) -> bytes:
        """Return the content of the vocabulary file."""
        return (json.dumps(self.vocabulary, indent=0, ensure_ascii=False) + "\n").encode()

    def encode(self, texts: Sequence[str], length: int) -> NDArray[np.int64]:
        """Return the texts as numbers, (N, length): start, words, end, padding; long texts are cut before their end."""
        rows = np.full((len(texts), length), PAD, dtype=np.int64)
        for row, text in zip(rows, texts, strict=True):
            numbers = [self._number.get(word, UNKNOWN) for word in split(text)][: length - 2]
            row[: len(numbers) + 2] = [START, *numbers, END]
        return rows


def split(text: str) -> list[str]:
    """Return the words and numbers of a text in lower case, without punctuation."""
    return re.findall(r"[a-z]+|\d+", text.lower())
