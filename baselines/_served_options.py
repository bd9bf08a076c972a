"""What a user may say of a served model beside `fdr_bench.served.limits`: its prompt, images, and how it answers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fdr_bench.served import limits
from fdr_bench.served.limits import Limits, Numbers, one_of, read_extra, read_limits

HELP: Mapping[str, str] = {
    **{name: limits.HELP[name] for name in ("base-url", "api-key-env")},
    "prompt": "what is asked: reasoned, staged, verdict, yes-no, each with :real-first or :fake-first, or a file",
    "temperature": "of sampling [0]",
    "repeats": "how often each image is asked about, each a view of its own [1]",
    "max-tokens": "longest answer [the prompt's: 16 for one word, 1024 with reasons]",
    "image-side": "longest side in pixels: larger images are resized, none is enlarged; 0 sends all as they are [1024]",
    "image-format": "png, without loss, or jpeg at quality 95 [png]",
    "detail": "OpenAI's low, high or auto; nothing is sent unless said",
    "logprobs": "tokens listed at each place, for P(fake); 0 for servers without them: verdicts alone [20]",
    "structured": "yes: the answer is a JSON object by a schema, where the server offers it [no]",
    "extra": 'a JSON object of further fields of the request, such as {"reasoning_effort":"low"}',
    **limits.HELP,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(Limits):
    """The options of one served model."""

    image_side: int = 1024
    image_format: str = "png"
    temperature: float = 0.0
    max_tokens: int | None = None
    logprobs: int = 20
    structured: bool = False
    detail: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def settings(self) -> dict[str, str | float]:
        """Return all that an answer depends on besides model, prompt and image: it goes into the predictions' keys."""
        kept: dict[str, str | float] = {
            "temperature": self.temperature,
            "image_side": self.image_side,
            "image_format": self.image_format,
            "logprobs": self.logprobs,
        }
        if self.max_tokens is not None:
            kept["max_tokens"] = self.max_tokens
        if self.structured:
            kept["structured"] = "yes"
        if self.detail:
            kept["detail"] = self.detail
        return kept | ({"extra": json.dumps(self.extra, sort_keys=True)} if self.extra else {})


def read_options(said: Mapping[str, str]) -> Options:
    """Return the options that a user said. Raises `UsageError` naming the one that is wrong, and what it may be."""
    shared = read_limits(said)
    number = Numbers(said)
    return Options(
        **{each.name: getattr(shared, each.name) for each in dataclasses.fields(shared)},
        image_side=int(number("image-side", 1024, 0, 16_384, whole=True)),
        image_format=one_of(said, "image-format", "png", ("png", "jpeg")) or "png",
        temperature=number("temperature", 0, 0, 2),
        max_tokens=int(number("max-tokens", 0, 1, 1_000_000, whole=True)) if "max-tokens" in said else None,
        logprobs=int(number("logprobs", 20, 0, 100, whole=True)),
        structured=one_of(said, "structured", "no", ("yes", "no")) == "yes",
        detail=one_of(said, "detail", None, ("low", "high", "auto")),
        extra=read_extra(said["extra"]) if "extra" in said else {},
    )
