"""Read the answer to a prompt: the verdict that it states, the reasoning that leads there, and what is wrong with it.

Three outcomes, real, fake or none, and no guess: a text without a conclusion has no verdict, whatever it leans to.
"""

from __future__ import annotations

import json
import re
from typing import Literal, NamedTuple

from fdr_bench.prompts import Prompt
from fdr_bench.types import Label
from fdr_bench.verdicts import read_verdict

Problem = Literal["refused", "truncated", "off-format", "no verdict"]
REASONING = "REASONING"
_CUT = r"(?:can(?:no|['’])t|can not|(?:am|['’]m) (?:unable|not able) to|won['’]t|will not|(?:must|have to) decline to)"
_REFUSAL = re.compile(
    rf"\b(?:(?:i['’]m|i am|we['’]re) (?:really |very |so )?sorry|i apologi[sz]e|"
    rf"i ?{_CUT} (?:\w+ )?(?:help|assist|comply|provide|analy[sz]e|identify|engage|fulfil|discuss|process|continue|do)|"
    r"(?:violates?|against) (?:\w+ )?(?:\w+ )?polic(?:y|ies)|as an ai(?: language)? model)\b"
)
_ENDS = re.compile(r"[.!?\n](?=\s|$)")


class Reading(NamedTuple):
    """What an answer says. `problem` is None where it is in the form that was asked for and states a verdict.

    "refused": the model declined, and states none. "truncated": the answer was cut off, and none stands in what is
    there. "off-format": not in the form asked for; a verdict may be there all the same. "no verdict": in the form, but
    neither class is stated, or both.
    """

    verdict: Label | None
    reasoning: str | None
    problem: Problem | None


def read_answer(text: str, prompt: Prompt, *, truncated: bool = False, refused: bool = False) -> Reading:
    """Read an answer to `prompt`. `truncated` says that it was cut off at its length; `refused` that a server says so.

    What a model thinks aloud between <think> tags is not read.
    """
    said = _without_thoughts(text)
    if said.lstrip().startswith("<think>"):
        return Reading(None, None, "refused" if refused else "truncated")
    read = _staged if prompt.stages else _reasoned if prompt.verdict_after else _one_word
    verdict, reasoning, formed = read(said, prompt)
    return Reading(verdict, reasoning, _problem(said, verdict, formed, truncated, refused))


def read_structured(text: str, prompt: Prompt, *, truncated: bool = False, refused: bool = False) -> Reading:
    """Read an answer that was asked for as a JSON object with "verdict" and maybe "reasoning"; else as free text."""
    said = _without_thoughts(text)
    fenced = re.fullmatch(r"\s*```(?:json)?\s*(.*?)\s*```\s*", said, re.DOTALL)
    try:
        fields = json.loads(fenced[1] if fenced else said)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        if said.lstrip().startswith("{"):  # a beginning of JSON: words in it are no conclusion
            return Reading(None, None, "refused" if refused else "truncated" if truncated else "off-format")
        free = read_answer(said, prompt, truncated=truncated, refused=refused)
        return free._replace(problem=free.problem if free.problem in ("refused", "truncated") else "off-format")
    stated, reasoning = fields.get("verdict"), fields.get("reasoning")
    labels = {word: label for label, word in prompt.words.items()}
    verdict = labels.get(stated.strip().lower()) if isinstance(stated, str) else None
    kept = reasoning.strip() or None if isinstance(reasoning, str) else None
    return Reading(verdict, kept, _problem("", verdict, isinstance(stated, str), truncated, refused))


def _without_thoughts(text: str) -> str:
    """Return what follows the thoughts at the beginning; all of it where there are none, or they do not end."""
    _, closed, rest = text.partition("</think>")
    return rest if closed and text.lstrip().startswith("<think>") else text


def is_refusal(text: str) -> bool:
    """Return whether a text begins by declining: in its first 400 characters, whatever else it says."""
    return _REFUSAL.search(text[:400].lower()) is not None


def _problem(said: str, verdict: Label | None, formed: bool, truncated: bool, refused: bool) -> Problem | None:
    if verdict is None:
        if refused or is_refusal(said):
            return "refused"
        if truncated:
            return "truncated"
        return "no verdict" if formed else "off-format"
    return None if formed else "off-format"


def _one_word(said: str, prompt: Prompt) -> tuple[Label | None, str | None, bool]:
    word = re.sub(r"[\W_]+", " ", said).strip().lower()
    return read_verdict(said, yes=prompt.yes), None, word in prompt.words.values() or not word


def _reasoned(said: str, prompt: Prompt) -> tuple[Label | None, str | None, bool]:
    """The last sentence with the words that the verdict stands behind counts; without one, the last paragraph."""
    folded, end = said.lower(), len(said)
    for _ in range(20):
        place = folded.rfind(prompt.verdict_after, 0, end)
        if place < 0:
            break
        near = max(0, place - 500)
        start = max((found.end() for found in _ENDS.finditer(said, near, place)), default=near)
        stop = _ENDS.search(said, place, place + 500)
        verdict = read_verdict(said[start : stop.end() if stop else place + 500], yes=prompt.yes)
        if verdict is not None:
            return verdict, said[:start].strip() or None, True
        end = place
    paragraphs = [part for part in said.split("\n") if part.strip()]
    if not paragraphs:
        return None, None, False
    verdict = read_verdict(paragraphs[-1], yes=prompt.yes)
    if verdict is not None and len(paragraphs) > 1:
        return verdict, "\n".join(paragraphs[:-1]).strip(), False
    return read_verdict(said, yes=prompt.yes), said.strip() if verdict is None else None, False


def _staged(said: str, prompt: Prompt) -> tuple[Label | None, str | None, bool]:
    """The last stage states the verdict; without its tags, a conclusion in the words asked for may."""
    contents = {stage: content(said, stage) for stage in prompt.stages}
    reasoning = contents.get(REASONING)
    conclusion = contents[prompt.stages[-1]]
    if conclusion is not None:
        return read_verdict(conclusion, yes=prompt.yes), reasoning, _well_formed(said, prompt.stages)
    if not prompt.verdict_after or f"<{prompt.stages[-1]}>" in said:
        return None, reasoning, False
    verdict, before, concluded = _reasoned(said, prompt)
    return (verdict, reasoning or before, False) if concluded else (None, reasoning, False)


def content(text: str, stage: str) -> str | None:
    """Return what stands between a stage's first tags; None where it is not closed, or empty."""
    start = text.find(f"<{stage}>")
    end = text.find(f"</{stage}>", start)
    return text[start + len(stage) + 2 : end].strip() or None if 0 <= start < end else None


def _well_formed(text: str, stages: tuple[str, ...]) -> bool:
    tags = [tag for stage in stages for tag in (f"<{stage}>", f"</{stage}>")]
    pieces = re.split("(" + "|".join(map(re.escape, tags)) + ")", text.strip())
    outside, inside = pieces[0::4], pieces[2::4]
    return pieces[1::2] == tags and not any(map(str.strip, outside)) and all(map(str.strip, inside))
