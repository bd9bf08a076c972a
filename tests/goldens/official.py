"""How each official checkpoint is laid out, so that a filled one can be loaded through files as a user's would be."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.goldens.fill import fill_state, fill_tensor

PRESETS: Mapping[str, tuple[str, str]] = {
    "c2p_clip": ("c2p-clip", "official"),
    "defake": ("de-fake", "official"),
    "drct_convb": ("drct", "official"),
    "drct_univfd": ("drct", "official-clip"),
    "effort_univfd": ("effort", "official-univfd"),
    "gramnet_original": ("gramnet", "official-original"),
}
"""Entry point and preset of what a fixture calls `detector`, where these are not that very name and "official"."""

VIEWS: Mapping[str, str] = {
    "filled": "original_resolution",
    "mask_as_constructed": "original_resolution",
    "no_antialias_srm_as_constructed": "no_antialias",
}
"""The view of each variant that is not called after its view."""


def _spai_mask() -> Tensor:
    from baselines._spai import frequency_mask

    return frequency_mask(224, 16)


def _srm_filters() -> Tensor:
    from baselines._aide import srm_filters

    return srm_filters()


CONSTRUCTED: Mapping[str, Mapping[str, Callable[[], Tensor]]] = {
    "mask_as_constructed": {"mfvit.frequencies_mask": _spai_mask},
    "constructed_mask": {"mfvit.frequencies_mask": _spai_mask},
    "srm_as_constructed": {"hpf.hpf.weight": _srm_filters},
}
"""The variants, and the cases of the network alone, for which some tensors are not filled but as constructed: how
their names end, tensors of the network and what makes them."""


BESIDE: Mapping[str, Mapping[str, object]] = {
    "aide": {"optimizer": {"state": {}}, "epoch": 19, "scaler": None, "args": Namespace(batch_size=8, lr=1e-4)}
}
"""What an official file holds beside the state dict."""

ZIPPED: Mapping[str, str] = {"c2p_clip": "C2P_CLIP_release_20240901.pth"}
"""The only member of the zip that an official file is, written as PyTorch before 1.6 did."""


def preset_of(detector: str) -> tuple[str, str]:
    """Return the names of the entry point and of the preset that a fixture is about."""
    return PRESETS.get(detector, (detector, "official"))


def write_checkpoint(figures: Mapping[str, Any], folder: Path, role: str) -> dict[str, Path]:
    """Write a filled checkpoint in the official wrapping; return its path under `role`, and others by role."""
    seed, key = figures["fill_seed"], figures["checkpoint"].get("network_key")
    state = fill_official(figures)
    paths = {role: folder / "official.pth"}
    if member := ZIPPED.get(figures["detector"]):
        with ZipFile(paths[role], "w") as archive, archive.open(member, "w", force_zip64=True) as stream:
            torch.save(state, stream, _use_new_zipfile_serialization=False)
    else:
        torch.save({key: state, **BESIDE.get(figures["detector"], {})} if key else state, paths[role])
    if manifest := figures.get("discriminator_state_dict"):
        paths["discriminator"] = folder / "discriminator.pth"
        torch.save(fill_discriminator(manifest, seed), paths["discriminator"])
    if backbone := figures.get("backbone"):
        paths["backbone"] = folder / "backbone.safetensors"
        save_file(fill_state(backbone["huggingface"], seed), paths["backbone"])
    return paths


def fill_official(figures: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the filled state of the official checkpoint, its constants and repeated tensors as the fixture tells."""
    aliases = figures.get("aliases", {})
    # What is no list of values only describes a tensor.
    constants = {name: told for name, told in figures.get("constants", {}).items() if isinstance(told, list)}
    rows = [row for row in figures["state_dict"] if row[0] not in constants and row[0] not in aliases]
    state = fill_state(rows, figures["fill_seed"])
    shapes = {name: shape for name, shape, _ in figures["state_dict"]}
    state |= {name: torch.tensor(values).reshape(shapes[name]) for name, values in constants.items()}
    return state | {name: state[original] for name, original in aliases.items()}


def fill_discriminator(manifest: Sequence[tuple[str, Sequence[int], str]], seed: int) -> dict[str, Tensor]:
    """Return LGrad's discriminator: weights of variance 1, which it scales itself, and its buffers as they always are.

    These are the binomial filters, and 0 for the level to which it has grown.
    """
    line = torch.tensor([1.0, 2.0, 1.0]) / 4
    state = {}
    for name, shape, _ in manifest:
        if name.endswith(".blur.kernel"):
            state[name] = torch.outer(line, line).expand(*shape).contiguous()
        elif name == "lod":
            state[name] = torch.zeros(())
        else:
            scale = prod(shape[1:]) ** 0.5 if name.endswith(".weight") else 1.0
            state[name] = fill_tensor(name, shape, seed=seed) * scale
    return state


def beside_pixels(figures: Mapping[str, Any], images: Sequence[str]) -> tuple[Tensor, ...]:
    """Return what a network takes beside the pixels of the images so named: a fixture's fixed captions, as token ids.

    CLIP's texts are 77 tokens long, with zeros after the end of the text.
    """
    if "captions" not in figures:
        return ()
    tokens = torch.zeros(len(images), 77, dtype=torch.int64)
    for row, image in zip(tokens, images, strict=True):
        ids = figures["captions"][image]["token_ids"]
        row[: len(ids)] = torch.tensor(ids)
    return (tokens,)
