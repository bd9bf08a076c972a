"""A model's folder: config.json and model.safetensors, whose tensors have the model's own names."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from fakereasoning.checkpoints import all_finite, read_file, read_json, some
from fakereasoning.config import FakeReasoningConfig
from fakereasoning.recipe import Precision
from fakereasoning.vision import ClipTower
from fdr_bench.errors import UsageError, WeightsError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
DTYPES: Mapping[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_EMBEDDING, _HEAD = "language.model.embed_tokens.weight", "language.lm_head.weight"


class Stored(nn.Module):
    """What saves and loads a `FakeReasoning` model, whatever its size."""

    language: LlamaForCausalLM

    def __init__(self, config: FakeReasoningConfig) -> None:
        super().__init__()
        self.config = config

    @classmethod
    def empty(cls, config: FakeReasoningConfig) -> Self:
        """Return a model without storage (on the meta device), for `load_tensors` to fill."""
        with torch.device("meta"):
            return cls(config)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
    ) -> Self:
        """Return the model that `save_pretrained` wrote, in evaluation mode.

        Its weights become `dtype`, or stay as they are stored. Raises `WeightsError` where a file is missing or
        damaged, or where the tensors are not the config's.
        """
        folder = Path(folder)
        try:
            config = FakeReasoningConfig.from_json(read_json(folder / CONFIG))
        except UsageError as error:
            raise WeightsError(f"{folder / CONFIG} is no FakeReasoning config: {error}") from error
        model = cls.empty(config)
        model.load_tensors(read_file(folder / WEIGHTS), str(folder / WEIGHTS), dtype=dtype, device=device)
        return model.eval()

    def load_tensors(
        self,
        tensors: Mapping[str, Tensor],
        source: str,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Take over tensors by the model's own names, which become its storage: nothing is copied without need.

        A tied output layer may be given or not. Raises `WeightsError` that names missing, unknown, wrongly shaped and
        non-finite tensors and says they came from `source`.
        """
        own = self.stored_tensors()
        given = {name: tensor for name, tensor in tensors.items() if name in own or name != self._tied}
        check_tensors(own, given, source)
        state = {
            name: tensor.to(device, (dtype or tensor.dtype) if tensor.is_floating_point() else tensor.dtype)
            for name, tensor in given.items()
        }
        if self._tied:
            state[_HEAD] = state[_EMBEDDING]
        self.load_state_dict(state, assign=True)
        if self._tied:
            self.language.lm_head.weight = self.language.get_input_embeddings().weight
        self._compute_buffers(torch.device(device))

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write the config and the weights, as `dtype` where one is given; a tied output layer is not written twice.

        The folder is made where it is missing. The weights appear whole or not at all.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            name: tensor.detach().to("cpu", (dtype or tensor.dtype) if tensor.is_floating_point() else tensor.dtype)
            for name, tensor in self.stored_tensors().items()
        }
        written = folder / f"{WEIGHTS}.part"
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, written, metadata={"format": "pt"})
        os.replace(written, folder / WEIGHTS)
        text = json.dumps(self.config.to_json(), indent=1) + "\n"
        (folder / CONFIG).write_text(text, encoding="utf-8")

    def stored_tensors(self) -> dict[str, Tensor]:
        """Return the tensors that a file of this model holds, by name: its state without a tied output layer."""
        return {name: tensor for name, tensor in self.state_dict().items() if name != self._tied}

    @property
    def _tied(self) -> str | None:
        return _HEAD if self.config.language.get("tie_word_embeddings") else None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # A cast of the model must not cast the rotary frequencies, whose products with positions go into the hundreds.
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for module in self.modules():
            if isinstance(module, LlamaRotaryEmbedding) and module.inv_freq.dtype != torch.float32:
                _compute_frequencies(module, module.inv_freq.device)
        return self

    def _compute_buffers(self, device: torch.device) -> None:
        """Give the buffers that no file holds their values."""
        for module in self.modules():
            if isinstance(module, LlamaRotaryEmbedding):
                _compute_frequencies(module, device)
            elif isinstance(module, ClipTower):
                places = module.embeddings
                numbers = torch.arange(places.num_positions, device=device).expand((1, -1))
                places.register_buffer("position_ids", numbers, persistent=False)


def check_tensors(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str) -> None:
    """Raise `WeightsError` naming every kind of misfit between a model's tensors and given ones."""
    problems = []
    if missing := [name for name in expected if name not in given]:
        problems.append(f"{len(missing)} missing ({some(missing)})")
    if unknown := [name for name in given if name not in expected]:
        problems.append(f"{len(unknown)} unknown ({some(unknown)})")
    misshapen = [
        f"{name} is {list(tensor.shape)}, expected {list(expected[name].shape)}"
        for name, tensor in given.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    if misshapen:
        problems.append(f"{len(misshapen)} of another shape ({some(misshapen)})")
    if broken := [name for name, tensor in given.items() if not tensor.is_meta and not all_finite(tensor)]:
        problems.append(f"{len(broken)} with values that are not finite ({some(broken)})")
    if problems:
        raise WeightsError(
            f"{source} does not fit the model. Tensors: {'; '.join(problems)}. "
            "Expected a checkpoint of this very config; nothing was loaded"
        )


def _compute_frequencies(rotary: Any, device: torch.device) -> None:
    fresh = type(rotary)(rotary.config).to(device)
    rotary.inv_freq, rotary.original_inv_freq = fresh.inv_freq, fresh.original_inv_freq
