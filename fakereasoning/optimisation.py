"""The optimizer of a stage: a learning rate for each part of the model, and its course over the training."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from fakereasoning.muon import MuonAndAdamW, matrices_of
from fakereasoning.recipe import Part, TuneRecipe
from fdr_bench.errors import UsageError

PART_OF: dict[str, Part] = {
    "clip": "clip",
    "dino": "dino",
    "clip_projector": "projectors",
    "dino_projector": "projectors",
    "fusion": "fusion",
    "concepts": "concepts",
    "language": "language",
}
"""The model's children by name, each with the part of the recipe that it belongs to."""


def part_of(name: str) -> Part:
    """Return the part that a parameter of `FakeReasoning` belongs to, by its full name. Raises `UsageError`."""
    child = name.partition(".")[0]
    if child not in PART_OF:
        raise UsageError(f"the parameter '{name}' is of no part of the model; expected one of {', '.join(PART_OF)}")
    return PART_OF[child]


def parameter_groups(model: nn.Module, recipe: TuneRecipe) -> list[dict[str, Any]]:
    """Return what AdamW takes: the parameters that learn, by highest learning rate ("peak") and weight decay.

    Vectors (biases, norms, class tokens) are not decayed. Groups are in a fixed order, which a saved state relies on.
    """
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            peak = recipe.rates.get(part_of(name), recipe.lr)
            decay = recipe.weight_decay if parameter.squeeze().ndim > 1 else 0.0
            found.setdefault((peak, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": peak, "peak": peak, "weight_decay": decay}
        for (peak, decay), parameters in found.items()
    ]


def optimizer(model: nn.Module, recipe: TuneRecipe, heads: Iterable[nn.Module | None] = ()) -> torch.optim.Optimizer:
    """Return the optimizer of the parameters that learn, and of heads', of which a model may have some as its concepts.

    Raises `UsageError` where a model has none that learns.
    """
    groups = parameter_groups(model, recipe)
    if not groups:
        raise UsageError(
            f"nothing to train: the model has none of the parts {', '.join(recipe.trainable)}; "
            "name others in the recipe's 'trainable'"
        )
    own = {id(parameter) for parameter in model.parameters()}
    for head in filter(None, heads):
        if others := [parameter for parameter in head.parameters() if id(parameter) not in own]:
            groups.append({"params": others, "lr": recipe.lr, "peak": recipe.lr, "weight_decay": 0.0})
    return optimizer_of(groups, model, recipe.muon, recipe.betas)


def optimizer_of(
    groups: list[dict[str, Any]], model: nn.Module, muon: float | None, betas: tuple[float, float]
) -> torch.optim.Optimizer:
    """Return AdamW on groups of parameters; with `muon` the model's matrices among them learn by it instead."""
    if muon is None:
        return torch.optim.AdamW(groups, betas=betas, fused=True)
    return MuonAndAdamW(groups, matrices_of(model), factor=muon, betas=betas)


def course(fraction: float, warmup: float) -> float:
    """Return the share of the peak rate at a fraction of the training: a straight rise, then half a cosine to 0."""
    if fraction < warmup:
        return fraction / warmup
    if warmup >= 1:
        return 1.0
    return (1 + math.cos(math.pi * min(1.0, (fraction - warmup) / (1 - warmup)))) / 2


def set_rates(optimizer: torch.optim.Optimizer, fraction: float, warmup: float) -> None:
    """Give every group the learning rate that its course has at this fraction of the training."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * course(fraction, warmup)


def recompute_blocks(blocks: Iterable[nn.Module]) -> None:
    """Have blocks compute their activations again in the backward pass, instead of keeping them until then.

    Done here, since the name of transformers' own switch depends on its version. The blocks keep their parameters'
    names.
    """
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
