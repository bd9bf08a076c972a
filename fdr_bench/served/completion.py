"""What a server's JSON says: the text, how it ended, and what it took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fdr_bench.served.http import Trouble


class Completion(NamedTuple):
    """One answer as it came. `model` is what the server calls itself; tokens it does not tell are 0."""

    text: str
    truncated: bool
    refused: bool
    model: str | None
    tokens_in: int
    tokens_out: int


def first_choice(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the first choice of a chat completion. Raises `Trouble` where there is none with a message."""
    choices = reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        raise Trouble("malformed answer", "it has no choices[0].message", again=True)
    return choice


def read_completion(reply: Mapping[str, Any]) -> Completion:
    """Return what a chat completion says. Raises `Trouble` where it has not the shape of one."""
    choice = first_choice(reply)
    message = choice["message"]
    refusal = message.get("refusal")
    text = _text(message.get("content"))
    if text is None:
        raise Trouble("malformed answer", "its message's content is not a text", again=True)
    finish = choice.get("finish_reason")
    usage = reply.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Completion(
        text=_storable(text or (refusal if isinstance(refusal, str) else "")),
        truncated=finish in ("length", "max_tokens"),
        refused=finish == "content_filter" or (isinstance(refusal, str) and bool(refusal)),
        model=_storable(reply["model"]) if isinstance(reply.get("model"), str) else None,
        tokens_in=_count(counts.get("prompt_tokens")),
        tokens_out=_count(counts.get("completion_tokens")),
    )


def _text(content: object) -> str | None:
    """Return a message's text: a text, nothing, or a list of parts of which some are texts."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return None


def _storable(text: str) -> str:
    """Return a text without lone surrogates, which JSON can say and no file can hold."""
    return text.encode("utf-8", "replace").decode()


def _count(number: object) -> int:
    return number if isinstance(number, int) and not isinstance(number, bool) and number > 0 else 0
