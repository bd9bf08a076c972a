"""BLEU-1, ROUGE-L and CSS of reasoning texts as FakeReasoning's evaluation computes them, and its reading of answers.

FakeReasoning: Towards Generalizable Forgery Detection and Reasoning (arXiv 2503.21210, 2025); PRIS-CV/FakeReasoning at
c1aec51, LLaVA/forgery_eval/eval.py. It calls nltk's sentence_bleu (Papineni et al., ACL 2002) and rouge-score's rougeL
(Lin, 2004) pair by pair; the same numbers come out here of one count of words and one longest common subsequence in
C++ a pair, every word being stemmed once.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fdr_bench.metrics.sentences import SentenceEncoder

Floats = NDArray[np.float64]
CONCLUSION = re.compile(r"<CONCLUSION>(.*?)</CONCLUSION>", re.DOTALL)
REASONING = re.compile(r"<REASONING>(.*?)</REASONING>", re.DOTALL)
WORD = re.compile(r"[a-z0-9]+")
SHORT = 3  # letters of the longest word that is not stemmed
REMEMBERED = 1 << 16  # words whose stems are kept


class OfficialAnswer(NamedTuple):
    """What the official evaluation reads from a generated text."""

    fake: bool
    reasoning: str


def official_answer(text: str) -> OfficialAnswer | None:
    """Read a generated text as the official evaluation does; None where it gives the sample up (a "failure").

    The first CONCLUSION must hold "This image is fake." or, failing that, "This image is real.", letter by letter; the
    first REASONING is the text that is measured.
    """
    conclusion, reasoning = CONCLUSION.search(text.strip()), REASONING.search(text.strip())
    if conclusion is None or reasoning is None:
        return None
    for sentence, fake in (("This image is fake.", True), ("This image is real.", False)):
        if sentence in conclusion.group(1):
            return OfficialAnswer(fake, reasoning.group(1).strip())
    return None


def bleu1_scores(references: Sequence[str], hypotheses: Sequence[str]) -> Floats:
    """Return BLEU-1 of each of N pairs, (N,) in [0, 1].

    The share of the hypothesis's words that the reference has (each as often as there) times the brevity penalty
    exp(1 - reference words / hypothesis words) where it is no longer; words are what whitespace separates, case kept.
    0 where no word is shared or either is empty. Raises `ValueError` where the numbers of texts differ.
    """
    words = lru_cache(maxsize=4096)(_word_counts)
    return np.array([_bleu1(words(r), words(h)) for r, h in zip(references, hypotheses, strict=True)], dtype=np.float64)


def rouge_l_scores(references: Sequence[str], hypotheses: Sequence[str]) -> Floats:
    """Return ROUGE-L's F measure of each of N pairs, (N,) in [0, 1].

    Words are runs of a-z and 0-9 after lower-casing, Porter-stemmed where longer than three characters; precision and
    recall are the length of the longest common subsequence over that of the hypothesis and the reference. 0 where
    either has no word. Raises `ValueError` where the numbers of texts differ.
    """
    from rapidfuzz.distance import LCSseq

    words = lru_cache(maxsize=4096)(_stemmed_words)
    return np.array(
        [_rouge_l(words(r), words(h), LCSseq.similarity) for r, h in zip(references, hypotheses, strict=True)],
        dtype=np.float64,
    )


def css_scores(references: Sequence[str], hypotheses: Sequence[str], encoder: SentenceEncoder) -> Floats:
    """Return the cosine of the two texts' sentence embeddings for each of N pairs, (N,) in [-1, 1].

    0 where either is blank: such a text has no meaning to compare. Raises `ValueError` where the numbers differ.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references for {len(hypotheses)} texts")
    vectors = encoder.encode([*references, *hypotheses])
    return cosines(references, hypotheses, vectors[: len(references)], vectors[len(references) :])


def cosines(
    references: Sequence[str],
    hypotheses: Sequence[str],
    of_references: NDArray[np.float32],
    of_hypotheses: NDArray[np.float32],
) -> Floats:
    """Return the inner products of N pairs of unit vectors, each (N, width); 0 where either text is blank."""
    blank = [not r.strip() or not h.strip() for r, h in zip(references, hypotheses, strict=True)]
    products = np.einsum("nw,nw->n", of_references.astype(np.float64), of_hypotheses.astype(np.float64))
    return np.where(np.array(blank, dtype=np.bool_), 0.0, products)


class _WordCounts(NamedTuple):
    counts: Counter[str]
    total: int


def _word_counts(text: str) -> _WordCounts:
    words = text.split()
    return _WordCounts(Counter(words), len(words))


def _bleu1(reference: _WordCounts, hypothesis: _WordCounts) -> float:
    known = reference.counts
    shared = sum(min(count, known[word]) for word, count in hypothesis.counts.items() if word in known)
    if not shared:
        return 0.0
    penalty = 1.0 if hypothesis.total > reference.total else math.exp(1 - reference.total / hypothesis.total)
    return penalty * shared / hypothesis.total


def _rouge_l(reference: Sequence[str], hypothesis: Sequence[str], common: Callable[..., int]) -> float:
    if not reference or not hypothesis:
        return 0.0
    longest = common(reference, hypothesis)
    # 2PR / (P + R) with P and R as shares of `longest`.
    return 2 * longest / (len(reference) + len(hypothesis))


def _stemmed_words(text: str) -> list[str]:
    stems = _stems()
    return [stems[word] for word in WORD.findall(text.lower())]


class _Stems(dict[str, str]):
    """Stems by word, found at first sight; forgotten together when there are too many of them."""

    def __init__(self) -> None:
        from nltk.stem.porter import PorterStemmer  # type: ignore[import-untyped]

        self._stem = PorterStemmer().stem

    def __missing__(self, word: str) -> str:
        if len(self) >= REMEMBERED:
            self.clear()
        self[word] = stem = word if len(word) <= SHORT else str(self._stem(word))
        return stem


@lru_cache(maxsize=1)
def _stems() -> _Stems:
    return _Stems()
