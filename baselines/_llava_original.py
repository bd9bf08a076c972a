"""LLaVA-1.5 in the layout of its authors' code (haotian-liu/LLaVA), which fine-tuned models such as FakeShield have.

Liu et al., "Improved Baselines with Visual Instruction Tuning", CVPR 2024. The network is transformers' own; tensors
are renamed, images padded to a square as there, and the text before and after an image tokenized apart, as there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import transformers
from PIL.Image import Image
from torch import Tensor, nn
from transformers import AutoTokenizer, BatchFeature, LlavaConfig, LlavaForConditionalGeneration

from baselines._checkpoints import build_from, read_checkpoint
from baselines._clip import VIT_L_14, finish_positions, tower_state
from baselines._vlm_loading import Loaded, decode_plainly
from fdr_bench.errors import MissingExtra, WeightsError
from fdr_bench.types import Weights
from fdr_bench.weights import locate

TOWER = Weights(
    role="tower", hub="openai/clip-vit-large-patch14-336", filename="pytorch_model.bin", licence="MIT (OpenAI CLIP)"
)
_HF = cast(Any, transformers)
_TOWER_INSIDE = "model.vision_tower.vision_tower."
_IMAGE = "<image>"
_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
_OTHERS = ("num_key_value_heads", "max_position_embeddings", "rms_norm_eps")
_EXPECTED = {
    "mm_projector_type": ("mlp2x_gelu",),
    "mm_vision_select_feature": ("patch",),
    "mm_use_im_start_end": (False,),
    "image_aspect_ratio": ("pad",),
}
CONVERSATION = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the human's questions. USER: <image>\n{{ messages[-1].content[-1].text }} ASSISTANT:"
)
"""The conversation that its inference is written in (`llava_v1`)."""


class OriginalProcessor:
    """Texts with one image each to what the network reads. `beside` gives an image's text to stand before the question.

    The image's places hold the id of <unk>, which no text has; rows are padded with </s>.
    """

    def __init__(
        self, tokenizer: Any, side: int, patches: int, beside: Callable[[Sequence[Image]], Sequence[str]] | None = None
    ) -> None:
        self.tokenizer, self.patches, self.beside = tokenizer, patches, beside
        square = {"height": side, "width": side}
        self.image_processor = _HF.LlavaImageProcessorPil(do_pad=True, size={"shortest_edge": side}, crop_size=square)

    def __call__(self, *, text: Sequence[str], images: Sequence[Sequence[Image]], **_: object) -> BatchFeature:
        """Return input_ids and attention_mask (B, L), padded on the left, and pixel_values (B, 3, side, side)."""
        shown = [image for (image,) in images]
        told = self.beside(shown) if self.beside else [""] * len(shown)
        rows = [self.ids(line, more) for line, more in zip(text, told, strict=True)]
        width = max(map(len, rows))
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        pixels = self.image_processor([image.convert("RGB") for image in shown], return_tensors="np")["pixel_values"]
        values = torch.from_numpy(np.ascontiguousarray(pixels))
        return BatchFeature({"input_ids": ids, "attention_mask": mask, "pixel_values": values})

    def ids(self, text: str, beside: str = "") -> list[int]:
        """Return the ids of a text with one "<image>" and a newline behind it, `beside` put after that newline."""
        before, _, after = text.partition(f"{_IMAGE}\n")
        start = self.tokenizer(before, add_special_tokens=False)["input_ids"]
        end = self.tokenizer(f"\n{beside}{after}", add_special_tokens=False)["input_ids"]
        return [self.tokenizer.bos_token_id, *start, *[self.tokenizer.unk_token_id] * self.patches, *end]


def load_original(
    folder: Path,
    *,
    device: str,
    dtype: torch.dtype,
    beside: Callable[[Sequence[Image]], Sequence[str]] | None = None,
) -> Loaded:
    """Return the model of a folder in the authors' layout, with their conversation.

    The image tower is the checkpoint's own, else the one in the folder that its config names, else OpenAI's from the
    hub. Raises `WeightsError` where a file or tensor is missing, unknown or of another shape, or the config says what
    this code does not do; `MissingExtra` where the tokenizer needs a package.
    """
    told = _told(folder)
    state = _state(folder)
    vision = _vision(told, folder)
    if not any(name.startswith(_TOWER_INSIDE) for name in state):
        state |= _tower(told, folder)
    tokenizer = _tokenizer(folder)
    config = _config(told, vision, tokenizer)

    def made() -> nn.Module:
        return cast(nn.Module, cast(Any, LlavaForConditionalGeneration(config)).to(dtype))

    renamed = {_ours(name): tensor for name, tensor in state.items() if not name.endswith(("inv_freq", "position_ids"))}
    model: Any = build_from(made, renamed, str(folder), finish=_finish)
    patches = (int(vision["image_size"]) // int(vision["patch_size"])) ** 2
    processor = OriginalProcessor(tokenizer, int(vision["image_size"]), patches, beside)
    decode_plainly(model, processor)
    return Loaded(model.to(device).eval().requires_grad_(False), processor, CONVERSATION)


def _told(folder: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
        lacking = [name for name in _SIZES if not isinstance(told.get(name), int)]
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(f"{folder / 'config.json'} cannot be read ({error}); expected LLaVA's config") from error
    if lacking:
        raise WeightsError(f"{folder / 'config.json'} lacks {', '.join(lacking)}; expected LLaVA's config")
    for name, values in _EXPECTED.items():
        if name in told and told[name] not in values:
            raise WeightsError(f"{folder / 'config.json'} says {name} = {told[name]!r}; expected {values[0]!r}")
    return told


def _state(folder: Path) -> dict[str, Tensor]:
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise WeightsError(f"{folder} has no weights: expected *.safetensors or pytorch_model*.bin of LLaVA's layout")
    state: dict[str, Tensor] = {}
    for file in files:
        state |= {name: tensor for name, tensor in read_checkpoint(file).items() if isinstance(tensor, Tensor)}
    return state


def _place(told: Mapping[str, Any], folder: Path) -> Path | None:
    named = told.get("mm_vision_tower")
    place = folder / named if isinstance(named, str) else folder / "nothing"
    return place if (place / "config.json").is_file() else None


def _vision(told: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    if (place := _place(told, folder)) is None:
        return {**VIT_L_14, "image_size": 336}
    config = json.loads((place / "config.json").read_bytes())
    config = config.get("vision_config", config)
    return {name: config.get(name, value) for name, value in VIT_L_14.items()}


def _tower(told: Mapping[str, Any], folder: Path) -> dict[str, Tensor]:
    place = _place(told, folder)
    files = sorted([*place.glob("*.safetensors"), *place.glob("pytorch_model*.bin")]) if place else []
    path = files[0] if files else locate(TOWER, detector="llava")
    found = {name: tensor for name, tensor in read_checkpoint(path).items() if isinstance(tensor, Tensor)}
    kept = {name: tensor for name, tensor in tower_state(found).items() if name.startswith("vision_model.")}
    return {_TOWER_INSIDE + name: tensor for name, tensor in kept.items()}


def _ours(name: str) -> str:
    """Return the name that a tensor of the authors' has in transformers' network; unknown ones keep theirs."""
    for pattern, template in (
        (r"model\.vision_tower\.vision_tower\.vision_model\.(.+)", r"model.vision_tower.\1"),
        (r"model\.mm_projector\.0\.(.+)", r"model.multi_modal_projector.linear_1.\1"),
        (r"model\.mm_projector\.2\.(.+)", r"model.multi_modal_projector.linear_2.\1"),
        (r"model\.((?:embed_tokens|layers|norm)\..+)", r"model.language_model.\1"),
    ):
        if matched := re.fullmatch(pattern, name):
            return matched.expand(template)
    return name


def _config(told: Mapping[str, Any], vision: Mapping[str, Any], tokenizer: Any) -> LlavaConfig:
    text = {name: told[name] for name in (*_SIZES, *_OTHERS) if told.get(name) is not None}
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": told.get("rope_theta") or 10000.0}
    return LlavaConfig(
        text_config={"model_type": "llama", **text},
        vision_config={"model_type": "clip_vision_model", **vision},
        image_token_index=tokenizer.unk_token_id,
        vision_feature_layer=told.get("mm_vision_select_layer", -2),
        vision_feature_select_strategy="default",
    )


def _finish(network: nn.Module) -> None:
    """Give the counters and the rotary frequencies, which are no part of a checkpoint, their values."""
    finish_positions(network)
    language = cast(Any, network).model.language_model
    language.rotary_emb = type(language.rotary_emb)(config=language.config)


def _tokenizer(folder: Path) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except ImportError as error:
        raise MissingExtra(
            f"{folder}: its tokenizer needs sentencepiece and protobuf: pip install sentencepiece protobuf, or put a "
            "tokenizer.json beside it"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise WeightsError(f"{folder} has no tokenizer that can be read ({reason}); download it again") from error
    tokenizer.pad_token = tokenizer.eos_token  # theirs is <unk>, which stands for the image here
    return tokenizer
