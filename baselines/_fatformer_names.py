"""FatFormer's checkpoint: one network under several names, CLIP in OpenAI's, with the Haar filters in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines._checkpoints import SHOWN, build_from, find_state, read_checkpoint
from baselines._clip import finish_positions
from baselines._clip_pair import pair_state
from baselines._fatformer import FatFormerNet
from fdr_bench.errors import WeightsError

# A module that the official network registers twice, and where it stands first.
_REPEATED = {"image_encoder.": "clip_model.visual.", "text_encoder.": "clip_model."}
_TEXT_ENCODER = ("transformer.", "ln_final.", "positional_embedding", "text_projection")
_OWN = {
    "language_guided_alignment.ctx": "context",
    "language_guided_alignment.token_": "token_",
    "language_guided_alignment.patch_basaed_enhancer.": "context_enhancer.attention.",  # so spelt
    "language_guided_alignment.": "context_enhancer.",
    "text_guided_interactor.": "interactor.attention.",
    "norm": "interactor.norm",
    "linear": "interactor.linear",
}
_ADAPTER = re.compile(r"visual\.transformer\.resblocks\.(\d+)\.(forgery_aware_adapter\..+)")
_FILTER = re.compile(r".*\.forgery_aware_adapter\.(?:dwt_transform\.h|idwt_transform\.g)([01])_(col|row)")
_FILTERS = [f"{which}_{axis}" for which in ("dwt_transform.h0", "dwt_transform.h1") for axis in ("col", "row")]
_FILTERS += [name.replace("dwt", "idwt").replace(".h", ".g") for name in _FILTERS]


def from_file(path: Path, architecture: Mapping[str, Any]) -> nn.Module:
    """Return the network of these keywords with the authors' file, {"model": state} or the state alone.

    Raises `WeightsError` where a tensor is missing, unknown or of another shape, where the copies of one differ, or
    where the filters are not Haar's.
    """
    state = without_repeats(find_state(read_checkpoint(path), path), path)
    own = own_names(without_filters(state, path))
    return build_from(partial(FatFormerNet, **architecture), own, str(path), finish=finish_positions)


def without_repeats(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the tensors under the first of their names, after checking that the others hold the same.

    A file has all repeats, as the official network's state has, or none, as safetensors' `save_model` leaves it.
    """
    originals = {name: tensor for name, tensor in state.items() if first_name(name) == name}
    repeats = {name: tensor for name, tensor in state.items() if name not in originals}
    problems = [f"{name} has no {first_name(name)} to repeat" for name in repeats if first_name(name) not in originals]
    problems += [
        f"{name} differs from {first_name(name)}"
        for name, tensor in repeats.items()
        if first_name(name) in originals and not _same(tensor, originals[first_name(name)])
    ]
    if repeats:
        lacking = [name for original in originals for name in repeats_of(original) if name not in repeats]
        problems += [f"{name} is missing" for name in lacking]
    _refuse(problems, path)
    return originals


def first_name(name: str) -> str:
    """Return the name under which a tensor of the official network stands first: its own, or what it repeats."""
    if name == "logit_scale":
        return "clip_model.logit_scale"
    prefix = next((prefix for prefix in _REPEATED if name.startswith(prefix)), None)
    return name if prefix is None else _REPEATED[prefix] + name.removeprefix(prefix)


def repeats_of(name: str) -> list[str]:
    """Return the further names of a tensor of the official network."""
    inner = name.removeprefix("clip_model.")
    if inner == name:
        return []
    if inner == "logit_scale":
        return [inner]
    if inner.startswith("visual."):
        return ["image_encoder." + inner.removeprefix("visual.")]
    return ["text_encoder." + inner] if inner.startswith(_TEXT_ENCODER) else []


def without_filters(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the tensors but for the wavelet filters, after checking that every adapter has Haar's and no others."""
    found = {name: match for name in state if (match := _FILTER.fullmatch(name))}
    problems = []
    for name, match in found.items():
        sign, shape = 1 - 2 * int(match.group(1)), (1, 1, 2, 1) if match.group(2) == "col" else (1, 1, 1, 2)
        haar = torch.tensor([0.5**0.5, sign * 0.5**0.5]).reshape(shape)
        if state[name].shape != shape or not torch.allclose(state[name].float(), haar, rtol=0, atol=1e-3):
            problems.append(f"{name} is not Haar's filter {haar.flatten().tolist()} of shape {list(shape)}")
    adapters = {name.removesuffix("freq_scale") for name in state if name.endswith(".forgery_aware_adapter.freq_scale")}
    problems += [
        f"{adapter}{name} is missing"
        for adapter in sorted(adapters)
        for name in _FILTERS
        if adapter + name not in found
    ]
    _refuse(problems, path)
    return {name: tensor for name, tensor in state.items() if name not in found}


def own_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the names that `FatFormerNet` gives them; unknown ones keep theirs."""
    clip, renamed = {}, {}
    for name, tensor in state.items():
        inner = name.removeprefix("clip_model.")
        if inner != name:
            clip[_ADAPTER.sub(r"vision_model.encoder.layers.\1.\2", inner)] = tensor
        else:
            old = next((old for old in _OWN if name.startswith(old)), "")
            renamed[_OWN.get(old, "") + name.removeprefix(old)] = tensor
    return {f"clip.{name}": tensor for name, tensor in pair_state(clip).items()} | renamed


def _same(one: Tensor, other: Tensor) -> bool:
    # Copies in one file share their memory, unless it was written by something else than the official training.
    return one.shape == other.shape and (one.data_ptr() == other.data_ptr() or torch.equal(one, other))


def _refuse(problems: list[str], path: Path) -> None:
    if problems:
        more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise WeightsError(
            f"{path} does not fit the network: {'; '.join(problems[:SHOWN])}{more}. "
            "Expected FatFormer's checkpoint with adapters in three blocks; nothing was loaded."
        )
