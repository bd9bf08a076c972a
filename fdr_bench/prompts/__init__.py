"""What zero-shot models are asked: prompts as versioned data files, whose hashes go into the keys of the answers.

A prompt comes in two polarities, which name the real or the fake class first, so that a bias towards what is named
first, or towards "yes", shows as the difference of the two. `fdr_bench.prompts.reading` reads the answers.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from fdr_bench.errors import UsageError, nearest
from fdr_bench.types import Label

Polarity = Literal["real-first", "fake-first"]
POLARITIES: tuple[Polarity, ...] = get_args(Polarity)
SHIPPED = Path(__file__).parent / "shipped"
DEFAULT = "reasoned"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_STAGE = re.compile(r"[A-Z][A-Z0-9_ -]{0,23}")
_LABELS: tuple[Label, ...] = ("real", "fake")
_OTHER: Mapping[Label, Label] = {"real": "fake", "fake": "real"}
_WANTED = (
    "A prompt is a text file, or a .toml with name, version, polarity, text and, if need be, system, yes, stages, …"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One question about an image, and the form that its answer should have.

    `yes` is what "yes" means where it is a yes-no question. `stages` are the tags of a staged answer, in order.
    `verdict_after` is what stands right before the verdict's word (compared without regard to case); empty where the
    answer is that word alone. `max_tokens` is how long an answer may get unless the user says otherwise.
    """

    name: str
    polarity: Polarity
    version: int
    text: str
    max_tokens: int = 1024
    system: str | None = None
    yes: Label | None = None
    stages: tuple[str, ...] = ()
    verdict_after: str = ""

    @property
    def words(self) -> dict[Label, str]:
        """The word that an answer states each class with, in small letters."""
        if self.yes is None:
            return {label: label for label in _LABELS}
        return {self.yes: "yes", _OTHER[self.yes]: "no"}

    @property
    def sha256(self) -> str:
        """64 hex digits over all the fields: layout and comments of the file do not count, every word does."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, ensure_ascii=False).encode()).hexdigest()


@functools.cache
def shipped() -> Mapping[str, Mapping[Polarity, Prompt]]:
    """Return the prompts of this package by name and polarity, the default one and real-first first."""
    found: dict[str, dict[Polarity, Prompt]] = {}
    for path in sorted(SHIPPED.glob("*.toml"), key=lambda path: (not path.name.startswith(DEFAULT), path.name)):
        prompt = load_file(path)
        found.setdefault(prompt.name, {})[prompt.polarity] = prompt
    return {name: {polarity: each[polarity] for polarity in POLARITIES} for name, each in found.items()}


def load(text: str) -> dict[str, Mapping[Polarity, Prompt]]:
    """Return the prompts of a name, of "name:polarity", or of a file: one name with its polarities, first the default.

    Raises `UsageError` where there is no such prompt or file, or the file is not a prompt.
    """
    name, _, polarity = text.partition(":")
    if name in shipped():
        if not polarity:
            return {name: shipped()[name]}
        if polarity not in POLARITIES:
            raise UsageError(f"the prompt '{name}' has no polarity '{polarity}'; it has {' and '.join(POLARITIES)}")
        return {name: {each: prompt for each, prompt in shipped()[name].items() if each == polarity}}
    if Path(text).is_file():
        prompt = load_file(Path(text))
        return {prompt.name: {prompt.polarity: prompt}}
    raise UsageError(
        f"no prompt is called '{text}', and there is no such file.{nearest(text, shipped())} "
        f"Prompts: {', '.join(shipped())}. {_WANTED}"
    )


def load_file(path: Path) -> Prompt:
    """Return the prompt in a file. A file that is not .toml is the text alone, which asks for "real" or "fake".

    Raises `UsageError` naming the file and the field that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the prompt {path} cannot be read ({error}). {_WANTED}") from None
    if path.suffix != ".toml":
        fields: dict[str, Any] = {"name": path.name.partition(".")[0], "text": text}
        return _checked(fields, path)
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the prompt {path} is not TOML ({error}). {_WANTED}") from None
    return _checked(fields, path)


def _checked(fields: dict[str, Any], path: Path) -> Prompt:
    fields = {"polarity": "real-first", "version": 1, **fields}
    known = Prompt.__dataclass_fields__
    for name, value in fields.items():
        if name not in known:
            raise UsageError(f"the prompt {path} has an unknown field '{name}'.{nearest(name, known)} {_WANTED}")
        if (problem := _problem(name, value)) is not None:
            raise UsageError(f"the prompt {path}: its {name} {problem}, but it is {value!r}")
    for name in ("name", "text"):
        if name not in fields:
            raise UsageError(f"the prompt {path} has no {name}. {_WANTED}")
    return Prompt(**{**fields, "text": fields["text"].strip(), "stages": tuple(fields.get("stages", ()))})


def _problem(name: str, value: object) -> str | None:
    """Return what a field must be, where it is not."""
    good: object
    match name:
        case "name":
            good, wanted = isinstance(value, str) and _NAME.fullmatch(value), "must be letters, digits, '_' and '-'"
        case "polarity":
            good, wanted = value in POLARITIES, f"must be {' or '.join(POLARITIES)}"
        case "yes":
            good, wanted = value in _LABELS, "must be real or fake"
        case "version" | "max_tokens":
            whole = isinstance(value, int) and not isinstance(value, bool) and value > 0
            good, wanted = whole, "must be a whole number above 0"
        case "stages":
            tags = isinstance(value, list) and all(isinstance(tag, str) and _STAGE.fullmatch(tag) for tag in value)
            good, wanted = tags, "must be a list of tags in capitals"
        case _:
            good, wanted = isinstance(value, str) and bool(value.strip()), "must be a text"
    return None if good else wanted
