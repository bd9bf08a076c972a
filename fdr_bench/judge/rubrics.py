"""What a judge is asked: rubrics as versioned data files, whose hashes stand beside every mark."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fdr_bench.errors import UsageError, nearest

SHIPPED = Path(__file__).parent / "shipped"
DEFAULT = "reference"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}")
_CRITERION = re.compile(r"[a-z][a-z0-9_]{0,31}")
_PLACE = re.compile(r"\{([a-z]+)\}")
_TEXTS = ("reasoning", "reference", "verdict")
_PLACES = (*_TEXTS, "criteria", "form", "lowest", "highest")
_WANTED = (
    "A rubric is a .toml with name, version, text, lowest, highest, [criteria] and, if need be, system, max_tokens"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rubric:
    """One set of criteria that a text is marked by, each with a whole number from `lowest` (worst) to `highest`.

    `text` has the places {reasoning}, {reference} and {verdict} for what is marked, filled in as JSON strings so that
    no text can end its own quotation, and {criteria}, {form}, {lowest}, {highest} for the rubric's own. A rubric with
    {reference} is for samples that have one.
    """

    name: str
    version: int
    text: str
    criteria: Mapping[str, str]
    lowest: int = 1
    highest: int = 5
    max_tokens: int = 1024
    system: str | None = None

    @property
    def label(self) -> str:
        """Name and version, as they stand in a metric's name, such as "reference.v1"."""
        return f"{self.name}.v{self.version}"

    @property
    def needs_reference(self) -> bool:
        """Whether it compares with a reference."""
        return "{reference}" in self.text

    @property
    def sha256(self) -> str:
        """64 hex digits over all the fields: layout and comments of the file do not count, every word does."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def messages(self, *, reasoning: str, reference: str, verdict: str) -> list[dict[str, str]]:
        """Return the messages of a chat in which one text is marked."""
        filled = {
            "reasoning": json.dumps(reasoning, ensure_ascii=False),
            "reference": json.dumps(reference, ensure_ascii=False),
            "verdict": json.dumps(verdict, ensure_ascii=False),
            "criteria": "\n".join(f"- {name}: {question}" for name, question in self.criteria.items()),
            "form": json.dumps({name: "N" for name in self.criteria}).replace('"N"', "N"),
            "lowest": str(self.lowest),
            "highest": str(self.highest),
        }
        # In one pass: a place that a text itself names stays as it is.
        text = _PLACE.sub(lambda found: filled.get(found[1], found[0]), self.text)
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": text}]


def metric_name(criterion: str, label: str) -> str:
    """Return the name of a criterion's metric, such as judge_correctness@reference.v1+gpt-4o."""
    return f"judge_{criterion}@{label}"


@functools.cache
def shipped() -> Mapping[str, Rubric]:
    """Return the rubrics of this package by name, the default one first."""
    paths = sorted(SHIPPED.glob("*.toml"), key=lambda path: (path.stem != DEFAULT, path.stem))
    return {rubric.name: rubric for rubric in map(load_file, paths)}


def load(text: str) -> Rubric:
    """Return the rubric of a name or of a file. Raises `UsageError` where there is none, or the file is no rubric."""
    if text in shipped():
        return shipped()[text]
    if Path(text).is_file():
        return load_file(Path(text))
    raise UsageError(
        f"no rubric is called '{text}', and there is no such file.{nearest(text, shipped())} "
        f"Rubrics: {', '.join(shipped())}. {_WANTED}"
    )


def load_file(path: Path) -> Rubric:
    """Return the rubric in a file. Raises `UsageError` naming the file and the field that is wrong."""
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the rubric {path} cannot be read ({error}). {_WANTED}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the rubric {path} is not TOML ({error}). {_WANTED}") from None
    return checked(fields, str(path))


def checked(fields: Mapping[str, Any], source: str) -> Rubric:
    """Return the rubric that some fields make. Raises `UsageError` naming `source` and the field that is wrong."""
    known = Rubric.__dataclass_fields__
    for name, value in fields.items():
        if name not in known:
            raise UsageError(f"the rubric {source} has an unknown field '{name}'.{nearest(name, known)} {_WANTED}")
        if (problem := _problem(name, value)) is not None:
            raise UsageError(f"the rubric {source}: its {name} {problem}, but it is {value!r}")
    for name in ("name", "version", "text", "criteria"):
        if name not in fields:
            raise UsageError(f"the rubric {source} has no {name}. {_WANTED}")
    rubric = Rubric(**{**fields, "text": fields["text"].strip(), "criteria": dict(fields["criteria"])})
    if rubric.lowest >= rubric.highest:
        raise UsageError(f"the rubric {source}: its highest mark, {rubric.highest}, is not above {rubric.lowest}")
    for place in ("reasoning", "criteria", "form"):
        if f"{{{place}}}" not in rubric.text:
            raise UsageError(f"the rubric {source}: its text has no place {{{place}}}")
    unknown = [found for found in _PLACE.findall(rubric.text) if found not in _PLACES]
    if unknown:
        raise UsageError(f"the rubric {source}: its text has an unknown place {{{unknown[0]}}}; {', '.join(_PLACES)}")
    return rubric


def _problem(name: str, value: object) -> str | None:
    """Return what a field must be, where it is not."""
    good: object
    match name:
        case "name":
            good, wanted = isinstance(value, str) and _NAME.fullmatch(value), "must be letters, digits, '_' and '-'"
        case "criteria":
            good, wanted = _criteria(value), "must be a table of questions, with names in small letters"
        case "version" | "max_tokens":
            good, wanted = _whole(value, 1, 1_000_000), "must be a whole number above 0"
        case "lowest" | "highest":
            good, wanted = _whole(value, 0, 100), "must be a whole number from 0 to 100"
        case "system":
            good, wanted = value is None or (isinstance(value, str) and bool(value.strip())), "must be a text"
        case _:
            good, wanted = isinstance(value, str) and bool(value.strip()), "must be a text"
    return None if good else wanted


def _criteria(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(_CRITERION.fullmatch(name) and isinstance(question, str) for name, question in value.items())
    )


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
