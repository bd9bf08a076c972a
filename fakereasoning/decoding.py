"""Continue a batch of prompts token by token, so that each row gets what it would get alone.

Rows are padded on the left and count positions from their first real token. What a batch still changes are the last
bits of a logit, which decide where two tokens are nearly as good: such a step is computed anew from the row alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from fakereasoning.cpm import CPMTokens, two_logits
from fakereasoning.kv_cache import Scratch, roomy_cache
from fakereasoning.model import FakeReasoning
from fdr_bench.errors import UsageError

Stop = Literal["eos", "length"]

CLOSE = 1e-4
"""Two tokens are close where their logits differ by less than this, relative to the larger one (or to 1).

Batched float32 logits differ from those of a row alone by a tenth of it or less.
"""
READ_AT_ONCE = 32
"""Prompts that are read together: with more, a small model spends its time on fresh memory."""
SPARSE = 0.9
"""Finished rows leave the batch once no more than this share of it is unfinished: leaving copies what is cached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a token is chosen: the likeliest at temperature 0, else drawn from the `top_k` likeliest (0: from all).

    What is drawn follows from the seed, the row's key and the step, not from the row's place in a batch.
    """

    temperature: float = 0.0
    top_k: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf") or self.top_k < 0:
            raise UsageError(
                f"temperature {self.temperature} and top_k {self.top_k}: expected finite numbers of at least 0"
            )


@dataclass(slots=True)
class Written:
    """What has been written behind one prompt: token ids without the one that ends a text."""

    ids: list[int] = field(default_factory=list)
    k_logits: tuple[float, float] | None = None
    """The raw logits of "real" and "fake" behind the first pattern of the conclusion; None where it has not come."""
    stopped: Stop | None = None


class Step(NamedTuple):
    """One step of a batch, for whoever watches: row numbers, their logits (R, V) in float32, and the tokens chosen."""

    rows: tuple[int, ...]
    logits: Tensor
    ids: tuple[int, ...]


class Read(NamedTuple):
    """Prompts as the language model has read them."""

    hidden: Tensor
    """(B, width) at each row's last token."""
    mask: Tensor | None
    """(B, L) bool, False in padding; None where no row is padded."""


def read(model: FakeReasoning, rows: Sequence[Sequence[int]], image_tokens: Tensor, cache: Cache | None = None) -> Read:
    """Read rows of ids, each with one image, whose tokens (B, n, width) are given; keep keys and values in `cache`."""
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    kept = torch.zeros_like(ids, dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        kept[number, : len(row)] = True
    expanded = model.embed(ids, image_tokens, attention_mask=kept, padding_side="left")
    mask = None if bool(expanded.attention_mask.all()) else expanded.attention_mask
    output = model.language.model(
        inputs_embeds=expanded.embeds,
        attention_mask=mask,
        position_ids=None if mask is None else (mask.long().cumsum(dim=1) - 1).clamp(min=0),
        cache=cache,
        use_cache=cache is not None,
    )
    return Read(output.last_hidden_state[:, -1], mask)


def logits_of(model: FakeReasoning, hidden: Tensor) -> Tensor:
    """Return the logits (B, V), in float32, of hidden states (B, width)."""
    logits: Tensor = model.language.lm_head(hidden).float()
    return logits


class Batch:
    """Rows that are being continued; the slots of a batch hold ever fewer of them."""

    def __init__(
        self,
        model: FakeReasoning,
        prompts: Sequence[Sequence[int]],
        image_tokens: Tensor,
        *,
        eos: int,
        tokens: CPMTokens,
        limits: Sequence[int],
        sampling: Sampling,
        keys: Sequence[str],
        alone: Callable[[int, Sequence[int]], Tensor],
        watch: Callable[[Step], None] | None = None,
    ) -> None:
        """`limits` bounds the tokens written for each row; `alone` maps a row and its ids to logits (1, V)."""
        self.model, self.eos, self.tokens, self.limits, self.sampling = model, eos, tokens, limits, sampling
        self.alone, self.watch = alone, watch
        self.written = [Written() for _ in prompts]
        self.slots = list(range(len(prompts)))
        self.cache = roomy_cache(len(model.language.model.layers), len(prompts))
        self.scratch = Scratch()
        self.hidden, self.mask = self._begin(prompts, image_tokens)
        self.places = None if self.mask is None else self.mask.sum(dim=1)
        # In half precision near-ties are everywhere, and deciding each alone would cost more than the batch saves.
        self.close = CLOSE if self.hidden.dtype == torch.float32 else 0.0
        self.noise = [_generator(sampling.seed, key) for key in keys] if sampling.temperature else None

    def _begin(self, prompts: Sequence[Sequence[int]], image_tokens: Tensor) -> Read:
        """Read the prompts, in parts where none is padded."""
        size = READ_AT_ONCE if len(set(map(len, prompts))) == 1 else len(prompts)
        parts = [
            read(self.model, prompts[start : start + size], image_tokens[start : start + size], self.cache)
            for start in range(0, len(prompts), size)
        ]
        return Read(torch.cat([part.hidden for part in parts]), parts[0].mask)

    def write(self) -> list[Written]:
        """Continue all rows to their ends."""
        while True:
            logits = logits_of(self.model, self.hidden)
            chosen = self._choose(logits)
            self._note_verdicts(logits)
            if self.watch is not None:
                self._show(logits, chosen)
            for slot, token in enumerate(chosen):
                self._append(slot, token)
            if not any(self._is_open(slot) for slot in range(len(self.slots))):
                return self.written
            self._advance(self._leave(chosen))

    def _is_open(self, slot: int) -> bool:
        return self.written[self.slots[slot]].stopped is None

    def _choose(self, logits: Tensor) -> list[int]:
        noise = self._draw(logits)
        wishes = preference(logits, noise, self.sampling)
        best, index = wishes.topk(min(2, wishes.shape[1]), dim=1)
        chosen: list[int] = index[:, 0].tolist()
        if not self.close or best.shape[1] < 2:
            return chosen
        close = best[:, 0] - best[:, 1] <= self.close * best[:, 0].abs().clamp(min=1)
        for slot in close.nonzero().squeeze(1).tolist():
            if self._is_open(slot):
                row = self.slots[slot]
                own = None if noise is None else noise[slot : slot + 1]
                chosen[slot] = int(preference(self.alone(row, self.written[row].ids), own, self.sampling).argmax(dim=1))
        return chosen

    def _draw(self, logits: Tensor) -> Tensor | None:
        """Return exponential noise (R, V), a row's own whoever stands beside it; None where nothing is drawn."""
        if self.noise is None:
            return None
        drawn = torch.ones(logits.shape)
        for slot, row in enumerate(self.slots):
            if self._is_open(slot):
                drawn[slot].exponential_(generator=self.noise[row])
        return drawn.to(logits.device)

    def _note_verdicts(self, logits: Tensor) -> None:
        """Keep the two words' logits of the rows whose text has just come to the verdict."""
        width = len(self.tokens.pattern)
        slots = [
            slot
            for slot, row in enumerate(self.slots)
            if self._is_open(slot)
            and self.written[row].k_logits is None
            and tuple(self.written[row].ids[-width:]) == self.tokens.pattern
        ]
        if slots:
            for slot, (real, fake) in zip(slots, two_logits(logits[slots], self.tokens).tolist(), strict=True):
                self.written[self.slots[slot]].k_logits = (real, fake)

    def _show(self, logits: Tensor, chosen: Sequence[int]) -> None:
        assert self.watch is not None
        shown = [slot for slot in range(len(self.slots)) if self._is_open(slot)]
        self.watch(Step(tuple(self.slots[s] for s in shown), logits[shown], tuple(chosen[s] for s in shown)))

    def _append(self, slot: int, token: int) -> None:
        row = self.slots[slot]
        written = self.written[row]
        if written.stopped is not None:
            return
        if token == self.eos:
            written.stopped = "eos"
            return
        written.ids.append(token)
        if len(written.ids) >= self.limits[row]:
            written.stopped = "length"

    def _leave(self, chosen: list[int]) -> list[int]:
        """Let finished rows go where that pays; return the tokens of those that stay."""
        staying = [slot for slot in range(len(self.slots)) if self._is_open(slot)]
        if len(staying) > SPARSE * len(self.slots):
            return chosen
        # The last take the places of those that have gone: the others' keys and values stay where they are.
        late = [slot for slot in staying if slot >= len(staying)]
        staying = [slot if self._is_open(slot) else late.pop() for slot in range(len(staying))]
        index = torch.tensor(staying, device=self.hidden.device)
        self.cache.batch_select_indices(index)
        self.slots = [self.slots[slot] for slot in staying]
        if self.mask is not None and self.places is not None:
            self.mask, self.places = self.mask[index], self.places[index]
        return [chosen[slot] for slot in staying]

    def _advance(self, chosen: Sequence[int]) -> None:
        """Read the tokens just chosen, one a slot."""
        ids = torch.tensor(chosen, device=self.hidden.device)[:, None]
        positions = None
        if self.mask is not None and self.places is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(chosen), 1)], dim=1)
            positions, self.places = self.places[:, None], self.places + 1
        self.hidden = self.model.language.model(
            inputs_embeds=self.model.language.get_input_embeddings()(ids),
            attention_mask=self.mask,
            position_ids=positions,
            cache=self.cache,
            use_cache=True,
            scratch=self.scratch,
        ).last_hidden_state[:, -1]


def preference(logits: Tensor, noise: Tensor | None, sampling: Sampling) -> Tensor:
    """Return what a token is chosen by, (R, V): the largest wins.

    With noise e of an exponential distribution, logit / temperature - log e is largest at a token with the probability
    that the softmax gives it (the Gumbel-max trick; Maddison et al., "A* Sampling", NeurIPS 2014).
    """
    if noise is None:
        return logits
    wishes = logits / sampling.temperature
    if 0 < sampling.top_k < wishes.shape[1]:
        least = wishes.topk(sampling.top_k, dim=1).values[:, -1:]
        wishes = wishes.masked_fill(wishes < least, -torch.inf)
    return wishes - noise.log()


def _generator(seed: int, key: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}\t{key}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
