"""FakeReasoning at a tiny size with filled weights, and comparing it with what the official code gave for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fakereasoning.config import FakeReasoningConfig
from fakereasoning.model import FakeReasoning
from fakereasoning.official import from_official
from fakereasoning.official_names import FUSION, source
from tests.goldens import folders
from tests.goldens.fill import fill_state

_UNUSED = ("pretraining_tp", "use_cache", "rope_theta")  # rope_theta is Llama's usual 10,000


def fixtures(name: str) -> list[Path]:
    """Return the places of a fixture: tests/goldens, and the folder that FDR_BENCH_GOLDENS names where it has it."""
    return [path for folder in folders() if (path := folder / f"fakereasoning_{name}.json").is_file()]


def read(path: Path) -> dict[str, Any]:
    """Return a fixture's figures."""
    figures: dict[str, Any] = json.loads(path.read_text())
    return figures


def filled_config(figures: Mapping[str, Any]) -> FakeReasoningConfig:
    """Return the config of the tiny fixture."""
    told = figures["config"]
    language = {name: value for name, value in told["language_model"].items() if name not in _UNUSED}
    dino, fusion = told["dino"], told["fusion"]
    return FakeReasoningConfig(
        vision="clip+dino",
        fusion="faff",
        clip=told["clip"],
        dino={
            "hidden_size": dino["embed_dim"],
            "num_hidden_layers": dino["depth"],
            "num_attention_heads": dino["num_heads"],
            "mlp_ratio": dino["mlp_ratio"],
            "image_size": dino["img_size"],
            "patch_size": dino["patch_size"],
            "layer_norm_eps": dino["layer_norm_eps"],
        },
        language=language,
        fusion_heads=fusion["heads"],
        fusion_hidden=fusion["ff_size"],
        bias_hidden=fusion["bias_mlp_hidden_channels"],
        dropout=fusion["dropout"],
        select_layer=told["multimodal"]["mm_vision_select_layer"],
        max_length=told["multimodal"]["tokenizer_model_max_length"],
    )


def write_config(folder: Path, figures: Mapping[str, Any], **changes: Any) -> None:
    """Write the tiny fixture's config.json as the official code does; its towers are those of `filled_config`."""
    # The released code knows ViT-L/14 alone.
    told = figures["config"]["language_model"] | figures["config"]["multimodal"] | {"mm_hidden_size": 1024} | changes
    (folder / "config.json").write_text(json.dumps(told))


def filled_state(figures: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the filled official state dict of the tiny fixture."""
    return fill_state(figures["manifest"], figures["fill"]["seed"])


def filled_model(figures: Mapping[str, Any]) -> FakeReasoning:
    """Return the tiny model with the filled weights, in evaluation mode."""
    return from_official(filled_config(figures), filled_state(figures), "the filled state")


def fusion_name(own: str) -> str:
    """Return the official name, inside the fusion block, of one of our block's tensors."""
    return source(f"fusion.{own}").name.removeprefix(FUSION)


def noise(told: Mapping[str, Any]) -> Tensor:
    """Return the fixture's pixels: float32 normal noise of a seed."""
    drawn = np.random.RandomState(told["numpy_random_state"]).standard_normal(told["shape"])
    return torch.from_numpy(drawn.astype(np.float32))


def sampled(told: Mapping[str, Any], tensor: Tensor) -> float:
    """Return the largest difference of a tensor from the values, the mean and the deviation told of it."""
    array = tensor.detach().double().numpy()
    assert list(array.shape) == told["shape"]
    flat = array.reshape(-1)
    at = np.linspace(0, flat.size - 1, len(told["values"])).astype("int64")
    moments = [flat.mean() - told["mean"], flat.std() - told["std"]]
    return float(np.abs([*(flat[at] - np.array(told["values"])), *moments]).max())
