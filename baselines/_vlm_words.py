"""Which tokens stand for the two words of a verdict, and where in an answer the verdict's word is.

P(fake) is read from the logits of the first token of the verdict: all tokens of the vocabulary that are one of the
words in any spelling ("fake", "Fake", " FAKE") count together, as probabilities add up.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import LogitsProcessor

from fdr_bench.types import Label


class WordTokens(NamedTuple):
    """The token ids of the two words; no token stands for both."""

    real: tuple[int, ...]
    fake: tuple[int, ...]


def word_tokens(tokenizer: Any, words: Mapping[Label, str]) -> WordTokens | None:
    """Return the tokens of each class's word in every spelling; None where the vocabulary cannot tell them apart.

    They are the tokens that are a whole word but for case and space around it. Where a vocabulary has a word in no such
    token, the first tokens of its spellings count, unless the other word begins with them too.
    """
    whole = {label: _whole(tokenizer, word) for label, word in words.items()}
    begun = {label: _begun(tokenizer, word) for label, word in words.items()}
    real = whole["real"] or begun["real"] - begun["fake"] - whole["fake"]
    fake = whole["fake"] or begun["fake"] - begun["real"] - whole["real"]
    return WordTokens(tuple(sorted(real)), tuple(sorted(fake))) if real and fake else None


def _whole(tokenizer: Any, word: str) -> set[int]:
    near = {token: index for token, index in tokenizer.get_vocab().items() if word in token.lower()}
    return {
        index
        for token, index in near.items()
        if len(token) <= len(word) + 4 and tokenizer.convert_tokens_to_string([token]).strip().lower() == word
    }


def _begun(tokenizer: Any, word: str) -> set[int]:
    found = set()
    for spelling in (word, word.capitalize(), word.upper()):
        for text in (spelling, " " + spelling):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            told = [index for index in ids if tokenizer.decode([index]).strip()]  # a lone space begins both
            found |= set(told[:1])
    return found


class Watch(LogitsProcessor):
    """Keeps at every step of a generation the logits of the two words, (B, 2): real, fake. It changes nothing."""

    def __init__(self, tokens: WordTokens) -> None:
        self.tokens = tokens
        self.steps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Take note of the next token's logits (B, V) of all rows."""
        both = [scores[:, list(ids)].float().logsumexp(dim=1) for ids in self.tokens]
        self.steps.append(torch.stack(both, dim=1).cpu())
        return scores


class Draw(LogitsProcessor):
    """Turns the likeliest token into a drawn one: a row's draws follow from its key, whatever batch it stands in.

    The largest of logits plus Gumbel noise is distributed as the softmax (Gumbel, 1954).
    """

    def __init__(self, temperature: float, seeds: Sequence[int]) -> None:
        self.temperature = temperature
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the logits (B, V) over the temperature, plus noise."""
        drawn = torch.stack([torch.rand(scores.shape[1], generator=each) for each in self.generators])
        noise = -torch.log(-torch.log(drawn.clamp(1e-20, 1 - 1e-7)))
        return scores.float() / self.temperature + noise.to(scores.device)


def probability(logits: tuple[float, float]) -> float | None:
    """Return P(fake), the softmax of the logits of real and fake; None where they are not numbers."""
    margin = logits[1] - logits[0]
    if math.isnan(margin):
        return None
    return 1 / (1 + math.exp(-margin)) if margin >= 0 else math.exp(margin) / (1 + math.exp(margin))


def step_of_verdict(
    ids: Sequence[int], text: str, lead: str, words: Mapping[Label, str], decode: Callable[[Sequence[int]], str]
) -> int | None:
    """Return the place in `ids` of the token that the verdict's word begins with; None where the text has none.

    It is the last place where one of the words follows `lead`, letters' case and marks of emphasis aside.
    """
    pattern = re.compile(
        rf"{re.escape(lead)}[\s*_'\"“‘:]*({'|'.join(map(re.escape, words.values()))})\b", re.IGNORECASE
    )
    matches = list(pattern.finditer(text))
    if not matches:
        return None
    start = matches[-1].start(1)
    low, high = 0, len(ids)  # decode(ids[:low]) ends at or before the word's first letter, decode(ids[:high]) behind it
    while high - low > 1:
        middle = (low + high) // 2
        if len(decode(ids[:middle])) <= start:
            low = middle
        else:
            high = middle
    return low
