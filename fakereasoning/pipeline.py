"""All stages of a model in order, words to tuning, and its calibration; each is skipped where it has finished before.

OUT/words/ OUT/base/ …          what each stage leaves, in the model's own precision
OUT/model.safetensors           the result in float16, with config.json and tokenizer.json
OUT/calibration.json            its temperature and how good that is, with reliability.html
OUT/card.json                   what it is and how it came about, all stages in it; written last
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import torch

from fakereasoning.acceleration import compiled
from fakereasoning.calibrating import calibrate_folder, is_calibrated, remove_outdated
from fakereasoning.calibration import FIGURE
from fakereasoning.config import FakeReasoningConfig, Fusion, Vision
from fakereasoning.detector import card_facts
from fakereasoning.facl_recipe import FaclRecipe
from fakereasoning.material import BEFORE, Material, Stage, gather
from fakereasoning.prompts import QUESTION
from fakereasoning.recipe import Questions, TuneRecipe, read_recipe
from fakereasoning.records import tokenizer_texts
from fakereasoning.sizes import size
from fakereasoning.stage1 import train_facl
from fakereasoning.starting import Start, fresh, read_start, with_dino
from fakereasoning.training import CARD, FORMAT, tune
from fakereasoning.words import WordsRecipe
from fakereasoning.words_stage import train_words
from fdr_bench.data import open_dataset
from fdr_bench.errors import UsageError, nearest
from fdr_bench.store import read_json, write_json
from fdr_bench.terminal import say
from fdr_bench.types import Dataset

Recipe = TuneRecipe | FaclRecipe | WordsRecipe
STAGES: tuple[Stage, ...] = get_args(Stage)
ABOUT: Mapping[Stage, str] = {
    "words": "to see what is said of images",
    "base": "to describe images",
    "evidence": "to see what is wrong, and where",
    "facl": "to see forgery",
    "tune": "to reason and to judge",
}
ALONE: tuple[Stage, ...] = (*BEFORE, "evidence")
"""Stages before which a model that begins with CLIP alone gets no DINO."""
DROPPED = ("identity", "format", "kind", "detector", "size", "trained_on", "architecture", "view", "parameters")
"""What the final card says once, and not again for each stage."""
MADE_OF = ("averaged", "shared")
"""What was done between stages, which a card takes over from the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be trained, on what, and within which limits."""

    data: str
    out: Path
    recipe: str = "nano"
    """Of `fakereasoning/recipes`, or a file."""
    size: str | None = None
    """In place of the recipe's."""
    vision: Vision | None = None
    fusion: Fusion | None = None
    start: Path | None = None
    """A folder to begin with in place of the base stage, trained here or official."""
    clip: Path | None = None
    dino: Path | None = None
    lora_base: Path | None = None
    """Towers outside an official folder, and the base of one that holds adapters."""
    stages: tuple[Stage, ...] | None = None
    """Those of the recipe to do; None: all that it has."""
    changes: Mapping[Stage, Mapping[str, Any]] = field(default_factory=dict)
    """Fields of the recipe's stages to replace."""
    steps: int | None = None
    """Steps of the optimizer in each stage, for a trial."""
    max_minutes: Mapping[Stage, float] = field(default_factory=dict)
    seed: int = 0
    threads: int | None = None
    device: str = "cpu"
    compile: bool = False
    """Have torch compile what learns (see `fakereasoning.acceleration`)."""
    resume: bool = True
    quiet: bool = False
    validation: str | None = None
    """Labelled data that nothing was trained on; the result is calibrated on it."""
    command: str = ""
    """What to put into the card: how to do it again."""


def train(plan: Plan) -> Path:
    """Do all stages and return the folder of the result, `plan.out`.

    Raises `UsageError` for a recipe, size or data that do not go together, and what the stages raise.
    """
    content = read_recipe(plan.recipe)
    # A mistake in a later stage, or in the data of the calibration, shows before the first has taken its time.
    recipes = {stage: _recipe(plan, content, stage) for stage in _stages(plan, content)}
    validation = None if plan.validation is None else open_dataset(plan.validation)
    material = gather(plan.data, _asked(plan, content), recipes)
    current = _start(plan, content, material, next(iter(recipes)))
    facts = _facts(plan, content, material.dataset)
    cards: dict[str, Mapping[str, Any]] = {}
    for stage, recipe in recipes.items():
        if stage not in ALONE:
            current = current._replace(model=with_dino(current.model, _whole(plan, content), seed=plan.seed))
        current, cards[stage] = _do(stage, plan.out / stage, current, plan, recipe, facts, material)
    _write(current, plan, facts, cards)
    if validation is not None:
        _calibrate(plan, validation)
    return plan.out


def train_stage(plan: Plan, stage: Stage) -> Path:
    """Do one stage and return its folder, `plan.out`: without folders of stages and in the model's own precision."""
    content = read_recipe(plan.recipe)
    _stages(replace(plan, stages=(stage,)), content)
    recipe = _recipe(plan, content, stage)
    material = gather(plan.data, _asked(plan, content), {stage: recipe})
    facts = _facts(plan, content, material.dataset)
    _do(stage, plan.out, _start(plan, content, material, stage), plan, recipe, facts, material)
    return plan.out


def _do(
    stage: Stage,
    out: Path,
    start: Start,
    plan: Plan,
    recipe: Recipe,
    facts: Mapping[str, Any],
    material: Material,
) -> tuple[Start, Mapping[str, Any]]:
    """Do one stage in the folder `out`; return what it leaves and its card."""
    _tell(plan, f"{stage}, {ABOUT[stage]}: {out}{', finished before' if plan.resume and (out / CARD).exists() else ''}")
    with compiled(start.model, plan.device) if plan.compile else nullcontext():
        common: dict[str, Any] = {
            "out": out,
            "seed": plan.seed,
            "resume": plan.resume,
            "threads": plan.threads,
            "device": plan.device,
            "max_minutes": plan.max_minutes.get(stage),
            "quiet": plan.quiet,
            "facts": {**facts, "kind": stage, "compiled": plan.compile, **card_facts(start.model.config)},
        }
        if not isinstance(recipe, TuneRecipe):
            samples = material.dataset.samples
            result = (
                train_facl(start.model, samples, recipe=recipe, kinds=material.kinds, **common)
                if isinstance(recipe, FaclRecipe)
                else train_words(
                    start.model, start.codec, samples, material.questions, material.shown, recipe=recipe, **common
                )
            )
            # The folder of a stage is whole: the next may begin with it alone.
            start.codec.save(out)
            return start._replace(model=result.model), result.card
        records = material.questions if stage == "base" else [*material.told, *material.rehearsed]
        told = {"samples": material.dataset.samples, "kinds": material.kinds, "shown": material.drawn}
        tuned = tune(start.model, start.codec, records, recipe=recipe, **told, **common)
        return start._replace(model=tuned.model), tuned.card


def _calibrate(plan: Plan, validation: Dataset) -> None:
    """Calibrate the result, unless that has been done on these very data."""
    done = plan.resume and is_calibrated(plan.out, validation)
    _tell(plan, f"calibration on {validation.name}: {plan.out}{', finished before' if done else ''}")
    if not done:
        place = plan.out / FIGURE
        calibrate_folder(plan.out, validation, figure=place, device=plan.device, threads=plan.threads, quiet=plan.quiet)


def _tell(plan: Plan, text: str) -> None:
    # Under `accelerate launch` every process comes here.
    if not plan.quiet and os.environ.get("RANK", "0") == "0":
        say(text)


def _asked(plan: Plan, content: Mapping[str, Any]) -> Questions:
    """Return which question goes with each chain of thought."""
    return TuneRecipe.from_json(_fields(plan, content, "tune")).questions


def _recipe(plan: Plan, content: Mapping[str, Any], stage: Stage) -> Recipe:
    """Return a stage's recipe with the plan's changes. Raises `UsageError`."""
    fields = _fields(plan, content, stage)
    kinds: Mapping[Stage, type[Recipe]] = {"words": WordsRecipe, "evidence": FaclRecipe, "facl": FaclRecipe}
    return kinds.get(stage, TuneRecipe).from_json(fields)


def _fields(plan: Plan, content: Mapping[str, Any], stage: Stage) -> dict[str, Any]:
    """Return the fields of a stage's recipe with the plan's changes."""
    fields = {**content.get(stage, {}), **plan.changes.get(stage, {})}
    return fields if plan.steps is None else fields | {"steps": plan.steps}


def _stages(plan: Plan, content: Mapping[str, Any]) -> tuple[Stage, ...]:
    """Return the stages to do, in order. Raises `UsageError` where the plan names one that is not there."""
    known = tuple(stage for stage in STAGES if stage in content)
    for stage in [*(plan.stages or ()), *plan.changes, *plan.max_minutes]:
        if stage not in known:
            raise UsageError(
                f"the recipe '{plan.recipe}' has no stage '{stage}'; expected {', '.join(known)}."
                f"{nearest(stage, known)}"
            )
    chosen = tuple(stage for stage in known if plan.stages is None or stage in plan.stages)
    return tuple(stage for stage in chosen if plan.start is None or stage not in BEFORE)


def _whole(plan: Plan, content: Mapping[str, Any]) -> FakeReasoningConfig:
    """Return the config of the plan's size with its towers and fusion: what a model of CLIP alone becomes in FACL."""
    name = plan.size or str(content.get("size", "nano"))
    return size(name, vision=plan.vision, fusion=plan.fusion)


def _start(plan: Plan, content: Mapping[str, Any], material: Material, stage: Stage) -> Start:
    """Return what `stage`, the first to be done, begins with."""
    alone = stage in ALONE and content.get("base_vision") == "clip"
    if plan.start is not None:
        if plan.vision is not None or plan.size is not None:
            raise UsageError("size and vision come from the folder that the training starts with; leave them out")
        return read_start(
            plan.start,
            base=plan.lora_base,
            clip=plan.clip,
            dino=plan.dino,
            fusion=None if alone else plan.fusion,
            whole=_whole(plan, content) if "base_vision" in content and not alone else None,
            # Under adapters the model's own weights stay as they are, and may take half the memory.
            dtype=torch.bfloat16 if _fields(plan, content, "tune").get("lora") else torch.float32,
            seed=plan.seed,
        )
    return fresh(
        plan.size or str(content.get("size", "nano")),
        tokenizer_texts([*material.records, *material.questions], QUESTION),
        vocabulary=int(content.get("vocabulary", 1024)),
        vision="clip" if alone else plan.vision,
        fusion=None if alone else plan.fusion,
        seed=plan.seed,
    )


def _facts(plan: Plan, content: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    """Return what every card of this training says. Paths of this machine are not in it."""
    fakes = [sample for sample in dataset.samples if sample.label == "fake"]
    return {
        "detector": "fakereasoning",
        "size": plan.size or content.get("size", "nano"),
        "trained_on": {
            "dataset": dataset.name,
            "spec": dataset.spec if dataset.spec.startswith("scenes") else dataset.name,
            "fingerprint": dataset.fingerprint,
            "generators": sorted({sample.generator for sample in fakes if sample.generator}),
            "n_real": len(dataset.samples) - len(fakes),
            "n_fake": len(fakes),
        },
    }


def _write(result: Start, plan: Plan, facts: Mapping[str, Any], cards: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the result of the last stage to `plan.out`, in float16; what is left of other weights goes."""
    result.model.save_pretrained(plan.out, dtype=torch.float16)
    remove_outdated(plan.out)
    result.codec.save(plan.out)
    before = read_json(plan.start / CARD) if plan.start and (plan.start / CARD).is_file() else {}
    told = dict(before.get("stages", {}))
    for stage, card in cards.items():
        told |= {f"{stage}, {sum(one.startswith(stage) for one in told)}": told.pop(stage)} if stage in told else {}
        told[stage] = {name: value for name, value in card.items() if name not in DROPPED}
    write_json(
        plan.out / CARD,
        {
            "format": FORMAT,
            **{name: before[name] for name in MADE_OF if name in before},
            **facts,
            "kind": "fakereasoning",
            **card_facts(result.model.config),
            "parameters": sum(parameter.numel() for parameter in result.model.parameters()),
            "seed": plan.seed,
            "command": plan.command,
            "seconds": round(sum(float(stage["seconds"]) for stage in told.values()), 1),
            "stages": told,
        },
    )
