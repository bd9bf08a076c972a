"""A folder of the official LoRA training, put on top of its base model.

It has an adapter in peft's format (Hu et al., ICLR 2022) for the language model's linear layers, and
`non_lora_trainables.bin` with the projectors and the fusion, which are trained in full.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from fakereasoning.checkpoints import read_file, read_json, some
from fdr_bench.errors import WeightsError

ADAPTER_CONFIG = "adapter_config.json"
ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
IN_FULL = "non_lora_trainables.bin"
_WRAPPED = "base_model.model."
_HALF = re.compile(r"(.+)\.lora_([AB])(?:\.default)?\.weight")
# Settings of peft that change what an adapter computes; the official recipe uses none of them.
_PLAIN: Mapping[str, tuple[object, ...]] = {
    "use_dora": (False, None),
    "fan_in_fan_out": (False, None),
    "bias": ("none", None),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "modules_to_save": ([], None),
}


def is_lora_folder(folder: Path) -> bool:
    """Return whether a folder holds an adapter or what was trained beside one, and no whole model."""
    return (folder / ADAPTER_CONFIG).is_file() or (folder / IN_FULL).is_file()


def on_base(folder: Path, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the base model's state with the folder's full tensors in place and its adapter folded in.

    W + (alpha / rank) B A is computed in float32 and stored in W's dtype. Raises `WeightsError` where a file is
    missing, the adapter has settings that are not plain LoRA, or its tensors do not fit the base.
    """
    state = dict(base)
    full = {name.removeprefix(_WRAPPED): tensor for name, tensor in read_file(folder / IN_FULL).items()}
    state |= {name: tensor.to(_dtype_of(state)) for name, tensor in full.items()}
    return _folded(state, folder)


def _folded(state: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    settings = read_json(folder / ADAPTER_CONFIG)
    scale = _scale(settings, folder)
    path = next((folder / name for name in ADAPTERS if (folder / name).is_file()), folder / ADAPTERS[0])
    halves: dict[str, dict[str, Tensor]] = {}
    unknown = []
    for name, tensor in read_file(path).items():
        if match := _HALF.fullmatch(name.removeprefix(_WRAPPED)):
            halves.setdefault(f"{match[1]}.weight", {})[match[2]] = tensor
        else:
            unknown.append(name)
    if unknown:
        raise WeightsError(f"{path} holds tensors of no LoRA adapter: {some(unknown)}; expected lora_A and lora_B only")
    if lacking := _without_adapter(state, halves, settings):
        raise WeightsError(f"{path} has no adapter for {some(lacking)}, which {ADAPTER_CONFIG} says it adapts")
    for name, pair in halves.items():
        state[name] = _sum(state.get(name), pair, scale, f"{path}: the adapter of {name}")
    return state


def _sum(weight: Tensor | None, pair: Mapping[str, Tensor], scale: float, what: str) -> Tensor:
    if weight is None:
        raise WeightsError(f"{what} has no such tensor in the base model to go onto; give the base it was trained on")
    if pair.keys() != {"A", "B"}:
        raise WeightsError(f"{what} has only lora_{next(iter(pair))}; expected lora_A and lora_B. Fetch it anew")
    down, up = pair["A"], pair["B"]
    fits = down.ndim == up.ndim == 2 and len(down) == up.shape[1] and weight.shape == (len(up), down.shape[1])
    if not fits:
        raise WeightsError(
            f"{what} is {list(up.shape)} times {list(down.shape)}, which does not give the base's "
            f"{list(weight.shape)}; give the base it was trained on"
        )
    return (weight.float() + scale * (up.float() @ down.float())).to(weight.dtype)


def _scale(settings: Mapping[str, Any], folder: Path) -> float:
    for name, plain in _PLAIN.items():
        if settings.get(name) not in plain:
            raise WeightsError(
                f"{folder / ADAPTER_CONFIG} sets {name} to {settings[name]!r}, which is not read here; expected plain "
                "LoRA. Merge the adapter with peft and give the merged folder"
            )
    rank, alpha = settings.get("r"), settings.get("lora_alpha")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise WeightsError(f"{folder / ADAPTER_CONFIG} has r {rank!r} and lora_alpha {alpha!r}; expected numbers")
    return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def _without_adapter(
    state: Mapping[str, Tensor], halves: Mapping[str, object], settings: Mapping[str, Any]
) -> list[str]:
    """Return the language model's layers that the adapter's settings name and its tensors lack."""
    targets = settings.get("target_modules")
    if not isinstance(targets, list):  # a pattern of peft's
        return []
    return [
        name
        for name in state
        if name.startswith("model.layers.")
        and name.removesuffix(".weight").rpartition(".")[2] in targets
        and name not in halves
    ]


def _dtype_of(state: Mapping[str, Tensor]) -> Any:
    """Return the dtype of a language model's state: that of its token embeddings."""
    if "model.embed_tokens.weight" not in state:
        raise WeightsError("the base model has no model.embed_tokens.weight; expected a Llama, MoF or LLaVA checkpoint")
    return state["model.embed_tokens.weight"].dtype
