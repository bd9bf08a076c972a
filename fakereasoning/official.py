"""Read and write checkpoints in the layouts of PRIS-CV/FakeReasoning (arXiv 2503.21210 v3, at c1aec51).

What is read: a merged checkpoint with or without the image towers inside; a LoRA run on its base model; and, of the
same family, plain LLaVA-1.5 (no DINO) and its mixture-of-features base (two towers, interleaved). Towers outside the
checkpoint are those that CLIP and DINOv2 were released as. Parameters are never initialised first, and files are
memory-mapped: a float16 checkpoint takes its own size of memory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fakereasoning.checkpoints import read_json, read_state
from fakereasoning.config import FakeReasoningConfig, Fusion
from fakereasoning.lora_folder import is_lora_folder, on_base
from fakereasoning.model import FakeReasoning
from fakereasoning.official_names import (
    BIAS,
    CLIP,
    CLIP_COPY,
    DINO,
    FUSION,
    cleaned,
    clip_as_official,
    dino_as_official,
    is_needless,
    source,
)
from fakereasoning.sizes import SIZES
from fakereasoning.storage import check_tensors
from fdr_bench.errors import UsageError, WeightsError
from fdr_bench.types import Weights
from fdr_bench.weights import locate

_LANGUAGE = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "hidden_act", "tie_word_embeddings"),
    *("bos_token_id", "eos_token_id", "pad_token_id"),
)
# What the code here does; the released config could not be seen, so another value is refused and not guessed at.
_EXPECTED: Mapping[str, tuple[object, ...]] = {
    "mm_projector_type": ("mlp2x_gelu",),
    "mm_vision_select_feature": ("patch",),
    "mm_use_im_start_end": (False,),
    "mm_use_im_patch_token": (False,),
    "mm_hidden_size": (1024,),
    "rope_scaling": (None,),
    "attention_bias": (False,),
}


class TensorShape(NamedTuple):
    """One line of a checkpoint's table of contents."""

    name: str
    shape: tuple[int, ...]


def load_official(
    weights: Path,
    *,
    base: Path | None = None,
    clip: Path | Weights | None = None,
    dino: Path | Weights | None = None,
    config: FakeReasoningConfig | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> FakeReasoning:
    """Return the model of an official checkpoint, in evaluation mode.

    `weights` is a merged checkpoint (folder or file) or a LoRA run's folder, which needs its `base` model. `clip` and
    `dino` are towers outside it. A path (folder or file) counts instead of a tower inside; where the hub has one is
    looked up only for a model that has none inside, nor, of CLIP, where config.json's `mm_vision_tower` says.
    Without `config` the config.json beside the weights tells the sizes. All parameters become `dtype`, or the dtype of
    the token embeddings.
    Raises `WeightsError` naming what is missing, unknown, or of another shape, by its official name.
    """
    folder = weights if weights.is_dir() else weights.parent
    if weights.is_dir() and is_lora_folder(weights):
        if base is None:
            raise WeightsError(f"{weights} is a LoRA run, which goes onto a base model; give the base's folder too")
        state = on_base(weights, read_state(base))
        folder = next((place for place in (weights, base) if (place / "config.json").is_file()), weights)
    elif base is not None:
        raise UsageError(f"{weights} is a whole checkpoint, not a LoRA run: leave out the base {base}")
    else:
        state = read_state(weights)
    state = cleaned(state)
    written = read_json(folder / "config.json") if config is None else {}
    if (place := _place(clip, CLIP in _prefixes(state), _path(written.get("mm_vision_tower")))) is not None:
        state = _without(state, CLIP) | clip_as_official(read_state(place))
    needless = DINO in _prefixes(state) or _fusion_in(state) == "none"
    if (place := _place(dino, needless)) is not None:
        state = _without(state, DINO) | dino_as_official(read_state(place))
    if config is None:
        config = official_config(written, state)
    return from_official(config, state, str(weights), dtype=dtype, device=device)


def from_official(
    config: FakeReasoningConfig,
    state: Mapping[str, Tensor],
    origin: str,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> FakeReasoning:
    """Return the model of a config with an official state dict's tensors, in evaluation mode.

    The state holds the towers. `origin` is its name in messages; errors as in `load_official`. A config whose fusion
    is "cross-attention" leaves out the bias of a state that has one.
    """
    model = FakeReasoning.empty(config)
    needless = (BIAS,) if config.fusion == "cross-attention" else ()
    given = {name: tensor for name, tensor in state.items() if not is_needless(name) and not name.startswith(needless)}
    expected = _official_shapes(model)
    absent = [
        f"{tower} tower ({prefix}…): give it as {tower.lower()}=PATH"
        for tower, prefix in (("CLIP", CLIP), ("DINO", DINO))
        if any(name.startswith(prefix) for name in expected) and not any(name.startswith(prefix) for name in given)
    ]
    if absent:
        raise WeightsError(f"{origin} holds no {', and no '.join(absent)}")
    # Shapes first, on the meta device and under official names; values when the model takes them over.
    check_tensors(expected, {name: tensor.to("meta") for name, tensor in given.items()}, origin)
    if dtype is None:
        dtype = given["model.embed_tokens.weight"].dtype
    model.load_tensors({own: _take(given, own) for own in model.stored_tensors()}, origin, dtype=dtype, device=device)
    return model.eval()


def official_config(written: Mapping[str, Any], names: Collection[str]) -> FakeReasoningConfig:
    """Return the config of an official config.json, for a checkpoint that has tensors of these names.

    The language model's sizes come from the file, the towers are always ViT-L/14, and the fusion follows from what the
    checkpoint holds. Raises `WeightsError` where the file says something that the released code does not do.
    """
    for name, values in _EXPECTED.items():
        if name in written and written[name] not in values:
            raise WeightsError(f"config.json says {name} = {written[name]!r}; expected {values[0]!r}")
    if missing := [name for name in _LANGUAGE[:5] if not isinstance(written.get(name), int)]:
        raise WeightsError(f"config.json lacks {', '.join(missing)}; expected the language model's sizes")
    language = {name: written[name] for name in _LANGUAGE if written.get(name) is not None}
    if (theta := written.get("rope_theta")) is not None:
        language["rope_parameters"] = {"rope_type": "default", "rope_theta": theta}
    fusion = _fusion_in(names)
    whole = SIZES["llava-1.5-13b"]
    try:
        return replace(
            whole,
            vision="clip" if fusion == "none" else "clip+dino",
            fusion=fusion,
            dino=None if fusion == "none" else whole.dino,
            language=language,
            fusion_hidden=4 * int(written["hidden_size"]),
            select_layer=written.get("mm_vision_select_layer", whole.select_layer),
            max_length=written.get("tokenizer_model_max_length") or whole.max_length,
            pad_to_square=written.get("image_aspect_ratio", "pad") == "pad",
        )
    except UsageError as error:
        raise WeightsError(f"config.json does not describe a FakeReasoning model: {error}") from error


def official_manifest(config: FakeReasoningConfig) -> list[TensorShape]:
    """Return what a merged official checkpoint of this config holds, the unused second CLIP included.

    Built on the meta device, so the largest size takes no memory. Raises `UsageError` for an architecture that the
    official code has not.
    """
    shapes = _official_shapes(FakeReasoning.empty(config))
    manifest = [TensorShape(name, tuple(tensor.shape)) for name, tensor in shapes.items()]
    if config.dino is None:
        return manifest
    towers = [line for line in manifest if line.name.startswith(CLIP)]
    return manifest + [TensorShape(CLIP_COPY + name.removeprefix(CLIP), shape) for name, shape in towers]


def export_official(model: FakeReasoning) -> dict[str, Tensor]:
    """Return a model's tensors under official names, towers included, the unused second CLIP left out.

    The official loader takes this as a checkpoint: it ignores towers inside one. Raises `UsageError` for an
    architecture that the official code has not.
    """
    state: dict[str, Tensor] = {}
    thirds: dict[str, dict[int, Tensor]] = {}
    for own, tensor in model.stored_tensors().items():
        place = source(own)
        if place.third is None:
            state[place.name] = tensor.detach()
        else:
            thirds.setdefault(place.name, {})[place.third] = tensor.detach()
    return state | {name: torch.cat([parts[0], parts[1], parts[2]]) for name, parts in thirds.items()}


def _official_shapes(model: FakeReasoning) -> dict[str, Tensor]:
    """Return meta tensors under official names, in the order of the model's own."""
    return {name: tensor.to("meta") for name, tensor in export_official(model).items()}


def _take(state: Mapping[str, Tensor], own: str) -> Tensor:
    place = source(own)
    tensor = state[place.name]
    return tensor if place.third is None else tensor.chunk(3)[place.third]


def _fusion_in(names: Collection[str]) -> Fusion:
    if any(name.startswith(FUSION) for name in names):
        return "faff"
    return "interleave" if any(name.startswith("model.dino_mm_projector.") for name in names) else "none"


def _without(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}


def _prefixes(state: Collection[str]) -> list[str]:
    """Return the prefixes of the towers that a checkpoint holds."""
    return [prefix for prefix in (CLIP, DINO) if any(name.startswith(prefix) for name in state)]


def _place(tower: Path | Weights | None, needless: bool, named: Path | None = None) -> Path | None:
    """Return where a tower outside the checkpoint lies; None where the checkpoint's own counts, or there is none."""
    if isinstance(tower, Path):
        return tower
    if needless:
        return None
    return named if named is not None or tower is None else locate(tower, detector="fakereasoning")


def _path(named: object) -> Path | None:
    """Return the place on this machine that a config.json names for a tower, where it exists."""
    return Path(named) if isinstance(named, str) and named and Path(named).exists() else None
