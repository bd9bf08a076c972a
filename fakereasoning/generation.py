"""Write answers about images in batches, and read off each how likely its verdict was.

The score is CPM's (arXiv 2503.21210): softmax of the raw logits of "real" and "fake" at the word that follows
"<CONCLUSION> This image is". A text that never came there is led there: the words are put behind it, and
`score_source` says so.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from fakereasoning.cpm import two_logits
from fakereasoning.decoding import Batch, Sampling, Step, Stop, Written, logits_of, read
from fakereasoning.kv_cache import attention_over
from fakereasoning.model import FakeReasoning
from fakereasoning.prompts import CONCLUSION_START
from fakereasoning.released import OFFICIAL_TOP_K
from fakereasoning.tokenizer import Codec
from fakereasoning.vision import VisualFeatures
from fdr_bench.errors import UsageError, WeightsError

ScoreSource = Literal["cpm", "cpm-forced"]

SEEN_AT_ONCE = 16
"""Images that the towers see together: with more, small towers spend their time on fresh memory."""

LEAST_OF_TWO = 16
"""Rows from which on a batch is written as two halves side by side on a processor."""


class Generated(NamedTuple):
    """One answer. All of it but the last digits of the logits is the same whatever the batch."""

    text: str
    ids: tuple[int, ...]
    """Token ids without the one that ends a text."""
    k_logits: tuple[float, float] | None
    """Raw logits of "real" and "fake" at the word behind the pattern; None where none was asked for."""
    score: float | None
    """P(fake) of the two, in [0, 1]."""
    score_source: ScoreSource | None
    stopped: Stop


@torch.inference_mode()
def generate(
    model: FakeReasoning,
    codec: Codec,
    *,
    pixels: Tensor | None = None,
    features: VisualFeatures | None = None,
    questions: Sequence[str | None] | None = None,
    max_new_tokens: int = 512,
    temperature: float = 0.0,
    top_k: int = OFFICIAL_TOP_K,
    seed: int | None = None,
    keys: Sequence[str] | None = None,
    batch: int = 32,
    forced: bool = True,
    watch: Callable[[Step], None] | None = None,
) -> list[Generated]:
    """Return an answer for each of N images, in their order.

    The images are `pixels` (N, 3, side, side), normalised, or the towers' `features` of them. `questions` are N in
    number (None: the model's own); rows with prompts of one length share batches of at most `batch` rows. A text ends
    by itself, after `max_new_tokens`, or where the model has no position left.

    At temperature 0 the likeliest token is taken. Otherwise tokens are drawn, and what is drawn depends on `seed` (None
    is 0) and the image's key alone: one of `keys`, or a hash of its pixels. In float32 the same tokens come out
    whatever else is in the batch; in half precision near-ties may fall otherwise.

    `forced` leads texts without the pattern to a score; else they have none. `watch` sees every step, its row numbers
    counted within a batch. Raises `UsageError` where arguments do not fit each other or a prompt leaves no room.
    """
    images = _Images(model, pixels, features)
    if not len(images):
        return []
    sampling = Sampling(temperature=temperature, top_k=top_k, seed=seed or 0)
    prompts = _prompts(codec, questions, len(images))
    if max_new_tokens < 1 or batch < 1:
        raise UsageError(f"max_new_tokens is {max_new_tokens} and batch {batch}: expected at least 1 each")
    room = positions(model)
    lengths = [len(prompt) - 1 + model.config.image_tokens for prompt in prompts]
    if max(lengths) >= room:
        raise UsageError(
            f"a prompt takes {max(lengths)} positions with its image, and the model has {room}: nothing can be "
            "written behind it. Shorten the question"
        )
    drawn = images.keys(keys) if temperature else [""] * len(images)
    was_training = model.training
    model.eval()
    order = sorted(range(len(images)), key=lambda index: lengths[index])

    def answered(part: Sequence[int]) -> list[Generated]:
        writer = _Writer(model, codec, images, part, [prompts[index] for index in part])
        limits = [min(max_new_tokens, room - lengths[index]) for index in part]
        written = writer.write(limits, sampling, [drawn[index] for index in part], watch)
        return writer.conclude(written, room, forced=forced)

    # Who watches sees one batch after the other.
    two = watch is None and model.device.type == "cpu" and torch.get_num_threads() > 1
    lanes = 2 if two and min(batch, len(order)) >= LEAST_OF_TWO else 1
    rows = -(-min(batch, len(order)) // lanes)
    parts = [order[start : start + rows] for start in range(0, len(order), rows)]
    try:
        with _exact_convolutions(model.device), attention_over(model.language):
            said = dict(zip(order, chain.from_iterable(_side_by_side(answered, parts, lanes)), strict=True))
        return [said[index] for index in range(len(images))]
    finally:
        model.train(was_training)


def _side_by_side(
    answered: Callable[[Sequence[int]], list[Generated]], parts: Sequence[Sequence[int]], lanes: int
) -> Iterator[list[Generated]]:
    """Yield what becomes of each part, in order, two of them being under way at a time where there are two lanes.

    Each has half of torch's threads: while one is between two products, of which small models have many, the other
    computes.
    """
    if lanes == 1:
        yield from map(answered, parts)
        return
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(threads // lanes,)) as pool:
            yield from pool.map(torch.inference_mode()(answered), parts)
    finally:
        torch.set_num_threads(threads)


def positions(model: FakeReasoning) -> int:
    """Return how many positions a row may have: as many as the model was made for and its rows are cut to."""
    return min(int(model.config.max_length), int(model.language.config.max_position_embeddings))


def score_of(k_logits: tuple[float, float], temperature: float = 1.0) -> float:
    """Return P(fake), the softmax of the logits of real and fake divided by a temperature. NaN where they are NaN."""
    real, fake = k_logits
    margin = (fake - real) / temperature
    # The form with the exponential of a negative number, which cannot overflow.
    return 1 / (1 + math.exp(-margin)) if margin >= 0 else math.exp(margin) / (1 + math.exp(margin))


def _exact_convolutions(device: torch.device) -> AbstractContextManager[None]:
    """Have cuDNN keep float32 whole: rounded to TF32, as is its habit, an image's features vary with their batch."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


class _Images:
    """N images, as pixels or as features."""

    def __init__(self, model: FakeReasoning, pixels: Tensor | None, features: VisualFeatures | None) -> None:
        if (pixels is None) == (features is None):
            raise UsageError("give the images either as pixels or as features")
        self.model, self.pixels, self.features = model, pixels, features

    def __len__(self) -> int:
        if self.features is not None:
            return len(self.features.clip)
        return 0 if self.pixels is None else len(self.pixels)

    def tokens(self, index: Sequence[int]) -> Tensor:
        """Return the image tokens (B, n, width) of some images."""
        parts = [self._some(index[start : start + SEEN_AT_ONCE]) for start in range(0, len(index), SEEN_AT_ONCE)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _some(self, index: Sequence[int]) -> Tensor:
        chosen = torch.tensor(index)
        if self.features is not None:
            rows = self.features.rows(chosen.to(self.features.clip.device))
            return self.model.image_tokens(rows.to(self.model.device))
        assert self.pixels is not None
        shown = self.pixels[chosen.to(self.pixels.device)].to(self.model.device, self.model.dtype)
        return self.model.tokens_of(shown)

    def keys(self, given: Sequence[str] | None) -> list[str]:
        """Return what tells each image's draws from another's."""
        if given is not None:
            if len(given) != len(self):
                raise UsageError(f"{len(given)} keys came for {len(self)} images; expected one each")
            return list(given)
        if self.pixels is None:
            raise UsageError("sampling on features needs keys, such as the hashes of the images' bytes")
        # Features are computed in batches, whose last digits depend on the batch; pixels are not.
        return [hashlib.sha256(row.float().cpu().numpy().tobytes()).hexdigest() for row in self.pixels]


class _Writer:
    """One batch: its rows' prompts and image tokens."""

    def __init__(
        self,
        model: FakeReasoning,
        codec: Codec,
        images: _Images,
        part: Sequence[int],
        prompts: Sequence[Sequence[int]],
    ) -> None:
        self.model, self.codec, self.images, self.part, self.prompts = model, codec, images, part, prompts
        self.tokens = images.tokens(part)
        self._alone: dict[int, Tensor] = {}

    def write(
        self,
        limits: Sequence[int],
        sampling: Sampling,
        keys: Sequence[str],
        watch: Callable[[Step], None] | None,
    ) -> list[Written]:
        """Continue every prompt to its end."""
        return Batch(
            self.model,
            self.prompts,
            self.tokens,
            eos=self.codec.eos,
            tokens=self.codec.cpm,
            limits=limits,
            sampling=sampling,
            keys=keys,
            alone=self.alone,
            watch=watch,
        ).write()

    def alone(self, row: int, ids: Sequence[int]) -> Tensor:
        """Return the next token's logits (1, V) computed from one row by itself, its image too, without a cache."""
        if row not in self._alone:
            self._alone[row] = self.images.tokens([self.part[row]])
        return logits_of(self.model, read(self.model, [[*self.prompts[row], *ids]], self._alone[row]).hidden)

    def conclude(self, written: Sequence[Written], room: int, *, forced: bool) -> list[Generated]:
        """Return the finished answers, with the scores of texts that lack the pattern where `forced`."""
        lacking = [row for row, each in enumerate(written) if each.k_logits is None] if forced else []
        led = dict(zip(lacking, self._lead(lacking, written, room), strict=True)) if lacking else {}
        answers = []
        for row, each in enumerate(written):
            assert each.stopped is not None
            k_logits = each.k_logits or led.get(row)
            source: ScoreSource | None = "cpm" if each.k_logits else "cpm-forced" if row in led else None
            score = None if k_logits is None else score_of(k_logits)
            text = self.codec.decode(each.ids)
            answers.append(Generated(text, tuple(each.ids), k_logits, score, source, each.stopped))
        return answers

    def _lead(self, rows: Sequence[int], written: Sequence[Written], room: int) -> list[tuple[float, float]]:
        """Return the two logits behind the pattern, put behind what each row has written (cut where room lacks)."""
        whole = []
        for row in rows:
            ids = written[row].ids
            start = self._start_of_conclusion(ids)
            free = room - (len(self.prompts[row]) - 1 + self.model.config.image_tokens) - len(start)
            whole.append([*self.prompts[row], *ids[: max(0, free)], *start])
        logits = logits_of(self.model, read(self.model, whole, self.tokens[list(rows)]).hidden)
        return [(real, fake) for real, fake in two_logits(logits, self.codec.cpm).tolist()]

    def _start_of_conclusion(self, ids: Sequence[int]) -> list[int]:
        """Return the ids that lead from a text to the verdict's word; none where it has just come there."""
        if tuple(ids[-len(self.codec.cpm.pattern) :]) == self.codec.cpm.pattern:
            return []
        # With the word behind it, the text is cut where training cuts it.
        start = self.codec.encode("\n" * bool(ids) + CONCLUSION_START + " real.")
        end = self.codec.cpm.position(start)
        if end is None:
            raise WeightsError(f"the tokenizer does not give its own pattern for '{CONCLUSION_START}': it is damaged")
        return start[:end]


def _prompts(codec: Codec, questions: Sequence[str | None] | None, count: int) -> list[list[int]]:
    if questions is None:
        return [codec.prompt(None)] * count
    if len(questions) != count:
        raise UsageError(f"{len(questions)} questions came for {count} images; expected one each")
    known = {question: codec.prompt(question) for question in dict.fromkeys(questions)}
    return [known[question] for question in questions]
