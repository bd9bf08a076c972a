"""Which attributes a reasoning text claims: sentence by sentence, by stage, key phrase and sentence embedding.

The ten attributes are MMFR's (FakeReasoning, arXiv 2503.21210): five of forged images and their five counterparts of
authentic ones. Within "From high-level perspective:" a sentence speaks of semantics, within "From low-level
perspective:" of one of the other four; key phrases decide which, and whether it is found natural or not. A sentence
without any key phrase goes to the attribute whose descriptions are nearest to it, if an encoder is given and one is
near enough; else it claims nothing, as do sentences that state the verdict or that there is nothing to state.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from fdr_bench.metrics.claim_words import FAULTS, MERITS, NEGATORS, NOTHING, TELLING, TOPICS, Family, words
from fdr_bench.metrics.solids import without_solids

if TYPE_CHECKING:
    from fdr_bench.metrics.sentences import SentenceEncoder

Stage = Literal["low-level", "high-level"]


class Attribute(NamedTuple):
    """One of the ten attributes: what it is about, and whether it speaks of a forgery."""

    family: Family
    forged: bool


class Claim(NamedTuple):
    """A sentence that says an attribute of the image."""

    attribute: Attribute
    sentence: str


ATTRIBUTES: dict[str, Attribute] = {
    "Anomalous Image Texture": Attribute("texture", True),
    "Inconsistent Lighting and Shadows": Attribute("lighting", True),
    "Irregular Image Edges": Attribute("edges", True),
    "Low Image Quality": Attribute("quality", True),
    "Semantic Irrationality": Attribute("semantics", True),
    "Consistent Lighting and Shadows": Attribute("lighting", False),
    "High Image Quality": Attribute("quality", False),
    "Natural and Consistent Image Texture": Attribute("texture", False),
    "Semantic Rationality": Attribute("semantics", False),
    "Smooth and Natural Image Edges": Attribute("edges", False),
}
CLAUSE = 120
"""Characters before a word in which it may be negated: a text of one endless sentence must not take for ever."""
NEAR = 0.35
"""Cosine from which a sentence without key phrases counts as one about an attribute."""

DESCRIPTIONS: dict[Attribute, tuple[str, ...]] = {
    Attribute("texture", True): ("The texture of the surface looks artificial.", "The material looks like plastic."),
    Attribute("texture", False): ("The texture of the surface looks natural.", "The material looks as in reality."),
    Attribute("lighting", True): ("The light does not fit the scene.", "The shadow falls the wrong way."),
    Attribute("lighting", False): ("The light fits the scene.", "The shadow falls the right way."),
    Attribute("edges", True): ("The outlines are broken and distorted.", "The contour melts into the background."),
    Attribute("edges", False): ("The outlines are clean.", "The contour stands out from the background."),
    Attribute("quality", True): ("The picture is blurred and lacks detail.", "Parts of the image are noisy or blocky."),
    Attribute("quality", False): ("The picture is sharp and rich in detail.", "The image is clear everywhere."),
    Attribute("semantics", True): ("What is shown makes no sense.", "This cannot happen in the real world."),
    Attribute("semantics", False): ("What is shown makes sense.", "This is an ordinary scene of real life."),
}

_STAGE = re.compile(r"from (?:a |the )?(low|high)[- ]level perspective\s*[:,]?", re.IGNORECASE)
_END = re.compile(r"(?<=[.!?])\s+|\n+")
_FAMILIES: tuple[Family, ...] = get_args(Family)


_TOPIC_WORDS = {family: (words(named), words(hinted)) for family, (named, hinted) in TOPICS.items()}
_FAULTS, _MERITS, _TELLING = words(FAULTS), words(MERITS), words(TELLING)
_NEGATED = re.compile(rf"\b(?:{NEGATORS})(?:\s+[^\s,;:]+){{0,5}}\s*$", re.IGNORECASE)
_NOTHING = re.compile(NOTHING, re.IGNORECASE)


def staged_sentences(text: str) -> list[tuple[str, Stage | None]]:
    """Split a text into sentences, each with the stage whose heading it stands under (None: before any)."""
    found: list[tuple[str, Stage | None]] = []
    stage: Stage | None = None
    start = 0
    for heading in [*_STAGE.finditer(text), None]:
        part = text[start : heading.start() if heading else len(text)]
        found += [(sentence.strip(), stage) for sentence in _END.split(part) if sentence.strip()]
        if heading:
            stage, start = ("low-level" if heading.group(1).lower() == "low" else "high-level"), heading.end()
    return found


def claims(texts: Sequence[str], encoder: SentenceEncoder | None = None) -> list[list[Claim]]:
    """Return what each of N texts claims, a claim a sentence, in the texts' order.

    Without an `encoder` sentences that no key phrase places claim nothing. A text claims nothing where it is empty.
    """
    placed: dict[tuple[str, Stage | None], Attribute | None] = {}
    split = [staged_sentences(text) for text in texts]
    for sentences in split:
        for sentence, stage in sentences:
            if (sentence, stage) not in placed:
                placed[sentence, stage] = None if _NOTHING.search(sentence) else by_phrase(sentence, stage)
    if encoder is not None:
        open_ = [key for key, found in placed.items() if found is None and not _NOTHING.search(key[0])]
        placed.update(zip(open_, _by_embedding(open_, encoder), strict=True))
    return [
        [Claim(attribute, sentence) for sentence, stage in sentences if (attribute := placed[sentence, stage])]
        for sentences in split
    ]


def by_phrase(sentence: str, stage: Stage | None = None) -> Attribute | None:
    """Return the attribute that a sentence's key phrases name, or None where they name none or do not judge it."""
    family, forged = _read(sentence, stage)
    return None if family is None or forged is None else Attribute(family, forged)


@lru_cache(maxsize=1 << 16)  # models and references say the same sentences again and again
def _read(sentence: str, stage: Stage | None) -> tuple[Family | None, bool | None]:
    plain = without_solids(sentence)
    return ("semantics" if stage == "high-level" else _topic(plain, stage)), _judgement(plain)


def _topic(sentence: str, stage: Stage | None) -> Family | None:
    """Return what a sentence is about: the most key phrases; of equals, the one named first in it."""
    best: tuple[int, int] = (0, 0)
    topic: Family | None = None
    for family in _FAMILIES:
        if family == "semantics" and stage == "low-level":
            continue
        named, hinted = ([match.start() for match in pattern.finditer(sentence)] for pattern in _TOPIC_WORDS[family])
        if named or hinted:
            rank = (3 * len(named) + len(hinted), -min([*named, *hinted]))
            if topic is None or rank > best:
                best, topic = rank, family
    return topic


def _judgement(sentence: str) -> bool | None:
    """Return whether a sentence finds fault; None where it neither finds fault nor praises.

    A negated fault ("no wobbles") is praise and negated praise ("not natural") a fault.
    """
    balance = 4 * len(_TELLING.findall(sentence))
    for pattern, sign in ((_FAULTS, 1), (_MERITS, -1)):
        for match in pattern.finditer(sentence):
            before = sentence[max(0, match.start() - CLAUSE) : match.start()]
            negated = _NEGATED.search(before) is not None
            balance += -sign * 2 if negated else sign
    return None if balance == 0 else balance > 0


def _by_embedding(keys: Sequence[tuple[str, Stage | None]], encoder: SentenceEncoder) -> list[Attribute | None]:
    """Return the nearest attribute among those that stage and key phrases leave open, None where none is near."""
    if not keys:
        return []
    described = [(attribute, text) for attribute, texts in DESCRIPTIONS.items() for text in texts]
    vectors = encoder.encode([*(text for _, text in described), *(sentence for sentence, _ in keys)])
    cosine = vectors[len(described) :] @ vectors[: len(described)].T  # (sentences, descriptions)
    found: list[Attribute | None] = []
    for (sentence, stage), near in zip(keys, cosine, strict=True):
        topic, forged = _read(sentence, stage)
        fits = [
            (stage is None or (each.family == "semantics") == (stage == "high-level"))
            and topic in (None, each.family)
            and forged in (None, each.forged)
            for each, _ in described
        ]
        place = int(np.where(fits, near, -2.0).argmax())
        found.append(described[place][0] if near[place] >= NEAR else None)
    return found


def annotated(attributes: Mapping[str, str | None] | None) -> dict[Attribute, str]:
    """Return the annotated sentences by attribute; names that are none of the ten are left out."""
    return {
        ATTRIBUTES[name]: sentence for name, sentence in (attributes or {}).items() if sentence and name in ATTRIBUTES
    }
