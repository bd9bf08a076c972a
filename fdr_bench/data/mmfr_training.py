"""MMFR training conversations: a json list of {image, conversations: [{from, value}, …]}.

The label stands in the answer's conclusion alone ("This image is fake."), as the official loader reads it
(PRIS-CV/FakeReasoning, arXiv 2503.21210). Caption and reasoning come from the answer's tags of those names.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import NamedTuple

from fdr_bench.data import make_dataset
from fdr_bench.data.files import FileImage
from fdr_bench.data.listing import stable_name
from fdr_bench.data.specs import dataset_name
from fdr_bench.errors import DataError, UsageError
from fdr_bench.types import Dataset, Label, Sample

_VERDICT = re.compile(r"this image is (real|fake)\b", re.IGNORECASE)


class Conversation(NamedTuple):
    """One row: the image's path below the image folder, the question, and the answer that is to be learnt."""

    image: str
    question: str
    answer: str


def open_training_json(path: str, *, images: str | None, spec: str) -> Dataset:
    """Open training conversations; image paths are relative to `images`, or to the json's own folder.

    Ids are the image paths; a second conversation on an image has "#2" behind. Generators are unknown (None), the
    file not telling them. Rows whose answer states no class are left out with a note. Raises `UsageError` where
    `images` is no folder, `DataError` where the file is not of this format or no row states a class.
    """
    folder = images if images is not None else os.path.dirname(path)
    if folder and not os.path.isdir(folder):
        raise UsageError(f"'{spec}': the image folder '{folder}' is not there")
    samples: list[Sample] = []
    unlabelled: list[str] = []
    seen: Counter[str] = Counter()
    for number, row in enumerate(read_conversations(path), start=1):
        label = label_of_answer(row.answer)
        if label is None:
            unlabelled.append(str(number))
            continue
        name = stable_name(row.image)
        seen[name] += 1
        samples.append(
            Sample(
                id=name if seen[name] == 1 else f"{name}#{seen[name]}",
                image=_file(os.path.join(folder, row.image)),
                label=label,
                caption=tagged(row.answer, "CAPTION"),
                reasoning=tagged(row.answer, "REASONING"),
            )
        )
    if not samples:
        raise DataError(
            f"{path}: no answer states a class. Expected <CONCLUSION> This image is fake. </CONCLUSION> (or real) "
            "in the second turn of each conversation"
        )
    notes = []
    if unlabelled:
        notes.append(f"{len(unlabelled)} row(s) state no class and are left out: {', '.join(unlabelled[:5])}")
    repeated = sum(count > 1 for count in seen.values())
    if repeated:
        notes.append(f"{repeated} image(s) have several conversations, each of them a sample")
    return make_dataset(dataset_name(path), spec, samples, notes)


def read_conversations(path: str) -> list[Conversation]:
    """Return the rows of a training json in file order. Raises `DataError` naming the first row that is off."""
    # Imported here: a run on plain folders does without it.
    from pydantic import TypeAdapter, ValidationError
    from typing_extensions import TypedDict

    class Turn(TypedDict):
        value: str

    class Row(TypedDict):
        image: str
        conversations: list[Turn]

    try:
        with open(path, "rb") as stream:
            rows = TypeAdapter(list[Row]).validate_json(stream.read().removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = " > ".join(map(str, first["loc"])) or "the whole file"
        raise DataError(
            f"{path}: not as expected at {where}: {first['msg']}. "
            "Expected a list of {image, conversations: [{from, value}, {from, value}]}"
        ) from error
    conversations = []
    for number, entry in enumerate(rows, start=1):
        if len(entry["conversations"]) < 2:
            raise DataError(f"{path}: row {number} has no answer: expected a question and an answer in 'conversations'")
        question, answer = entry["conversations"][:2]
        conversations.append(Conversation(entry["image"], question["value"], answer["value"]))
    return conversations


def label_of_answer(answer: str) -> Label | None:
    """Return the class that the conclusion states; None without a conclusion, or one that states none or both."""
    stated = {match.lower() for match in _VERDICT.findall(tagged(answer, "CONCLUSION") or "")}
    if stated == {"fake"}:
        return "fake"
    return "real" if stated == {"real"} else None


def tagged(answer: str, tag: str) -> str | None:
    """Return the text between <TAG> and </TAG>, stripped; None where the tag is missing or holds nothing."""
    match = re.search(rf"<{tag}>(.*?)</{tag}>", answer, re.DOTALL)
    return (match.group(1).strip() or None) if match else None


def _file(path: str) -> FileImage:
    try:
        return FileImage(path, os.stat(path).st_size if os.path.isfile(path) else -1)
    except OSError:
        return FileImage(path, -1)
