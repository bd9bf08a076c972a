"""CLIP's byte-pair encoding: texts to the numbers that its text tower reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import CLIPTokenizer

from fdr_bench.errors import WeightsError


class ClipWords:
    """Texts to token numbers, in lower case, with zeros after the end; a text that is too long is cut before its end.

    OpenAI's `clip.tokenize` refuses such a text. It also repairs broken Unicode and HTML entities first, of which a
    captioner writes none.
    """

    def __init__(self, vocabulary: Path, merges: Path) -> None:
        """Read vocab.json and merges.txt. Raises `WeightsError` where they are damaged or do not belong together."""
        try:
            numbers: dict[str, int] = json.loads(vocabulary.read_text(encoding="utf-8"))
            lines = merges.read_text(encoding="utf-8").splitlines()[1:]  # the first is the format's version
            pairs = [(left, right) for left, right in (line.split(" ") for line in lines if line)]
            wanted = ("<|startoftext|>", "<|endoftext|>", *(left + right for left, right in pairs))
            lacking = [token for token in wanted if token not in numbers]
        except (OSError, ValueError, TypeError) as error:
            raise WeightsError(f"{vocabulary} or {merges} is damaged ({error}); fetch both again") from error
        if lacking:
            raise WeightsError(
                f"{vocabulary} lacks {len(lacking)} tokens of {merges}, such as {lacking[0]!r}; expected vocab.json "
                "and merges.txt of one CLIP"
            )
        self.tokenizer = CLIPTokenizer(vocab=numbers, merges=pairs)

    def encode(self, texts: Sequence[str], length: int = 77) -> NDArray[np.int64]:
        """Return the texts' numbers, (N, length): start, tokens, end, zeros."""
        rows = np.zeros((len(texts), length), dtype=np.int64)
        for row, text in zip(rows, texts, strict=True):
            numbers = self.tokenizer(text, truncation=True, max_length=length)["input_ids"]
            row[: len(numbers)] = numbers
        return rows
