"""The fields of a recipe, out of JSON: known by name, and of the kind that its dataclass says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from fdr_bench.errors import UsageError, nearest

KINDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Literal: "text",
    NoneType: "null",
}


def checked_fields(kind: type, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object as the keywords of dataclass `kind`, lists as tuples.

    A field that is a dataclass itself stays a dict. Raises `UsageError` naming a field that there is not, or whose
    value is of another kind; which words and numbers make sense the dataclass says.
    """
    known = [one.name for one in fields(kind)]
    hints = get_type_hints(kind)
    for name, value in content.items():
        if name not in known:
            raise UsageError(f"a recipe has no field '{name}'; expected {', '.join(known)}.{nearest(name, known)}")
        if not _fits(value, hints[name]):
            raise UsageError(f"the recipe's {name} is {_shown(value)}; expected {_described(hints[name])}")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}


def _fits(value: object, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return False
        wanted = inner[:1] * len(value) if inner[-1] is ... else inner
        return len(value) == len(wanted) and all(map(_fits, value, wanted))
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_fits(each, inner[1]) for each in value.values())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is Literal:
        return isinstance(value, str)
    return isinstance(value, hint if hint in KINDS else Mapping)


def _described(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(map(_described, inner))
    if origin is tuple:
        return f"a list of {'text' if inner[-1] is ... else f'{len(inner)} numbers'}"
    if origin is Mapping:
        return f"an object whose values are each {_described(inner[1])}"
    return KINDS.get(origin or hint, "an object of its fields")


def _shown(value: object) -> str:
    return json.dumps(value, default=list)
