"""Models that are named by what they are called elsewhere, "openai:gpt-4o" or "vlm:org/model": families of detectors.

A family is an entry point of the group fdr_bench.families, whose name is the prefix. It makes a detector's factory out
of what stands behind the colon and of the user's options; from there on the factory is one like any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol, cast, runtime_checkable

from fdr_bench import plugins
from fdr_bench.cards import check_detector
from fdr_bench.errors import PluginError, UsageError, nearest
from fdr_bench.model_spec import WORD, ModelSpec
from fdr_bench.types import DetectorFactory

REPEATS = "repeats"
"""The option that the harness reads too: how often every image is shown to a model of a family."""


class DetectorFamily(Protocol):
    """What an entry point of the group names: a class or callable that makes factories.

    `options` are those it knows, by name, each with a sentence on what it is for; it gets no other. Card names are as
    `card_name` makes them. Its presets are best the prompts (`fdr_bench.prompts.presets`). Raises `UsageError` where an
    option's value is wrong.
    """

    options: ClassVar[Mapping[str, str]]

    def __call__(self, name: str, options: Mapping[str, str]) -> DetectorFactory: ...


class Failure(NamedTuple):
    """What a detector may give in place of a prediction: the image could not be answered. `kind` is a word or two."""

    kind: str
    reason: str


@runtime_checkable
class KeepsAnswers(Protocol):
    """A detector whose answers are dear: it writes each down when it comes, and never asks again for one it has.

    Its `predict` may be called from several threads at a time.
    """

    def keep_in(self, folder: Path) -> None:
        """Take over the answers in this folder of the run, and keep further ones there. Called before `predict`."""

    def close(self) -> None:
        """Begin nothing more; calls of `predict` that are waiting raise."""


def parse(text: str) -> ModelSpec:
    """Split "family:NAME[@PRESET[:VIEW]]", where NAME may have any characters, or a detector's name as `ModelSpec`.

    A NAME with an "@" in it needs a preset after it. Raises `UsageError` where it is neither, and `PluginError` where
    neither a family nor a detector bears the first word.
    """
    prefix, colon, rest = text.strip().partition(":")
    if not colon:
        return ModelSpec.parse(text)
    if not is_family(prefix):
        _refuse_neither(prefix.partition("@")[0])
        return ModelSpec.parse(text)
    name, at, ending = rest.rpartition("@")
    if not at:
        name, ending = rest, ""
    preset, _, view = ending.partition(":")
    if not name.strip():
        raise UsageError(
            f"'{text}' names no model. Expected {prefix}:NAME, {prefix}:NAME@PRESET or {prefix}:NAME@PRESET:VIEW."
        )
    for word in (preset, view):
        if word and not WORD.fullmatch(word):
            raise UsageError(
                f"'{text}' is not a model: '{word}' behind the '@' may have letters, digits, '.', '_' and '-' only."
            )
    return ModelSpec(f"{prefix}:{name}", preset or None, view or None)


def is_family(prefix: str) -> bool:
    """Return whether an installed package declares a family of this name (or "package/name")."""
    bare = prefix.rpartition("/")[2]
    return any(found.name == bare for found in plugins.discover(plugins.FAMILIES))


def load_detector(name: str, options: Mapping[str, str] | None = None) -> DetectorFactory:
    """Load a detector by its entry point's name, or make the one that "family:NAME" stands for.

    Of `options` a family gets those that it knows; other detectors get none. Raises as `plugins.load_detector` does,
    and `UsageError` where the family does not take an option's value.
    """
    prefix, colon, rest = name.partition(":")
    if not colon:
        return plugins.load_detector(name)
    family = _family(prefix)
    known = {key: value for key, value in (options or {}).items() if key in family.options}
    factory = family(rest, known)
    check_detector(factory, None, version_of(name))
    return factory


def options_of(name: str) -> Mapping[str, str]:
    """Return the options that the family of "family:NAME" knows, each with what it is for; none for a detector."""
    prefix, colon, _ = name.partition(":")
    return _family(prefix).options if colon else {}


def refuse_unknown(options: Mapping[str, str], names: list[str]) -> None:
    """Raise `UsageError` where an option is known to none of the models named."""
    known = {REPEATS: "", **{key: "" for name in names for key in options_of(name)}}
    for key in options:
        if len(known) == 1:
            raise UsageError(f"the option '{key}' is for models such as openai:NAME, and none of this run's is one")
        if key not in known:
            raise UsageError(
                f"no model of this run has an option '{key}'.{nearest(key, known)} Options: {', '.join(sorted(known))}"
            )


def repeats(options: Mapping[str, str]) -> int:
    """Return how often each image is shown to models of families: 1 unless the option says more."""
    text = options.get(REPEATS, "1")
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise UsageError(f"the option 'repeats' is a whole number from 1 to 100, not '{text}'")
    return int(text)


def version_of(target: str) -> str:
    """Return what identifies the code behind a model's target, as `plugins.version_of` does."""
    prefix, colon, _ = target.partition(":")
    if colon and ".py:" not in target:
        found = plugins.find(plugins.FAMILIES, prefix)
        return f"{found.distribution} {found.version}"
    return plugins.version_of(target)


def card_name(prefix: str, name: str) -> str:
    """Return a name for the card: what stands in names of folders, such as "openai-gpt-4o"."""
    return f"{prefix}-" + re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-")


def _refuse_neither(word: str) -> None:
    """Raise `PluginError` where no detector has this name: behind a colon may then stand a model's, not a view's."""
    detectors = {found.name for found in plugins.discover(plugins.DETECTORS)}
    if word.rpartition("/")[2] not in detectors:
        known = [*detectors, *(found.name for found in plugins.discover(plugins.FAMILIES))]
        raise PluginError(
            f"no detector or family is called '{word}'.{nearest(word, known)} 'fdr-bench list models' shows all."
        )


def _family(prefix: str) -> DetectorFamily:
    family = plugins.load(plugins.FAMILIES, prefix)
    if not callable(family) or not isinstance(getattr(family, "options", None), Mapping):
        raise PluginError(f"the family '{prefix}' is not one: it must be callable and have 'options'. Tell its author.")
    return cast(DetectorFamily, family)
