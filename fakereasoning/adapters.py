"""Low-rank adapters on the language model (Hu et al., ICLR 2022), by peft: put on, and folded in at the end."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from fakereasoning.lora_folder import ADAPTER_CONFIG, ADAPTERS, IN_FULL
from fakereasoning.official_names import source
from fakereasoning.optimisation import part_of
from fakereasoning.recipe import Lora
from fdr_bench.errors import UsageError
from fdr_bench.store import write_atomically, write_json

ADAPTER = "default"
OWN = ".base_layer."
WRAPPED = "base_model.model."
DOWN, UP = f".lora_A.{ADAPTER}.weight", f".lora_B.{ADAPTER}.weight"


def attach(language: nn.Module, lora: Lora) -> None:
    """Put adapters on a language model in place: they learn, its own weights no longer do.

    Only linear layers inside its blocks are meant: `targets` are the last part of their names. Raises `UsageError`
    where a target is the name of none.
    """
    from peft import LoraConfig, inject_adapter_in_model

    there = {name.rpartition(".")[2] for name, module in language.named_modules() if isinstance(module, nn.Linear)}
    missing = [name for name in lora.targets if name not in there]
    if missing:
        raise UsageError(
            f"the language model has no linear layer '{missing[0]}' for an adapter; expected {', '.join(sorted(there))}"
        )
    language.requires_grad_(False)
    settings = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        bias="none",
    )
    inject_adapter_in_model(settings, language, adapter_name=ADAPTER)


def detach(model: nn.Module) -> None:
    """Take the adapters off again in place, leaving the layers that they were put on as they are."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, module.get_base_layer())


def merged(state: Mapping[str, Tensor], lora: Lora) -> dict[str, Tensor]:
    """Return a model's state with the adapters folded in: W + (alpha / rank) B A, under the plain names.

    Works on a gathered state, so that a model spread over many devices need not be merged there. The products are
    computed in float32.
    """
    scale = lora.alpha / lora.rank
    plain: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.endswith((DOWN, UP)):
            continue
        if OWN in name and name.endswith(".weight"):
            layer = name.replace(f"{OWN}weight", "")
            change = state[layer + UP].float() @ state[layer + DOWN].float()
            tensor = (tensor.float() + scale * change.to(tensor.device)).to(tensor.dtype)
        plain[name.replace(OWN, ".")] = tensor
    return plain


def write_lora_folder(state: Mapping[str, Tensor], lora: Lora, folder: Path) -> None:
    """Write the adapters and what was trained in full beside them as the official training leaves them.

    `state` is the gathered one, before `merged`. The folder goes onto the base model that the training began with:
    adapter_config.json and adapter_model.safetensors in peft's format, non_lora_trainables.bin with the projectors and
    the fusion under official names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    halves = {
        WRAPPED + name.removeprefix("language.").replace(f".{ADAPTER}.", "."): tensor.cpu().contiguous()
        for name, tensor in state.items()
        if name.endswith((DOWN, UP))
    }
    full = {
        WRAPPED + source(name).name: tensor.cpu()
        for name, tensor in state.items()
        if part_of(name) in ("projectors", "fusion")
    }
    buffer = io.BytesIO()
    torch.save(full, buffer)
    write_atomically(folder / IN_FULL, buffer.getvalue())
    write_atomically(folder / ADAPTERS[0], save(halves, metadata={"format": "pt"}))
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "target_modules": list(lora.targets)}
    numbers = {"r": lora.rank, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout}
    write_json(folder / ADAPTER_CONFIG, settings | numbers)
