"""Pictures and weights folders that the tests of the detectors make for themselves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from baselines._torch import TorchDetector
from fdr_bench.weights_card import view_to_json


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return noise of so many px."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def weights_folder(factory: type[TorchDetector], size: str, folder: Path, *, half: bool = False) -> Path:
    """Write an untrained network of this size as `fdr-bench train` writes a trained one."""
    torch.manual_seed(0)
    architecture = factory.sizes()[size]
    network = factory.network(**architecture)
    state = {
        name: value.half() if half and value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "model.safetensors")
    recipe = factory.recipe(size)
    card = {
        "format": 1,
        "detector": factory.card.name,
        "size": size,
        "architecture": dict(architecture),
        "view": view_to_json(recipe.view),
        "trained_on": {"dataset": "made", "generators": ["noise"]},
        "recipe": {"save": list(recipe.save)},
    }
    (folder / "card.json").write_text(json.dumps(card))
    return folder
