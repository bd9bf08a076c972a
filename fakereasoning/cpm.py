"""The Classification Probability Mapper: from the logits of one word to a probability, and its loss.

FakeReasoning, arXiv 2503.21210; the semantics "official" are those of PRIS-CV/FakeReasoning at c1aec51. After the words
"<CONCLUSION> This image is" the model's logits of "real" and "fake" alone are compared:

    z = [logits[k, real], logits[k, fake]]      k: the position whose logits predict the word after the pattern
    loss = cross_entropy(z / temperature, y)    y: 0 real, 1 fake        P(fake) = softmax(z)[1]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from fakereasoning.prompts import CONCLUSION_START
from fdr_bench.errors import UsageError, WeightsError

Semantics = Literal["labels", "official"]
TEMPERATURE = 10.0


class Encoder(Protocol):
    """What turns text into ids, no bos or eos added."""

    def encode(self, text: str) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class CPMTokens:
    """The ids of the pattern, and of the two words that may follow it.

    Of several ids for one word each stands for the word, and the logit is the logsumexp of theirs.
    """

    pattern: tuple[int, ...]
    real: tuple[int, ...]
    fake: tuple[int, ...]

    def __post_init__(self) -> None:
        if not (self.pattern and self.real and self.fake) or set(self.real) & set(self.fake):
            raise UsageError(
                f"{self} cannot tell real from fake: expected a pattern, and ids of each word that the other lacks"
            )

    @classmethod
    def of(cls, codec: Encoder) -> CPMTokens:
        """Return the tokens of an encoder: what it makes of the pattern whatever stands before it, and what differs.

        Raises `WeightsError` where it has no one pattern, or gives "real" and "fake" one first token.
        """
        patterns, words = [], set()
        # Before the tag there may be a newline, a space, a letter or nothing; its first token may differ with that.
        for before in ("", "\n", "a ", "a", "a\n"):
            real, fake = (codec.encode(f"{before}{CONCLUSION_START} {word}.") for word in ("real", "fake"))
            common = next((i for i, (a, b) in enumerate(zip(real, fake, strict=False)) if a != b), None)
            if common is None:
                raise WeightsError("this tokenizer gives the same tokens for 'real' and 'fake': it cannot serve CPM")
            patterns.append(real[:common])
            words.add((real[common], fake[common]))
        length = 0
        while length < min(map(len, patterns)) and len({ids[-1 - length] for ids in patterns}) == 1:
            length += 1
        if length == 0 or len(words) != 1:
            raise WeightsError(
                f"this tokenizer has no fixed tokens for '{CONCLUSION_START}' and the word after it: expected the same "
                "ids whatever stands before the tag. Train it with fakereasoning.tokenizer.train_tokenizer"
            )
        ((real_id, fake_id),) = words
        return cls(tuple(patterns[0][len(patterns[0]) - length :]), (real_id,), (fake_id,))

    def position(self, ids: Sequence[int]) -> int | None:
        """Return the index of the token after the first pattern in `ids`; None without one.

        It may equal `len(ids)`: the word after the pattern is still to come. The logits that predict it are those at
        the index minus one, or those of generation step number `index` where `ids` are the generated ones.
        """
        width = len(self.pattern)
        for start in range(len(ids) - width + 1):
            if tuple(ids[start : start + width]) == self.pattern:
                return start + width
        return None


OFFICIAL_CPM = CPMTokens((6007, 6154, 3308, 2725, 29958, 910, 1967, 338), (1855,), (25713,))
"""Ids of the Llama-2 tokenizer; the tag's first character is left out, its token varies with what stands before."""


class CPMLoss(NamedTuple):
    """The loss (a scalar, float32) and which rows (B,) had the pattern and so took part."""

    loss: Tensor
    found: Tensor


def cpm_loss(
    logits: Tensor,  # (B, L, V)
    labels: Tensor,  # (B, L), those of the expanded sequence, not shifted
    fake: Tensor,  # (B,): 1 or True fake
    tokens: CPMTokens,
    *,
    temperature: float = TEMPERATURE,
    semantics: Semantics = "labels",
) -> CPMLoss:
    """Return the loss of the word after the pattern.

    "labels": the pattern is looked for in the labels (the last one counts, conclusions ending an answer), the loss is
    the mean over the rows that have it, so every row that is not truncated gives a gradient. Rows without it take no
    part; without any the loss is 0 and its gradient too.

    "official": as the released code has it: the pattern is looked for in the argmax of the logits (the first counts),
    the sum is divided by the number of matching rows plus 1e-6, rows without a match have a weight of 0 at position 0
    (where infinite logits still spoil the sum), and a match that ends the sequence raises `IndexError`.
    """
    if semantics == "official":
        return _official_loss(logits, fake, tokens, temperature)
    width, length = len(tokens.pattern), labels.shape[1]
    if length < width:
        return CPMLoss(logits[:0].sum(dtype=torch.float32), torch.zeros_like(fake, dtype=torch.bool))
    matches = _matches(labels, tokens)  # (B, L - width + 1)
    found = matches.any(dim=1)
    last = matches.shape[1] - 1 - matches.flip(1).int().argmax(dim=1)
    rows = found.nonzero().squeeze(1)
    if len(rows) == 0:
        return CPMLoss(logits[:0].sum(dtype=torch.float32), found)
    # Labels stand one place behind the logits that predict them: the last token of the pattern predicts the word.
    at = logits[rows, last[rows] + width - 1]  # (rows, V)
    two = two_logits(at, tokens) / temperature
    return CPMLoss(functional.cross_entropy(two, fake[rows].long()), found)


def probability(logits: Tensor, tokens: CPMTokens) -> Tensor:
    """Return P(fake) (...,) in [0, 1], float32, from raw logits (..., V) at the position that predicts the word."""
    return two_logits(logits, tokens).softmax(dim=-1)[..., 1]


def two_logits(logits: Tensor, tokens: CPMTokens) -> Tensor:
    """Return the logits of real and fake, (..., 2), float32."""
    columns = []
    for ids in (tokens.real, tokens.fake):
        chosen = logits[..., list(ids)].float()
        columns.append(chosen[..., 0] if len(ids) == 1 else chosen.logsumexp(dim=-1))
    return torch.stack(columns, dim=-1)


def _matches(ids: Tensor, tokens: CPMTokens) -> Tensor:
    """Mark where a window of ids (B, L) equals the pattern, by its start: (B, L - width + 1)."""
    pattern = torch.tensor(tokens.pattern, device=ids.device)
    return (ids.unfold(1, len(tokens.pattern), 1) == pattern).all(dim=-1)


def _official_loss(logits: Tensor, fake: Tensor, tokens: CPMTokens, temperature: float) -> CPMLoss:
    rows, length, _ = logits.shape
    width = len(tokens.pattern)
    found = torch.zeros(rows, dtype=torch.bool, device=logits.device)
    index = torch.zeros(rows, dtype=torch.long, device=logits.device)
    if length >= width:
        matches = _matches(logits.detach().argmax(dim=-1), tokens)
        found = matches.any(dim=1)
        index = torch.where(found, matches.int().argmax(dim=1) + width, index)
    if bool((index >= length).any()):
        # On a GPU an index out of range is an assertion of the device that ends the process.
        raise IndexError(f"index {int(index.max())} is out of bounds for dimension 1 with size {length}")
    # The released code stays in the logits' own precision, which moves a bfloat16 loss in its fourth digit.
    two = two_logits(logits[torch.arange(rows, device=logits.device), index], tokens).to(logits.dtype) / temperature
    each = functional.cross_entropy(two, fake.long(), reduction="none")
    weight = found.float()
    return CPMLoss((each * weight).sum() / (weight.sum() + 1e-6), found)
