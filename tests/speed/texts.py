"""Time BLEU-1 and ROUGE-L of reasoning texts against the libraries that the official evaluation calls pair by pair."""

from __future__ import annotations

import time
import warnings
from typing import NamedTuple

import numpy as np

from fdr_bench.metrics.reasoning import bleu1_scores, rouge_l_scores

LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Speed(NamedTuple):
    """Seconds of processor time a pair."""

    ours: float
    libraries: float

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.libraries / self.ours


def pairs(count: int, words: int = 100, seed: int = 0) -> tuple[list[str], list[str]]:
    """Return texts of `words` words out of 3,000; about half of each second text's words stand where the first's do."""
    random = np.random.default_rng(seed)
    letters = "".join(random.choice(list(LETTERS), 9 * 3000))
    known = [letters[9 * n : 9 * n + 2 + n % 8] for n in range(3000)]
    first = random.integers(0, len(known), (count, words))
    second = np.where(random.random((count, words)) < 0.5, first, random.integers(0, len(known), (count, words)))
    references, hypotheses = ([" ".join(known[n] for n in row) for row in texts.tolist()] for texts in (first, second))
    return references, hypotheses


def by_libraries(reference: str, hypothesis: str) -> tuple[float, float]:
    """Return BLEU-1 and ROUGE-L of one pair as nltk and rouge-score give them, called as the official code does."""
    from nltk.translate.bleu_score import sentence_bleu
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nltk warns of missing longer n-grams, which have no weight here
        bleu = sentence_bleu([reference.split()], hypothesis.split(), weights=(1, 0, 0, 0))
    return float(bleu), float(scorer.score(reference, hypothesis)["rougeL"].fmeasure)


def measure(count: int = 10_000, compared: int = 200) -> Speed:
    """Time `count` pairs of 100 words here and `compared` of them by the libraries, imports apart."""
    references, hypotheses = pairs(count)
    by_libraries("warm up", "warming up")
    rouge_l_scores(["warm up"], ["warming up"])
    begun = time.process_time()
    bleu1_scores(references, hypotheses)
    rouge_l_scores(references, hypotheses)
    ours = (time.process_time() - begun) / count
    begun = time.process_time()
    for reference, hypothesis in zip(references[:compared], hypotheses[:compared], strict=True):
        by_libraries(reference, hypothesis)
    return Speed(ours, (time.process_time() - begun) / compared)


if __name__ == "__main__":
    print(measure())
