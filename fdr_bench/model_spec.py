"""A model as written on the command line: "name", "name@preset", "name:view" or "name@preset:view"."""

from __future__ import annotations

import re
from typing import NamedTuple

from fdr_bench.errors import UsageError

WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What names of detectors, presets and views look like; they become parts of folder names."""

_EXPECTED = "Expected NAME, NAME@PRESET, NAME:VIEW or NAME@PRESET:VIEW, such as npr@scenes."


class ModelSpec(NamedTuple):
    """A detector's name ("package/name" where two packages offer it), and the preset and view asked for, if any."""

    name: str
    preset: str | None
    view: str | None

    @classmethod
    def parse(cls, text: str) -> ModelSpec:
        """Split "name[@preset][:view]" into its parts.

        Raises `UsageError` where a part is empty or has other characters than letters, digits, ".", "_" and "-".
        """
        matched = re.fullmatch(r"(?P<name>[^@:]*)(@(?P<preset>[^@:]*))?(:(?P<view>[^@:]*))?", text.strip())
        if matched is None:
            raise UsageError(f"'{text}' is not a model: '@' and ':' may each appear once, in this order. {_EXPECTED}")
        name, preset, view = matched["name"], matched["preset"], matched["view"]
        words = [("name", word) for word in name.split("/", 1)] + [("preset", preset), ("view", view)]
        for part, word in words:
            if word == "":
                raise UsageError(f"'{text}' is not a model: its {part} is empty. {_EXPECTED}")
            if word is not None and not WORD.fullmatch(word):
                raise UsageError(
                    f"'{text}' is not a model: its {part} '{word}' may have letters, digits, '.', '_' and '-' only. "
                    f"{_EXPECTED}"
                )
        return cls(name, preset, view)
