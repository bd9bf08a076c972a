"""Where a server is and what it may be asked: each option checked, with the usual value where nothing is said."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from fdr_bench.errors import UsageError

OPENAI = "https://api.openai.com/v1"
HELP: Mapping[str, str] = {
    "base-url": f"the server's address up to /v1 [{OPENAI}]",
    "api-key-env": "the environment variable with the key [FDR_BENCH_API_KEY; for api.openai.com OPENAI_API_KEY]",
    "concurrency": "requests under way at a time [16]",
    "timeout": "seconds that one request may take [120]",
    "tries": "requests for one image before it counts as failed [6]",
    "backoff": "seconds before the second try, doubled for each further one, at most 60 [1]",
    "budget": "stop, resumably, at 5USD, 2000000tokens or 1000requests",
    "price": "USD for a million tokens in and out, such as 2.5,10; without it there is no cost",
}
_UNITS = {"usd": "cost", "tokens": "tokens", "requests": "requests"}


class Budget(NamedTuple):
    """What may be spent: `limit` of "cost" (USD), "tokens" or "requests"."""

    limit: float
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A server and the limits on requests to it. `key` is shown by no representation, and no file may have it."""

    base_url: str = OPENAI
    key: str | None = field(default=None, repr=False)
    key_variable: str = ""
    concurrency: int = 16
    timeout: float = 120.0
    tries: int = 6
    backoff: float = 1.0
    budget: Budget | None = None
    price: tuple[float, float] | None = None


def read_limits(said: Mapping[str, str]) -> Limits:
    """Return the limits that a user said. Raises `UsageError` naming the option that is wrong, and what it may be."""
    base_url = _base_url(said.get("base-url", OPENAI))
    variable = said.get("api-key-env") or ("OPENAI_API_KEY" if base_url == OPENAI else "FDR_BENCH_API_KEY")
    price = _price(said["price"]) if "price" in said else None
    budget = _budget(said["budget"]) if "budget" in said else None
    if budget and budget.unit == "cost" and price is None:
        raise UsageError("a budget in USD needs prices: --option price=IN,OUT, in USD for a million tokens")
    number = Numbers(said)
    return Limits(
        base_url=base_url,
        key=_key(variable, required="api-key-env" in said),
        key_variable=variable,
        concurrency=int(number("concurrency", 16, 1, 1024, whole=True)),
        timeout=number("timeout", 120, 0.01, 86_400),
        tries=int(number("tries", 6, 1, 100, whole=True)),
        backoff=number("backoff", 1, 0, 60),
        budget=budget,
        price=price,
    )


def _base_url(text: str) -> str:
    parts = urlsplit(text.strip().rstrip("/"))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"the base URL '{_without_secrets(text)}' should be like http://localhost:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(
            f"the base URL '{_without_secrets(text)}' has more than an address in it. A key belongs in the environment "
            "(see 'fdr-bench show openai:NAME', api-key-env): a run's files keep the URL."
        )
    return parts.geturl().removesuffix("/chat/completions")


def _without_secrets(text: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", re.split(r"[?#]", text)[0])


def _key(variable: str, *, required: bool) -> str | None:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        raise UsageError("api-key-env takes the name of an environment variable, never the key itself")
    key = os.environ.get(variable, "").strip()
    if required and not key:
        raise UsageError(f"the environment variable {variable} is not set; put the server's key into it")
    if not key.isascii() or not key.isprintable():
        raise UsageError(f"the key in the environment variable {variable} has characters that no header can carry")
    return key or None


def _price(text: str) -> tuple[float, float]:
    numbers = [_number(part) for part in text.split(",")]
    if len(numbers) != 2 or any(number is None or number < 0 for number in numbers):
        raise UsageError(f"price is two numbers, USD for a million tokens in and out, such as 2.5,10, not '{text}'")
    return numbers[0] or 0.0, numbers[1] or 0.0


def _budget(text: str) -> Budget:
    matched = re.fullmatch(r"\s*([\d._]+)\s*(usd|\$|tokens?|requests?)\s*", text, re.IGNORECASE)
    number = _number(matched[1].replace("_", "")) if matched else None
    if matched is None or not number:
        raise UsageError(f"a budget is like 5USD, 2000000tokens or 1000requests, not '{text}'")
    unit = matched[2].lower().replace("$", "usd")
    return Budget(number, _UNITS[unit if unit in _UNITS else f"{unit}s"])


def read_extra(text: str) -> Mapping[str, Any]:
    """Return further fields of a request, given as a JSON object. Raises `UsageError` where it is none."""
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise UsageError(f'extra is a JSON object, such as {{"reasoning_effort":"low"}}, not \'{text}\'')
    taken = {"model", "messages", "stream", "n"} & fields.keys()
    if taken:
        raise UsageError(f"extra cannot set {', '.join(sorted(taken))}")
    return fields


def one_of(said: Mapping[str, str], name: str, usual: str | None, known: tuple[str, ...]) -> str | None:
    """Return the option that is said, or the usual one. Raises `UsageError` where it is not among those known."""
    value = said.get(name, usual)
    if value is not None and value not in known:
        raise UsageError(f"{name} is {' or '.join(known)}, not '{value}'")
    return value


class Numbers:
    """Numbers out of what a user said, each within its range."""

    def __init__(self, said: Mapping[str, str]) -> None:
        self._said = said

    def __call__(self, name: str, usual: float, low: float, high: float, *, whole: bool = False) -> float:
        text = self._said.get(name)
        number = usual if text is None else _number(text)
        if number is None or not low <= number <= high or (whole and number != int(number)):
            kind = "a whole number" if whole else "a number"
            raise UsageError(f"{name} is {kind} from {low:g} to {high:g}, not '{text}'")
        return float(number)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
