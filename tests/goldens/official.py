"""How each official checkpoint is laid out, so that a filled one can be loaded through files as a user's would be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.goldens.fill import fill_state

PRESETS: Mapping[str, tuple[str, str]] = {}
"""Entry point and preset of what a fixture calls `detector`, where these are not that very name and "official"."""


def preset_of(detector: str) -> tuple[str, str]:
    """Return the names of the entry point and of the preset that a fixture is about."""
    return PRESETS.get(detector, (detector, "official"))


def write_checkpoint(figures: Mapping[str, Any], folder: Path, role: str) -> dict[str, Path]:
    """Write a filled checkpoint in the official wrapping; return its path under `role`, and others by role."""
    seed, key = figures["fill_seed"], figures["checkpoint"].get("network_key")
    state = fill_state(figures["state_dict"], seed)
    paths = {role: folder / "official.pth"}
    torch.save({key: state} if key else state, paths[role])
    if backbone := figures.get("backbone"):
        paths["backbone"] = folder / "backbone.safetensors"
        save_file(fill_state(backbone["huggingface"], seed), paths["backbone"])
    return paths
