"""Records to learn from: an image, a question and an answer, out of MMFR's training json or of FDR-Scenes.

What is learnt of a record is its answer: labels are `IGNORE` over bos, question and image, up to and including the
assistant's mark (as in the official training, PRIS-CV/FakeReasoning at c1aec51).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from fakereasoning.prompts import IGNORE, NANO, QUESTION
from fakereasoning.recipe import Questions
from fakereasoning.tokenizer import Codec
from fdr_bench.data import open_dataset
from fdr_bench.data.listing import stable_name
from fdr_bench.data.mmfr_training import Conversation, label_of_answer, read_conversations
from fdr_bench.data.scenes import parse, scenes_folder
from fdr_bench.data.specs import split_options
from fdr_bench.errors import DataError, UsageError
from fdr_bench.types import Dataset, ImageFile, Label

Side = Literal["left", "right"]
CONVERSATIONS = "forgery_reasoning_cot.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One thing to learn. A `question` of None stands for the codec's own.

    `label` is None where the answer says nothing of the image's origin; `attributes` are its sentences where known.
    """

    id: str
    image: ImageFile
    question: str | None
    answer: str
    label: Label | None
    attributes: Mapping[str, str | None] | None = None
    generator: str | None = None


class Encoded(NamedTuple):
    """A record as ids, the image being one `IMAGE_TOKEN`, and as labels of the same length, not shifted."""

    input_ids: list[int]
    labels: list[int]


class RecordBatch(NamedTuple):
    """Encoded records as tensors (B, L): ids and labels int64, mask bool, False over padding."""

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor


def read_records(source: Dataset | str, *, questions: Questions = "own") -> list[Record]:
    """Return the records of a dataset, or of what a spec names, sorted by id.

    The source is FDR-Scenes ("scenes:train?n=6000") or MMFR's training json ("mmfr:train.json?images=FOLDER"). With
    "own" each question is the codec's own, with "recorded" the one that the data have. Rows whose conclusion states no
    class are left out, as the dataset's notes say. Raises `UsageError` for another kind of dataset.
    """
    dataset = open_dataset(source) if isinstance(source, str) else source
    rows = _rows(dataset)
    records = []
    for sample in dataset.samples:
        row = rows.get(sample.id)
        if row is None:
            raise DataError(f"{dataset.spec}: {sample.id} has no conversation in the training json")
        records.append(
            Record(
                id=sample.id,
                image=sample.image,
                question=row.question if questions == "recorded" else None,
                answer=row.answer,
                label=sample.label,
                attributes=sample.attributes,
                generator=sample.generator,
            )
        )
    return records


def encode(record: Record, codec: Codec, max_length: int | None = None, prompt: list[int] | None = None) -> Encoded:
    """Return the ids of prompt and answer, and labels that are the ids of the answer and its eos, `IGNORE` before.

    `prompt` is that of the record's question, where it is known already.

    Cut at the right to `max_length` ids, the image counting as one; all labels are `IGNORE` where the cut leaves
    nothing of the answer.
    """
    prompt = codec.prompt(record.question) if prompt is None else prompt
    answer = codec.answer(record.answer)
    return Encoded((prompt + answer)[:max_length], ([IGNORE] * len(prompt) + answer)[:max_length])


def collate(rows: Sequence[Encoded], *, pad: int, side: Side = "right") -> RecordBatch:
    """Stack rows of unequal length (B of them, at least one), padding with `pad`, `IGNORE` and False on one side."""
    longest = max(len(row.input_ids) for row in rows)
    ids = torch.full((len(rows), longest), pad, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORE, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.bool)
    for number, row in enumerate(rows):
        length = len(row.input_ids)
        place = slice(0, length) if side == "right" else slice(longest - length, longest)
        ids[number, place] = torch.tensor(row.input_ids, dtype=torch.long)
        labels[number, place] = torch.tensor(row.labels, dtype=torch.long)
        mask[number, place] = True
    return RecordBatch(ids, mask, labels)


def tokenizer_texts(records: Sequence[Record], question: str = QUESTION) -> list[str]:
    """Return what a tokenizer is trained on: every answer, and every question as a prompt has it (None: `question`)."""
    texts = []
    for record in records:
        texts += [NANO.after(question if record.question is None else record.question), record.answer]
    return texts


def _rows(dataset: Dataset) -> dict[str, Conversation]:
    """Return the conversation of each id, ids being counted as the dataset's reader counts them."""
    kind, _, rest = dataset.spec.partition(":")
    if kind == "scenes":
        path = str(scenes_folder(parse(rest)) / CONVERSATIONS)
    elif kind == "mmfr" and split_options(rest, ("images",))[0].lower().endswith(".json"):
        path, _ = split_options(rest, ("images",))
    else:
        raise UsageError(
            f"'{dataset.spec}' has no answers to learn from: expected scenes:train?n=…, or MMFR's training json as "
            "mmfr:forgery_reasoning_cot.json?images=FOLDER"
        )
    rows: dict[str, Conversation] = {}
    seen: Counter[str] = Counter()
    for row in read_conversations(path):
        if label_of_answer(row.answer) is None:
            continue
        name = stable_name(row.image)
        seen[name] += 1
        rows[name if seen[name] == 1 else f"{name}#{seen[name]}"] = row
    return rows
