"""Resolve a model as named on the command line: preset, weights, view, and the key of its predictions."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, cast

from fdr_bench import families, plugins, weights
from fdr_bench.engines import Model
from fdr_bench.errors import PluginError, UsageError
from fdr_bench.prompts.presets import view_name
from fdr_bench.store import Row
from fdr_bench.types import AnswerView, DetectorCard, DetectorFactory, Preset, SetBaseline, TrainedOn
from fdr_bench.weights_card import read_card

TRAINED = "trained"
"""The view of a folder of `fdr-bench train`: the one that its card has."""


class Candidate(NamedTuple):
    """A detector that was named and could be imported; nothing of its weights is known yet."""

    name: str
    target: str
    factory: DetectorFactory
    preset: str | None
    view: str | None
    options: Mapping[str, str] = {}
    repeat: int = 1


class Resolved(NamedTuple):
    """A model that can run: `entry` is its row in run.json, and either `model` or `baseline` says how."""

    label: str
    entry: Row
    model: Model | None
    baseline: SetBaseline | None
    key: str


def candidates(
    names: Sequence[str],
    files: Sequence[str],
    brought: Mapping[str, str],
    options: Mapping[str, str] | None = None,
) -> tuple[list[Candidate], list[Row]]:
    """Return the detectors named, and with ("all",) the rows of those that cannot be loaded.

    `options` are for models of families, each of which stands among the detectors as often as the repeats say. Raises
    `PluginError` where one named cannot be loaded, `UsageError` where weights or options are for none of them.
    """
    found: list[Candidate] = []
    broken: list[Row] = []
    options = options or {}
    everything = tuple(names) == ("all",)
    for text in plugins.all_names() if everything else names:
        spec = families.parse(text)
        try:
            factory = families.load_detector(spec.name, options)
        except PluginError as error:
            if not everything:
                raise
            broken.append({"model": spec.name, "dataset": None, "reason": str(error)})
            continue
        candidate = Candidate(factory.card.name, spec.name, factory, spec.preset, spec.view)
        if own := families.options_of(spec.name):
            candidate = candidate._replace(options={key: value for key, value in options.items() if key in own})
        times = families.repeats(options) if families.REPEATS in own else 1
        found += [candidate._replace(repeat=repeat) for repeat in range(1, times + 1)]
    for target in files:
        factory = plugins.load_file(target)
        found.append(Candidate(factory.card.name, target, factory, None, None))
    families.refuse_unknown(options, [candidate.target for candidate in found if ".py:" not in candidate.target])
    known = sorted({candidate.name for candidate in found})
    for name in brought:
        if name not in known:
            raise UsageError(
                f"--weights names '{name}', which is not among the models of this run ({', '.join(known)})"
            )
    names_found = [candidate.name for candidate in found]
    for name in set(names_found):
        targets = {candidate.target for candidate in found if candidate.name == name}
        if len(targets) > 1:
            raise UsageError(f"{' and '.join(sorted(targets))} are both called '{name}'; evaluate them in two runs")
    return found, broken


def preset_of(candidate: Candidate, wanted: str | None, usual: str) -> str | None:
    """Return the preset to use: the one named with the model, else `wanted`, else `usual`, else the first.

    None where the detector has no presets. Raises `UsageError` where it has no such preset.
    """
    presets = candidate.factory.card.presets
    if not presets:
        return None
    name = candidate.preset or wanted or (usual if usual in presets else next(iter(presets)))
    if name not in presets:
        raise UsageError(f"{candidate.name} has no preset '{name}'; it has {', '.join(presets)}")
    return name


def resolve_model(
    candidate: Candidate, preset_name: str | None, brought: str | None, device: str, fitted_on: str
) -> Resolved:
    """Find a model's weights and say how it is loaded.

    `brought` is the user's own weights: a folder that `fdr-bench train` wrote, or a checkpoint file in the authors'
    layout. `fitted_on` is the fingerprint of the data that a set baseline is fitted on. Raises `WeightsError` where
    weights are missing, `UsageError` where there is no such view.
    """
    card = candidate.factory.card
    is_baseline = hasattr(candidate.factory, "predict_set")
    trained = _trained(Path(brought), card) if brought else None
    paths: Mapping[str, Path]
    if brought and trained:
        name: str | None = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(brought).resolve().name) or "weights"
        preset = trained
        paths = {"weights": Path(brought).resolve()}
    else:
        name = preset_name
        preset = card.presets[name] if name else Preset()
        paths = weights.resolve_preset(card, name, Path(brought) if brought else None) if name else {}
    if candidate.view and candidate.view not in preset.views:
        known = ", ".join(preset.views) or "none"
        raise UsageError(f"{candidate.name}@{name} has no view '{candidate.view}'; it has {known}")
    view = candidate.view or next(iter(preset.views), None)
    named = candidate.view
    if view and candidate.repeat > 1:
        view = named = view_name(view, candidate.repeat)
    label = candidate.name + (f"@{name}" if name else "") + (f":{named}" if named else "")
    digest = weights.digest(paths.values()) if paths else None
    key = content_hash(
        {
            "detector": candidate.name,
            "version": card.version,
            "plugin": families.version_of(candidate.target),
            "preset": name,
            "view": asdict(preset.views[view]) if view else None,
            "weights": digest,
            "fitted_on": fitted_on if is_baseline else None,
        }
    )
    kind = "set baseline" if is_baseline else "vlm" if card.reasons else "detector"
    entry: Row = {
        **_facts(card, preset),
        "detector": candidate.name,
        "preset": name,
        "view": view,
        "weights_sha256": digest,
        "kind": kind,
    }
    if view and isinstance(chosen := preset.views[view], AnswerView):
        entry["settings"] = dict(chosen.settings)
    if is_baseline:
        baseline = candidate.factory(preset=None, device="cpu", weights={}, view=None)
        return Resolved(label, entry, None, cast(SetBaseline, baseline), key)
    model = Model(
        label=label,
        target=candidate.target,
        preset=None if trained else name,
        view=None if trained and named == TRAINED else named,
        device=device,
        weights={role: str(path) for role, path in paths.items()},
        options=candidate.options,
    )
    return Resolved(label, entry, model, None, key)


def _trained(path: Path, detector: DetectorCard) -> Preset | None:
    """Return what the card of a folder of `fdr-bench train` says, as a preset; None for anything else.

    Its views are the one it was trained with and the detector's ways of answering.
    """
    if not (path / "card.json").is_file():
        return None
    card = read_card(path)
    told = card.trained_on or {}
    trained_on = TrainedOn(dataset=told["dataset"], generators=tuple(told.get("generators", ()))) if told else None
    views = {name: view for preset in detector.presets.values() for name, view in preset.views.items()}
    ways = {name: view for name, view in views.items() if isinstance(view, AnswerView)}
    return Preset(trained_on=trained_on, parameters=card.parameters, views={TRAINED: card.view} | ways)


def content_hash(content: Any) -> str:
    """Return 32 hex digits of the sha256 of the content as sorted JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


def _facts(card: DetectorCard, preset: Preset) -> Row:
    trained_on = preset.trained_on
    return {
        "title": card.title or card.name,
        "paper": card.paper,
        "licence": card.licence,
        "threshold": card.threshold,
        "reasons": card.reasons,
        "parameters": preset.parameters,
        "trained_on": {"dataset": trained_on.dataset, "generators": list(trained_on.generators)}
        if trained_on
        else None,
    }
