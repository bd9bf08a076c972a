"""Check that what an entry point names is a detector, and that its card is complete and true to its name."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fdr_bench.errors import PluginError
from fdr_bench.model_spec import WORD
from fdr_bench.types import DetectorCard, Preset, View, Weights


def check_detector(factory: object, name: str | None, origin: str) -> DetectorCard:
    """Return the card of `factory`; raises `PluginError` where it is no detector or its card has faults.

    `name` is the entry point's name, which the card must bear (None: any); `origin` says in messages whose it is.
    """
    shown = getattr(factory, "__qualname__", repr(factory))
    called = f"'{name}' of {origin}" if name else f"'{shown}' in {origin}"
    if not callable(factory):
        raise PluginError(f"{called} is not a detector: {shown} cannot be called. Name a class with a card.")
    card = getattr(factory, "card", None)
    if card is None:
        raise PluginError(f"{called} is not a detector: {shown} has no 'card'. Give it card = DetectorCard(…).")
    if not isinstance(card, DetectorCard):
        raise PluginError(f"{called}: its card is a {type(card).__name__}; it must be a fdr_bench.types.DetectorCard.")
    faults = card_faults(card, name)
    if isinstance(factory, type) and not (hasattr(factory, "predict") or hasattr(factory, "predict_set")):
        faults.append("the class has neither predict(images) nor predict_set(files, fake, groups)")
    if faults:
        raise PluginError(f"{called} cannot be used: {'; '.join(faults)}. Correct the card of {shown}.")
    return card


def card_faults(card: DetectorCard, name: str | None = None) -> list[str]:
    """Return what is wrong with a card, a phrase a fault; an empty list where it is complete."""
    faults = []
    if not isinstance(card.name, str) or not WORD.fullmatch(card.name):
        faults.append(f"its name {card.name!r} may have letters, digits, '.', '_' and '-' only")
    elif name is not None and card.name != name:
        faults.append(f"the card is called '{card.name}' and the entry point '{name}': they must be the same")
    for word in ("paper", "licence", "version"):
        text = getattr(card, word)
        if not isinstance(text, str) or not text.strip():
            faults.append(f"the card has no {word}")
    if not _is_share(card.threshold):
        faults.append(f"its threshold {card.threshold!r} is not a number in [0, 1]")
    if not isinstance(card.presets, Mapping):
        return [*faults, f"its presets are a {type(card.presets).__name__}, not a mapping of name to Preset"]
    for preset_name, preset in card.presets.items():
        faults += _preset_faults(preset_name, preset)
    return faults


def _preset_faults(name: object, preset: object) -> list[str]:
    if not isinstance(name, str) or not WORD.fullmatch(name):
        return [f"its preset {name!r} may have letters, digits, '.', '_' and '-' only"]
    if not isinstance(preset, Preset):
        return [f"its preset '{name}' is a {type(preset).__name__}, not a fdr_bench.types.Preset"]
    faults = []
    for view_name, view in preset.views.items():
        if not WORD.fullmatch(view_name) or not isinstance(view, View):
            faults.append(f"view {view_name!r} of preset '{name}' is not a named fdr_bench.types.View")
    if not all(isinstance(weights, Weights) for weights in preset.weights):
        faults.append(f"the weights of preset '{name}' are not fdr_bench.types.Weights")
    roles = [weights.role for weights in preset.weights if isinstance(weights, Weights)]
    if len(set(roles)) < len(roles):
        faults.append(f"two weights of preset '{name}' have one role")
    return faults


def _is_share(number: object) -> bool:
    return (
        isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number) and 0 <= number <= 1
    )
