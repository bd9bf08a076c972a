"""What a server's JSON says: the text, how it ended, what it took, and P(fake) from the listed tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fdr_bench.prompts import Prompt
from fdr_bench.served.completion import first_choice, read_completion
from fdr_bench.types import Label

SOURCE = "label-logprobs"
BOUNDED = "label-logprobs-bounded"
"""Of a score for which one class's word was not among the listed tokens: its share is taken as large as it can be."""


class Heard(NamedTuple):
    """One answer as it came, before its verdict is read.

    `score` is P(fake) at a word that names the class `word`; None where there are no log-probabilities or no such word.
    """

    text: str
    truncated: bool
    refused: bool
    score: float | None
    score_source: str | None
    word: Label | None
    model: str | None
    tokens_in: int
    tokens_out: int


def hear(reply: Mapping[str, Any], prompt: Prompt, *, structured: bool = False) -> Heard:
    """Return what a chat completion says. Raises `Trouble` where it has not the shape of one."""
    said = read_completion(reply)
    scored = verdict_score(_tokens(first_choice(reply)), prompt, structured=structured)
    return Heard(
        text=said.text,
        truncated=said.truncated,
        refused=said.refused,
        score=scored.score if scored else None,
        score_source=scored.source if scored else None,
        word=scored.word if scored else None,
        model=said.model,
        tokens_in=said.tokens_in,
        tokens_out=said.tokens_out,
    )


class Token(NamedTuple):
    """A token that was written, and the likeliest tokens at its place with their log-probabilities."""

    text: str
    logprob: float
    likeliest: Mapping[str, float]


class WordScore(NamedTuple):
    """P(fake) where an answer names a class, how it was read, and the class that is named there."""

    score: float
    source: str
    word: Label


def verdict_score(tokens: Sequence[Token], prompt: Prompt, *, structured: bool = False) -> WordScore | None:
    """Return P(fake) at the token that begins the verdict's word; None where there is no such token.

    The probabilities of all listed tokens that are a class's word, in any spelling ("fake", " Fake", "FAKE"), are
    summed, and P(fake) is fake's share of both sums, as CPM compares the two words' logits alone. Where one class's
    word is not listed, its sum is at most the last listed token's probability, and what is left of 1: the smaller is
    taken.
    """
    text = "".join(token.text for token in tokens)
    found = _place(text, prompt, structured)
    if found is None:
        return None
    position, word = found
    start = 0
    for token in tokens:
        if start + len(token.text) > position:
            break
        start += len(token.text)
    labels = {word: label for label, word in prompt.words.items()}
    piece = _bare(text[position : start + len(token.text)])
    split = piece != word and word.startswith(piece)  # a vocabulary without the whole word: its first piece decides
    shares: dict[Label, float] = {"real": 0.0, "fake": 0.0}
    listed = {token.text: token.logprob, **token.likeliest}
    for spelling, logprob in listed.items():
        bare = _bare(spelling)
        meant = {label for word, label in labels.items() if bare == word or (split and bare and word.startswith(bare))}
        if len(meant) == 1:
            shares[meant.pop()] += math.exp(logprob)
    source = SOURCE
    if not shares["real"] or not shares["fake"]:
        left = max(0.0, 1 - sum(map(math.exp, listed.values())))
        bound = min(left, math.exp(min(listed.values())))
        shares = {label: share or bound for label, share in shares.items()}
        source = BOUNDED
    total = shares["real"] + shares["fake"]
    return WordScore(shares["fake"] / total, source, labels[word]) if total > 0 else None


def _place(text: str, prompt: Prompt, structured: bool) -> tuple[int, str] | None:
    """Return where the verdict's word begins, and the word in small letters.

    After a lead the last one counts, else the first word of the answer that is one: "Fake. It is not a real photo".
    """
    words = "|".join(map(re.escape, prompt.words.values()))
    if structured:
        lead = r'"verdict"\s*:\s*"\s*'
    elif prompt.verdict_after:
        lead = re.escape(prompt.verdict_after) + r"[\s*_'\"“‘:`]*"
    else:
        lead = r"\b"
    found = list(re.finditer(rf"{lead}({words})\b", text, re.IGNORECASE))
    if not found:
        return None
    match = found[0] if lead == r"\b" else found[-1]
    return match.start(1), match[1].lower()


def _bare(spelling: str) -> str:
    return re.sub(r"^[\W_]+|[\W_]+$", "", spelling).lower()


def _tokens(choice: Mapping[str, Any]) -> list[Token]:
    """Return the tokens of a choice; none where the server lists none, or in another form."""
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    tokens = []
    for entry in content if isinstance(content, list) else ():
        own = _pair(entry)
        if own is None:
            return []
        top = entry.get("top_logprobs")
        tokens.append(Token(*own, dict(_pairs(top if isinstance(top, list) else ()))))
    return tokens


def _pairs(entries: Iterable[object]) -> Iterable[tuple[str, float]]:
    return (pair for entry in entries if (pair := _pair(entry)) is not None)


def _pair(entry: object) -> tuple[str, float] | None:
    if not isinstance(entry, dict):
        return None
    token, logprob = entry.get("token"), entry.get("logprob")
    number = isinstance(logprob, int | float) and not isinstance(logprob, bool) and logprob <= 1e-3
    return (token, min(0.0, float(logprob))) if isinstance(token, str) and number and logprob is not None else None
