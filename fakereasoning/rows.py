"""Records as a training holds them: token ids and labels, each with the number of its image, and batches of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
import torch

from fakereasoning.batches import Index
from fakereasoning.config import FakeReasoningConfig
from fakereasoning.frozen import FrozenFeatures
from fakereasoning.objective import Batch, Glances
from fakereasoning.packing import expanded_segments, pack
from fakereasoning.pixels import TrainingImages, moved, normalised
from fakereasoning.prompts import CONCLUSION_START, DIRECT_QUESTION, IGNORE, SUMMARY_END, arrange_stages
from fakereasoning.recipe import TuneRecipe
from fakereasoning.records import Encoded, Record, collate, encode
from fakereasoning.tokenizer import Codec
from fdr_bench.errors import DataError
from fdr_bench.types import ImageFile, Label


class Rows:
    """Encoded records: what is read of each, what is learnt of it, its class, and which image it is about."""

    def __init__(
        self, records: Sequence[Record], codec: Codec, config: FakeReasoningConfig, recipe: TuneRecipe
    ) -> None:
        """Raises `DataError` where there is nothing to learn, or an answer lacks a stage that the recipe names."""
        self.pad, self.image_tokens = codec.pad, config.image_tokens
        self.packed, self.shift, self.glances, self.mirror = recipe.pack, recipe.shift, recipe.glances, recipe.mirror
        self.files: list[ImageFile] = []
        about: list[list[_Told]] = []
        number: dict[str, int] = {}
        # One of the tokens that the limit counts stands for the image's tokens.
        longest = min(recipe.max_length or config.max_length, config.max_length) - config.image_tokens + 1
        prompt = cache(codec.prompt)
        shaped = list(_asked(records, recipe))
        for record, part in shaped:
            row = encode(record, codec, longest, prompt(record.question))
            row = _SHAPES[part](row, codec)
            if all(label == IGNORE for label in row.labels):
                continue
            place = number.setdefault(record.image.location, len(number))
            if place == len(about):
                self.files.append(record.image)
                about.append([])
            about[place].append(_Told(row, record.label))
        if not about:
            raise DataError(
                f"of {len(shaped)} records none has anything to learn: expected answers that begin within the first "
                f"{longest} tokens"
            )
        self.left_out = len(shaped) - sum(map(len, about))
        made = [
            (row, image, group[0].label == "fake")
            for image, told in enumerate(about)
            for group in (_groups(told) if recipe.pack else [[one] for one in told])
            for row in pack([one.row for one in group], longest)
        ]
        self.rows = [row for row, _, _ in made]
        self.images = np.array([image for _, image, _ in made], dtype=np.intp)  # (N,)
        self.fake = np.array([fake for _, _, fake in made], dtype=np.bool_)  # (N,)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [len(row.input_ids) for row in self.rows]

    def digest(self) -> str:
        """Return a sha256 over all that is learnt from, but for the images' pixels."""
        digest = hashlib.sha256(np.stack([self.images, self.fake]).astype("<i8").tobytes())
        for row in self.rows:
            digest.update(np.array(row, dtype="<i8").tobytes() + b"|")
        return digest.hexdigest()

    def batch(
        self,
        index: Index,
        images: TrainingImages,
        features: FrozenFeatures | None,
        *,
        like: torch.Tensor,
        random: np.random.Generator | None = None,
        learnt: Index | None = None,
    ) -> Batch:
        """Return the rows at `index` (B,), padded at the right, on the device and with the type of `like`.

        With `random` images are moved as the recipe says, and so many glanced at besides: out of those of `learnt`, a
        half of them mirrored where it says so.
        """
        rows = [self.rows[i] for i in index]
        padded = collate([Encoded(row.input_ids, row.labels) for row in rows], pad=self.pad)
        device, shown = like.device, self.images[index]
        pixels = glances = None
        if features is None:
            pixels = self._pixels(images, shown, like, random)
            if self.glances and random is not None and learnt is not None:
                others = self.images[random.choice(learnt, self.glances)]
                glanced = self._pixels(images, others, like, random)
                turned = torch.from_numpy(random.random(len(others)) < (0.5 if self.mirror else 0))
                glanced[turned] = glanced[turned].flip(3)
                glances = Glances(glanced, torch.from_numpy(others), turned)
        return Batch(
            input_ids=padded.input_ids.to(device),
            attention_mask=padded.attention_mask.to(device),
            labels=padded.labels.to(device),
            fake=torch.from_numpy(self.fake[index]).to(device),
            pixels=pixels,
            features=None if features is None else features.take(shown, device, like.dtype),
            segments=expanded_segments(rows, self.image_tokens).to(device) if self.packed else None,
            images=torch.from_numpy(shown),
            glances=glances,
        )

    def _pixels(
        self, images: TrainingImages, shown: Index, like: torch.Tensor, random: np.random.Generator | None
    ) -> torch.Tensor:
        seen = images.take(shown)
        seen = moved(seen, self.shift, random) if self.shift and random is not None else seen
        return normalised(seen, like.device).to(like.dtype)


_Part = Literal["all", "verdict", "summary"]


class _Told(NamedTuple):
    """A record encoded, and its class; None where it says nothing of the image's origin."""

    row: Encoded
    label: Label | None


def _groups(told: Sequence[_Told]) -> list[list[_Told]]:
    """Return the records about an image that may share a row: a verdict each, and with the first all that give none."""
    groups = [[one] for one in told if one.label is not None] or [[]]
    groups[0].extend(one for one in told if one.label is None)
    return groups


def _asked(records: Sequence[Record], recipe: TuneRecipe) -> Iterator[tuple[Record, _Part]]:
    """Yield each record as the recipe shapes it, and evenly, for its shares, asked in other ways; and what is learnt of
    its answer.
    """
    of_class = {label: [record for record in records if record.label == label] for label in ("real", "fake")}
    direct, contrary, brief, seen = 0.0, 0.0, 0.0, {"real": 0, "fake": 0}
    for record in records:
        if record.label is None:  # a question about what is to be seen: its answer has no stages
            yield record, "all"
            continue
        shaped = _shaped(record, recipe)
        direct, contrary, brief = direct + recipe.direct, contrary + recipe.contrary, brief + recipe.brief
        summary, closed, _ = shaped.answer.partition(SUMMARY_END)
        if brief >= 1 and closed:
            brief -= 1
            yield replace(shaped, answer=summary + closed), "summary"
        else:
            yield shaped, "all"
        seen[record.label] += 1
        conclusion = f"{CONCLUSION_START} {record.label}. </CONCLUSION>"
        if direct >= 1:
            direct -= 1
            yield replace(record, id=f"{record.id}#direct", question=DIRECT_QUESTION, answer=conclusion), "all"
        others = of_class["real" if record.label == "fake" else "fake"]
        if contrary >= 1 and others:
            contrary -= 1
            said = _shaped(others[seen[record.label] % len(others)], recipe).answer.partition(CONCLUSION_START)[0]
            yield replace(record, id=f"{record.id}#contrary", answer=said + conclusion), "verdict"


def _verdict_alone(row: Encoded, codec: Codec) -> Encoded:
    """Return the row with labels from the words before the verdict on; with none where it is cut before the verdict."""
    at = codec.cpm.position(row.labels)
    start = len(row.labels) if at is None else at - len(codec.cpm.pattern)
    return row._replace(labels=[IGNORE] * start + row.labels[start:])


def _without_end(row: Encoded, codec: Codec) -> Encoded:
    """Return the row without the token that ends a text: behind a part of an answer another part comes."""
    cut = len(row.labels) - (row.labels[-1:] == [codec.eos])
    return Encoded(row.input_ids[:cut], row.labels[:cut])


_SHAPES: Mapping[_Part, Callable[[Encoded, Codec], Encoded]] = {
    "all": lambda row, _: row,
    "verdict": _verdict_alone,
    "summary": _without_end,
}


def _shaped(record: Record, recipe: TuneRecipe) -> Record:
    """Return the record with the stages of its answer that the recipe learns."""
    if recipe.stages is None:
        return record
    answer = arrange_stages(record.answer, recipe.stages)
    if answer is None:
        raise DataError(
            f"the answer of record {record.id} lacks one of the stages {', '.join(recipe.stages)} that the recipe "
            "names; expected all of them in tags"
        )
    return replace(record, answer=answer)
