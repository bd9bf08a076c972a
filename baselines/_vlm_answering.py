"""Ask a loaded vision-language model one question about images: its text, and P(fake) out of its logits.

Images go in left-padded batches, those of one size together, so that an answer is what the image alone gives (to the
last digits of the arithmetic). Decoding is greedy, without the checkpoint's own sampling and penalties; with a
temperature above 0 what is drawn follows from the image, the question and the number of the repeat.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor
from transformers import LogitsProcessorList

from baselines._vlm_loading import Loaded
from baselines._vlm_words import Draw, Watch, WordTokens, probability, step_of_verdict, word_tokens
from fdr_bench.types import Label


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, and how the verdict's word is found: behind `lead`, or as the answer's first where that is empty.

    `stage` is the tag of the stage that states the verdict, where the answer has stages. `appended` is put behind a
    text that has no verdict, where the lead in its tag will not do.
    """

    text: str
    system: str | None = None
    words: Mapping[Label, str]
    lead: str = ""
    stage: str | None = None
    appended: str | None = None

    @property
    def start(self) -> str:
        """What is put behind a text that has no verdict, for its word to follow; empty where it comes first."""
        if self.appended is not None:
            return self.appended
        tag = f"<{self.stage}> " if self.stage else ""
        return tag + self.lead[:1].upper() + self.lead[1:] if self.lead else ""


class Said(NamedTuple):
    """One answer. `score` is None where the vocabulary or the logits give none; its source ends in "-forced" where the
    text did not come to the verdict's word by itself."""

    text: str
    truncated: bool
    score: float | None
    score_source: str | None


class Answerer:
    """A loaded model that answers one question about images, at most `rows` of them at a time."""

    def __init__(
        self,
        loaded: Loaded,
        question: Question,
        *,
        max_tokens: int,
        temperature: float = 0.0,
        repeat: int = 1,
        thinking: bool = False,
        rows: int = 8,
    ) -> None:
        self.model, self.processor = loaded.model, loaded.processor
        self.question, self.max_tokens, self.rows = question, max_tokens, rows
        self.temperature, self.repeat = temperature, repeat
        tokenizer = self.processor.tokenizer
        self.tokens: WordTokens | None = word_tokens(tokenizer, question.words)
        named = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.special = named | set(tokenizer.all_special_ids)
        self.prompt: str = tokenizer.apply_chat_template(
            _conversation(question),
            chat_template=loaded.template,
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=thinking,
        )

    def answer(self, images: Sequence[Image]) -> list[Said]:
        """Return what the model says of each image, in order."""
        said: dict[int, Said] = {}
        order = sorted(range(len(images)), key=lambda index: images[index].size)
        for start in range(0, len(order), self.rows):
            part = order[start : start + self.rows]
            said |= zip(part, self._batch([images[index] for index in part]), strict=True)
        return [said[index] for index in range(len(images))]

    def inputs(self, images: Sequence[Image]) -> dict[str, Any]:
        """Return what the model reads for these images, a row an image, on its device and in its precision."""
        tokenizer = self.processor.tokenizer
        # A template that writes the start token itself must not get a second one.
        begun = tokenizer.bos_token is not None and self.prompt.startswith(tokenizer.bos_token)
        with warnings.catch_warnings():
            # Some processors turn tensors into arrays in a way that NumPy 2 warns of.
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            made = self.processor(
                text=[self.prompt] * len(images),
                images=[[image] for image in images],
                padding=True,
                return_tensors="pt",
                **({"add_special_tokens": False} if begun else {}),
            )
        return dict(made.to(self.model.device, dtype=self.model.dtype))

    def _batch(self, images: Sequence[Image]) -> list[Said]:
        try:
            return self._answer(images)
        except torch.OutOfMemoryError:
            if len(images) == 1:
                raise
        torch.cuda.empty_cache()
        half = len(images) // 2
        return self._batch(images[:half]) + self._batch(images[half:])

    @torch.inference_mode()
    def _answer(self, images: Sequence[Image]) -> list[Said]:
        inputs = self.inputs(images)
        watch = Watch(self.tokens) if self.tokens else None
        written = self._write(inputs, self.max_tokens, watch, self._draw(images))
        texts = [self._decode(ids) for ids, _ in written]
        found: list[tuple[tuple[float, float], str] | None] = [None] * len(images)
        if watch is not None:
            for row, ((ids, _), text) in enumerate(zip(written, texts, strict=True)):
                step = self._verdict_step(ids, text)
                if step is not None and step < len(watch.steps):
                    real, fake = watch.steps[step][row].tolist()
                    found[row] = (real, fake), "cpm" if self.question.lead else "label_logits"
            if lacking := [row for row, each in enumerate(found) if each is None]:
                forced = self._forced(inputs, [ids for ids, _ in written], texts, lacking)
                for row, logits in zip(lacking, forced, strict=True):
                    found[row] = logits, "cpm-forced"
        said = []
        for text, (_, ended), each in zip(texts, written, found, strict=True):
            score = probability(each[0]) if each else None
            said.append(Said(text.strip(), not ended, score, each[1] if each and score is not None else None))
        return said

    def _write(
        self, inputs: Mapping[str, Any], length: int, watch: Watch | None, draw: Draw | None
    ) -> list[tuple[list[int], bool]]:
        """Continue every row; return its ids without what ends it, and whether it came to an end by itself."""
        steps = LogitsProcessorList([each for each in (watch, draw) if each is not None])
        out = self.model.generate(**inputs, max_new_tokens=length, do_sample=False, logits_processor=steps)
        ends = set(self.model.generation_config.eos_token_id or ())
        rows = out[:, inputs["input_ids"].shape[1] :].tolist()
        stops = [next((place for place, index in enumerate(row) if index in ends), None) for row in rows]
        return [(row[:stop], stop is not None) for row, stop in zip(rows, stops, strict=True)]

    def _verdict_step(self, ids: Sequence[int], text: str) -> int | None:
        if not self.question.lead:
            return 0
        return step_of_verdict(ids, text, self.question.lead, self.question.words, self._decode)

    def _forced(
        self, inputs: Mapping[str, Any], written: Sequence[Sequence[int]], texts: Sequence[str], rows: Sequence[int]
    ) -> list[tuple[float, float]]:
        """Return the words' logits behind the start of the conclusion, put behind what the rows have written.

        All rows are read again, also those that need it not: which pixels are whose differs between families.
        """
        assert self.tokens is not None
        watch = Watch(self.tokens)
        added = []
        for ids, text in zip(written, texts, strict=True):
            at_word = text.rstrip().lower().endswith(self.question.lead.lower())
            start = "" if at_word else ("\n" if text.strip() else "") + self.question.start
            more = self.processor.tokenizer(start, add_special_tokens=False)["input_ids"] if start else []
            # A model may write the mark of an image, for which there is none.
            added.append([*(index for index in ids if index not in self.special), *more])
        self._write(self._lengthened(inputs, added), 1, watch, None)
        chosen = watch.steps[0].tolist()
        return [(chosen[row][0], chosen[row][1]) for row in rows]

    def _lengthened(self, inputs: Mapping[str, Any], added: Sequence[Sequence[int]]) -> dict[str, Any]:
        """Return the inputs with ids put behind every row, padded on the left anew."""
        shape = inputs["input_ids"].shape
        mask = inputs["attention_mask"].bool()
        made = dict(inputs)
        for name, values in inputs.items():
            if isinstance(values, Tensor) and values.shape == shape:
                fill = self.processor.tokenizer.pad_token_id if name == "input_ids" else 0
                tails = [
                    list(ids) if name == "input_ids" else [int(name == "attention_mask")] * len(ids) for ids in added
                ]
                rows = [[*row[keep].tolist(), *tail] for row, keep, tail in zip(values, mask, tails, strict=True)]
                width = max(map(len, rows))
                made[name] = torch.tensor([[fill] * (width - len(row)) + row for row in rows], device=values.device)
        return made

    def _draw(self, images: Sequence[Image]) -> Draw | None:
        if self.temperature <= 0:
            return None
        return Draw(self.temperature, [_seed(image, self.prompt, self.repeat) for image in images])

    @property
    def _decode(self) -> Callable[[Sequence[int]], str]:
        return lambda ids: str(
            self.processor.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )


def _conversation(question: Question) -> list[dict[str, Any]]:
    system = [{"role": "system", "content": [{"type": "text", "text": question.system}]}] if question.system else []
    return [*system, {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question.text}]}]


def _seed(image: Image, prompt: str, repeat: int) -> int:
    """Return what a row's draws follow from, 63 bits."""
    content = f"{image.size}\t{repeat}\t{prompt}\t".encode() + image.tobytes()
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") >> 1
