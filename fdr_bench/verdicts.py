"""Read a verdict out of free text: real, fake, or nothing that can be said; never a guess, never a default.

What a sentence asserts ("the image is not real") counts before words in passing ("looks realistic, but is fake").
Questions, alternatives ("real or fake"), conditions ("whether it is real") and doubts ("not sure") assert nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from fdr_bench.types import Label

_FAKES = r"fakes?|faked|deepfakes?|(?:ai-|computer-|machine-)?generated|ai-(?:made|created)|synthetic|synthesi[sz]ed"
_REALS = r"real|authentic|genuine|photographed"
_FAKE = re.compile(rf"(?:{_FAKES}|forged|forgery|inauthentic|unreal)")
_REAL = re.compile(rf"(?:{_REALS})")
_IS = re.compile(r"is|was|are|were|(?:it|that|this)['’]s|(?:is|was|are|were)n['’]t")
_NOT = re.compile(r"not|no|never|nor|nothing|hardly|cannot|\w+n['’]t")
_BETWEEN = re.compile(
    "a|an|the|definitely|likely|clearly|probably|certainly|indeed|in|fact|most|almost|very|highly|actually|truly|"
    "completely|entirely|fully|really|obviously|also|both|therefore|thus|hence|at|all|by|ai|artificially|computer|"
    "to|be|been|being|looks?|seems?|appears?|look(?:s|ing)?|signs?|traces?|evidence|indications?|of|about|it"
)
"""Words that may stand between "is" or "not" and what it is."""
_TELL = r"(?:tell|say|determine|decide|judge|know)"
_DOUBT = re.compile(
    r"\b(?:not (?:\w+ )?(?:sure|certain|clear)|unsure|uncertain|unclear|neither|"
    rf"(?:can(?: ?not|['’]t)|could(?: not|n['’]t)|unable to|(?:impossible|hard|difficult) to) {_TELL})\b"
)
_OR = r"(?: or |/| vs\.? | versus )(?:an? )?"
_PAIR = re.compile(rf"\b(?:(?:{_REALS}){_OR}(?:{_FAKES})|(?:{_FAKES}){_OR}(?:{_REALS}))\b")
_OTHER: dict[Label, Label] = {"real": "fake", "fake": "real"}


class _Mention(NamedTuple):
    """A class named in a sentence, negation counted in, and whether something is said to be of it."""

    label: Label
    asserted: bool


def read_verdict(text: str, *, yes: Label | None = None) -> Label | None:
    """Return what a text says of its image; None where it says nothing, or both.

    `yes` is what "yes" means where the text answers a yes-no question ("Is this image fake?": "fake"); a yes or no
    counts only where no class is named.
    """
    mentions = [mention for sentence in _sentences(text) for mention in _mentions(sentence)]
    for labels in ({one.label for one in mentions if one.asserted}, {one.label for one in mentions}):
        if labels:
            return labels.pop() if len(labels) == 1 else None
    return None if yes is None else _yes_or_no(text, yes)


def _sentences(text: str) -> list[str]:
    """Return the sentences that may assert something, in lower case, marks of emphasis taken out."""
    plain = re.sub(r"[*_`#\"“”()\[\]<>]", " ", text.lower())
    # A dot ends a sentence where a space follows: not in "0.5".
    sentences = re.findall(r"(?:[^.!?;\n]|\.(?=\S))+[.!?;\n]?", plain)
    return [one for one in sentences if not one.endswith("?") and not _DOUBT.search(one)]


def _mentions(sentence: str) -> Iterator[_Mention]:
    words = re.findall(r"[a-z]+(?:['’-][a-z]+)*|,", _PAIR.sub(" ", sentence))
    conditional = False
    for place, word in enumerate(words):
        conditional = (conditional and word != ",") or word in ("if", "whether")
        fake = _FAKE.fullmatch(word) is not None
        if conditional or not (fake or _REAL.fullmatch(word)) or words[place + 1 : place + 2] in (["world"], ["life"]):
            continue
        asserted = negated = False
        for before in reversed(words[:place]):
            negated = negated != (_NOT.fullmatch(before) is not None)
            asserted = _IS.fullmatch(before) is not None
            if asserted or not (_BETWEEN.fullmatch(before) or _NOT.fullmatch(before)):
                break
        yield _Mention("fake" if fake != negated else "real", asserted)


def _yes_or_no(text: str, yes: Label) -> Label | None:
    """Return the class of a yes or no. The last sentence that has one counts: remarks come before the answer."""
    for sentence in reversed(_sentences(text.replace(":", "\n"))):
        found = set(re.findall(r"\b(?:yes|no)\b", sentence))
        if found:
            return None if len(found) == 2 else yes if found == {"yes"} else _OTHER[yes]
    return None
