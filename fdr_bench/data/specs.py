"""Dataset specs: "PATH?option=value&option=value" apart, and a short name for what they open."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from fdr_bench.data.listing import words
from fdr_bench.errors import UsageError, nearest

# A folder's name that says nothing by itself gets its parent's in front: cifake/test is "cifake-test".
_PLAIN = words("train test val valid validation data dataset images parquet evaluation_sets eval")
_ENDING = re.compile(r"\.(parquet|json|tar)(\.[^.]+)?$", re.IGNORECASE)


def split_options(rest: str, known: Iterable[str]) -> tuple[str, dict[str, str]]:
    """Split "PATH?a=1&b=2" into the path and its options. A "?" that belongs to an existing path stays in it.

    Raises `UsageError` for an empty path and for options other than `known`, or without a value.
    """
    path, mark, query = rest.rpartition("?")
    if not mark or os.path.exists(rest):
        path, query = rest, ""
    if not path:
        raise UsageError(f"'{rest}': expected a path after the kind of the dataset, such as folders:photos/")
    options: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, equals, value = part.partition("=")
        if name not in known:
            listed = ", ".join(known) or "none"
            raise UsageError(f"'{rest}': there is no option '{name}' here.{nearest(name, known)} Known: {listed}")
        if not equals or not value:
            raise UsageError(f"'{rest}': the option '{name}' needs a value, as in ?{name}=…")
        options[name] = value
    return os.path.expanduser(path), options


def dataset_name(path: str) -> str:
    """Return a name for a path's data that can be a folder's name: letters, digits, dot, dash and underscore."""
    absolute = os.path.abspath(path)
    last = _ENDING.sub("", os.path.basename(absolute))
    if last.lower() in _PLAIN:
        last = f"{os.path.basename(os.path.dirname(absolute))}-{last}"
    return re.sub(r"[^\w.-]+", "-", last).strip("-.") or "dataset"
