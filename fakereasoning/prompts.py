"""Prompts, stages and the verdict in a text: what goes into the language model, and how its answer is read.

The released weights know one wording, whose two complete prompts stand here as token ids of the Llama-2 tokenizer
(PRIS-CV/FakeReasoning at c1aec51, arXiv 2503.21210); the wording for every other size is this project's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from fdr_bench.types import Label
from fdr_bench.verdicts import read_verdict

IMAGE_TOKEN = -200
"""Stands in the ids where the image's tokens come."""
IGNORE = -100
"""The label of a position that is not learnt."""
IMAGE_MARK = "<image>"

StageName = Literal["SUMMARY", "CAPTION", "REASONING", "CONCLUSION"]
STAGES: tuple[StageName, ...] = ("SUMMARY", "CAPTION", "REASONING", "CONCLUSION")
TAGS: tuple[str, ...] = tuple(tag for stage in STAGES for tag in (f"<{stage}>", f"</{stage}>"))
SUMMARY_START, SUMMARY_END = TAGS[:2]
CONCLUSION_START = "<CONCLUSION> This image is"
"""What stands before the word that the verdict is read from; forced decoding appends it."""
QUESTION = "Is this image real or fake? Explain."
DIRECT_QUESTION = "Is this image real or fake?"
"""Asks for the verdict alone."""

# The system text and the user's mark, the image, a newline and the question, the assistant's mark.
_AFTER_THE_IMAGE = (
    *(29871, 13, 3624, 445, 1967, 1855, 470, 25713, 29973, 3529, 8453, 278, 1967, 29892, 24481, 4331, 29899, 1609),
    *(29899, 10568, 322, 17668, 411, 525, 1366, 1967, 338, 1855, 29915, 470, 525, 1366, 1967, 338, 25713, 4286, 319),
    *(1799, 9047, 13566, 29901),
)


def _official(person: int) -> tuple[int, ...]:
    """Return a complete prompt; the two differ in the word that the system text has for the person who asks."""
    system = (1, 319, 13563, 1546, 263, 12758, person, 322, 385, 23116, 21082, 20255, 29889, 450, 20255, 4076, 8444)
    more = (29892, 13173, 29892, 322, 1248, 568, 6089, 304, 278, person, 29915, 29879, 5155, 29889)
    return (*system, *more, 3148, 1001, 29901, 29871, IMAGE_TOKEN, *_AFTER_THE_IMAGE)


OFFICIAL_EVAL_IDS = _official(5199)
"""The complete prompt that inference and evaluation use (`llava_v1`)."""
OFFICIAL_TRAIN_IDS = _official(1404)
"""The complete prompt that training uses (`v1`); the official mismatch of the two is kept for parity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """How a prompt is laid out: system text and user mark, the image, a newline and the question, assistant mark."""

    system: str = ""
    user: str = ""
    assistant: str = "\n"
    question: str = QUESTION

    def before(self) -> str:
        """Return the text in front of the image."""
        return self.system + self.user

    def after(self, question: str | None) -> str:
        """Return the text behind the image; None stands for the template's own question."""
        return "\n" + bare_question(self.question if question is None else question) + self.assistant


NANO = Template()
"""A bare question, for a model that knows nothing else: it costs 14 tokens with the image's one and the bos."""


def bare_question(question: str) -> str:
    """Return a question without the image's mark, wherever it stands, and without space around it."""
    return question.replace(IMAGE_MARK, "").strip()


class Stages(NamedTuple):
    """An answer in its parts; a stage that is missing, or holds nothing, is None.

    `verdict` is read out of the CONCLUSION alone. `problem` is None where all is as expected; "truncated" where the
    text is a well-formed beginning that stops too early; "off-format" where the tags are not as expected (a verdict
    may be there all the same); "no verdict" where the conclusion states no class or both.
    """

    summary: str | None
    caption: str | None
    reasoning: str | None
    conclusion: str | None
    verdict: Label | None
    problem: Literal["off-format", "truncated", "no verdict"] | None


def parse_stages(text: str, *, expected: Sequence[StageName] = STAGES) -> Stages:
    """Read the stages of an answer. `expected` are the stages that it should have, in their order, and nothing else.

    Tags are read strictly (capitals, no space inside the brackets); of a stage that comes twice the first counts, as in
    the official evaluation. A stage that is not closed holds nothing.
    """
    found = {stage: _content(text, stage) for stage in STAGES}
    verdict = read_verdict(found["CONCLUSION"] or "")
    problem: Literal["off-format", "truncated", "no verdict"] | None = None
    if not _well_formed(text, expected):
        problem = "truncated" if _beginning(text, expected) else "off-format"
    elif verdict is None and "CONCLUSION" in expected:
        problem = "no verdict"
    return Stages(
        found["SUMMARY"], found["CAPTION"], found["REASONING"], found["CONCLUSION"], verdict=verdict, problem=problem
    )


def arrange_stages(answer: str, stages: Sequence[StageName]) -> str | None:
    """Return an answer with these stages in this order alone, one a line; None where it lacks one of them.

    So ablations are trained: without its reasoning, or with the conclusion before it.
    """
    contents = [_content(answer, stage) for stage in stages]
    if None in contents:
        return None
    return "\n".join(f"<{stage}> {content} </{stage}>" for stage, content in zip(stages, contents, strict=True))


def _content(text: str, stage: str) -> str | None:
    start = text.find(f"<{stage}>")
    end = text.find(f"</{stage}>", start)
    # Not a regular expression: over many open tags and no closed one it would look to the end from each of them.
    return text[start + len(f"<{stage}>") : end].strip() or None if 0 <= start < end else None


def _tags_of(stages: Sequence[StageName]) -> list[str]:
    return [tag for stage in stages for tag in (f"<{stage}>", f"</{stage}>")]


_TAG = re.compile("(" + "|".join(re.escape(tag) for tag in TAGS) + ")")


def _well_formed(text: str, expected: Sequence[StageName]) -> bool:
    pieces = _TAG.split(text.strip())
    if pieces[1::2] != _tags_of(expected):
        return False
    outside, inside = pieces[0::4], pieces[2::4]
    return not any(piece.strip() for piece in outside) and all(piece.strip() for piece in inside)


def _beginning(text: str, expected: Sequence[StageName]) -> bool:
    """Whether a text is what a well-formed one may be cut down to: its tags are the first of those expected."""
    pieces = _TAG.split(text.lstrip())
    wanted, tags = _tags_of(expected), pieces[1::2]
    if len(tags) >= len(wanted) or tags != wanted[: len(tags)]:
        return False
    *outside, last = pieces[0::4] if len(tags) % 2 == 0 else [*pieces[0::4], ""]
    # The cut may go through a tag: "</REASONING>\n<CONCLU".
    return not any(piece.strip() for piece in outside) and wanted[len(tags)].startswith(last.strip())
