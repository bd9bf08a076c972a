"""Prompts as a model's presets, their polarities and repeats as its views: so one name says all, and the key has it."""

from __future__ import annotations

from collections.abc import Mapping

from fdr_bench.prompts import Prompt, load, shipped
from fdr_bench.types import AnswerView, Preset


def presets(
    chosen: str | None, settings: Mapping[str, str | float], *, repeats: int = 1
) -> tuple[dict[str, Preset], dict[tuple[str, str], Prompt]]:
    """Return presets named for the prompts, and the prompt of each (preset, view).

    The first preset is that of `chosen` (a name, "name:polarity" or a file; None: the default); the shipped ones come
    after it. Views are the polarities ("real-first"), and with `repeats` above 1 also "real-first.2" and so on.
    `settings` are all that answers depend on besides; they stand in each view with the prompt's hash, and so in the
    predictions' keys.
    Raises `UsageError` where there is no such prompt.
    """
    asked = dict(shipped()) if chosen is None else {**load(chosen)}
    for name, polarities in shipped().items():
        if name not in asked or asked[name].items() <= polarities.items():  # a file may bear a shipped one's name
            asked[name] = {**asked.get(name, {}), **polarities}
    made: dict[str, Preset] = {}
    questions: dict[tuple[str, str], Prompt] = {}
    for name, polarities in asked.items():
        views = {}
        for polarity, prompt in polarities.items():
            for repeat in range(1, repeats + 1):
                view = view_name(polarity, repeat)
                views[view] = _view(_settings(prompt, settings, repeat))
                questions[name, view] = prompt
        made[name] = Preset(views=views)
    return made, questions


def view_name(view: str, repeat: int) -> str:
    """Return the name of a repeat of a view: the view's own for the first, "view.2" for the second."""
    return view if repeat == 1 else f"{view}.{repeat}"


def _view(settings: Mapping[str, str | float]) -> AnswerView:
    """Return a view of settings alone: what such a model does to pixels is its own."""
    return AnswerView(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), settings=settings)


def _settings(prompt: Prompt, settings: Mapping[str, str | float], repeat: int) -> dict[str, str | float]:
    usual: dict[str, str | float] = {"max_tokens": prompt.max_tokens}
    ends: dict[str, str | float] = {"prompt_version": prompt.version, "prompt_sha256": prompt.sha256}
    return {**usual, **settings, **ends, **({"repeat": repeat} if repeat > 1 else {})}
