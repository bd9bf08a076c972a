"""A codec whose texts are numbers, "5 6 7" being the tokens 5, 6 and 7: for tests of what is done with tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fakereasoning.cpm import CPMTokens
from fakereasoning.generation import Generated, generate
from fakereasoning.model import FakeReasoning
from fakereasoning.prompts import CONCLUSION_START, IMAGE_TOKEN

# Prompts of 7 to 12 positions with the image's four; a row of the tiny model has 40.
QUESTIONS = ("5 6", "7 8 9 10 11", "12 13 14,15 16", ",4", "17,18 19 20 21 22")
TOKENS = 24
VOCABULARY = 50


class Numbers:
    """Prompts are bos, the numbers before a comma, the image, and those behind it."""

    pad, bos = 0, 1

    def __init__(
        self,
        vocabulary: int,
        *,
        eos: int = -1,
        pattern: tuple[int, ...] = (46, 47, 48),
        real: int = 44,
        fake: int = 45,
        newline: int = 43,
    ) -> None:
        self.vocabulary, self.eos, self.newline = vocabulary, eos, newline
        self.cpm = CPMTokens(pattern, (real,), (fake,))

    def encode(self, text: str) -> list[int]:
        """Return the numbers of a text, which may also be the start of the conclusion with "real" behind it."""
        if CONCLUSION_START not in text:
            return [int(number) for number in text.split()]
        before = [self.newline] if text.startswith("\n") else []
        return [*before, *self.cpm.pattern, *([*self.cpm.real, 42] if "real" in text else [])]

    def prompt(self, question: str | None = None) -> list[int]:
        """Return the prompt of a question, "2 3" where there is none."""
        before, _, after = ("," + (question or "2 3") if "," not in (question or "") else str(question)).partition(",")
        return [self.bos, *self.encode(before), IMAGE_TOKEN, *self.encode(after)]

    def answer(self, text: str) -> list[int]:
        """Return the numbers of a text with eos behind."""
        return [*self.encode(text), self.eos]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the numbers."""
        return " ".join(map(str, ids))


def answers(model: FakeReasoning, codec: Numbers, pixels: Tensor, **options) -> list[Generated]:
    """Return the answers of the tiny model to `QUESTIONS`."""
    given = {"questions": QUESTIONS, "max_new_tokens": TOKENS} | options
    return generate(model, codec, pixels=pixels, **given)


@torch.no_grad()
def next_logits(model: FakeReasoning, codec: Numbers, question: str, pixels: Tensor, ids: Sequence[int]) -> Tensor:
    """Return the logits (V,) behind a prompt and ids, by a pass over the whole row alone: no cache, no padding."""
    row = torch.tensor([[*codec.prompt(question), *ids]])
    return model(row, pixels=pixels[None]).logits[0, -1]
