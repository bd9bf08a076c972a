"""Vision-language models of ten families at a tiny size: the same classes, files and chat formats, random weights.

`write(family, folder)` makes what a checkpoint on the hub is: config.json, model.safetensors, a tokenizer, the image
processor's and the processor's settings, and chat_template.jinja.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import CONFIG_MAPPING, AutoModelForImageTextToText, PreTrainedTokenizerFast

from baselines._vlm_templates import TEMPLATES

WORDS = ("real", "fake", " real", " fake", "Real", "Fake", " Real", " Fake", "yes", "no", "This", " image", " is")
CLIP_LIKE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
LANGUAGE = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 4096, "initializer_range": 0.5,
}  # fmt: skip
MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What is special of one family; `special` are its tokens by the attribute that processors look for."""

    config: Callable[[Mapping[str, int]], dict[str, Any]]
    image_processor: Mapping[str, Any]
    processor: Mapping[str, Any]
    special: Mapping[str, str]
    end: str
    start: str | None = None
    others: tuple[str, ...] = ()
    pad: str = "<pad>"
    files: Mapping[str, Any] = field(default_factory=dict)


def tokenizer(family: Family) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer with a handful of whole words and the family's special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: number for number, symbol in enumerate(alphabet)}
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        pieces = [piece for piece, _ in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(word)]
        left = pieces[0][0]
        for symbol in pieces[0][1:]:
            if (left, symbol) not in merges:
                merges.append((left, symbol))
            left += symbol
            vocabulary.setdefault(left, len(vocabulary))
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    named = {"pad_token": family.pad, "eos_token": family.end}
    if family.start:
        named["bos_token"] = family.start
    every = [*named.values(), *family.special.values(), *family.others]
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in dict.fromkeys(every)])
    return PreTrainedTokenizerFast(tokenizer_object=made, extra_special_tokens=dict(family.special), **named)


def write(name: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a tiny checkpoint of the family `name` and return its folder."""
    family = FAMILIES[name]
    words = tokenizer(family)
    words.save_pretrained(folder)
    numbers = {token: words.convert_tokens_to_ids(token) for token in words.all_special_tokens}
    numbers |= {token: words.convert_tokens_to_ids(token) for token in family.others}
    config = CONFIG_MAPPING[name](**family.config({**numbers, "": len(words)}))
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(config)
    _let_images_matter(model)
    model.generation_config.eos_token_id = numbers[family.end]
    model.generation_config.pad_token_id = numbers[family.pad]
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(dict(family.image_processor)))
    (folder / "processor_config.json").write_text(json.dumps(dict(family.processor)))
    (folder / "chat_template.jinja").write_text(TEMPLATES[name])
    return folder


def _let_images_matter(model: torch.nn.Module) -> None:
    """Draw the vision side anew, widely: some families start it so near to 0 that all images give one answer."""
    for name, weights in model.named_parameters():
        if weights.ndim > 1 and any(part in name for part in ("vis", "connector", "projector", "aligner")):
            torch.nn.init.normal_(weights, std=2 * weights[0].numel() ** -0.5)
        elif "embed_tokens" in name:  # Gemma's are scaled up, and would say the same token for ever
            torch.nn.init.normal_(weights, std=0.2)


def _text(numbers: Mapping[str, int], **more: Any) -> dict[str, Any]:
    return {**LANGUAGE, "vocab_size": numbers[""], "pad_token_id": numbers["<pad>"], **more}


def _llava(numbers: Mapping[str, int]) -> dict[str, Any]:
    vision = {"model_type": "clip_vision_model", **CLIP_LIKE, "image_size": 28, "patch_size": 14, "projection_dim": 16}
    return {
        "vision_config": vision,
        "text_config": _text(numbers, model_type="llama"),
        "image_token_index": numbers["<image>"],
        "image_seq_length": 4,
    }


def _llava_onevision(numbers: Mapping[str, int]) -> dict[str, Any]:
    vision = {"model_type": "siglip_vision_model", **CLIP_LIKE, "image_size": 28, "patch_size": 14}
    return {
        "vision_config": {**vision, "vision_use_head": False},
        "text_config": _text(numbers, model_type="qwen2"),
        "image_token_index": numbers["<image>"],
        "video_token_index": numbers["<video>"],
        "image_grid_pinpoints": [[28, 28], [28, 56], [56, 28], [56, 56]],
    }


def _qwen(numbers: Mapping[str, int]) -> dict[str, Any]:
    return {
        "image_token_id": numbers["<|image_pad|>"],
        "video_token_id": numbers["<|video_pad|>"],
        "vision_start_token_id": numbers["<|vision_start|>"],
        "vision_end_token_id": numbers["<|vision_end|>"],
    }


def _qwen2_5_vl(numbers: Mapping[str, int]) -> dict[str, Any]:
    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32,
        "window_size": 56, "fullatt_block_indexes": [1],
    }  # fmt: skip
    return {**_qwen(numbers), "vision_config": vision, "text_config": _text(numbers, rope_parameters=MROPE)}


def _qwen3_vl(numbers: Mapping[str, int]) -> dict[str, Any]:
    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32,
        "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
    }  # fmt: skip
    text = _text(numbers, head_dim=8, rope_parameters={**MROPE, "mrope_interleaved": True})
    return {**_qwen(numbers), "vision_config": vision, "text_config": text}


def _internvl(numbers: Mapping[str, int]) -> dict[str, Any]:
    vision = {**CLIP_LIKE, "image_size": [28, 28], "patch_size": [14, 14]}
    return {
        "vision_config": vision,
        "text_config": _text(numbers, model_type="qwen2"),
        "image_token_id": numbers["<IMG_CONTEXT>"],
        "image_seq_length": 1,
    }


def _glm4v(numbers: Mapping[str, int]) -> dict[str, Any]:
    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32, "image_size": 56,
    }  # fmt: skip
    return {
        "vision_config": vision,
        "text_config": _text(numbers, head_dim=8, rope_parameters={**MROPE, "partial_rotary_factor": 1.0}),
        "image_token_id": numbers["<|image|>"],
        "video_token_id": numbers["<|video|>"],
        "image_start_token_id": numbers["<|begin_of_image|>"],
        "image_end_token_id": numbers["<|end_of_image|>"],
        "video_start_token_id": numbers["<|begin_of_video|>"],
        "video_end_token_id": numbers["<|end_of_video|>"],
    }


def _deepseek_vl(numbers: Mapping[str, int]) -> dict[str, Any]:
    vision = {"model_type": "siglip_vision_model", **CLIP_LIKE, "image_size": 32, "patch_size": 16}
    return {
        "vision_config": {**vision, "vision_use_head": False},
        "text_config": _text(numbers, model_type="llama"),
        "image_token_id": numbers["<image_placeholder>"],
    }


def _gemma3(numbers: Mapping[str, int]) -> dict[str, Any]:
    vision = {"model_type": "siglip_vision_model", **CLIP_LIKE, "image_size": 28, "patch_size": 14}
    text = _text(numbers, head_dim=8, layer_types=["sliding_attention", "full_attention"], sliding_window=32)
    text["tie_word_embeddings"] = False  # tied, random weights repeat the last token for ever
    return {
        "vision_config": {**vision, "vision_use_head": False},
        "text_config": text,
        "mm_tokens_per_image": 4,
        "tie_word_embeddings": False,
        "boi_token_index": numbers["<start_of_image>"],
        "eoi_token_index": numbers["<end_of_image>"],
        "image_token_index": numbers["<image_soft_token>"],
    }


def _idefics3(numbers: Mapping[str, int]) -> dict[str, Any]:
    return {
        "vision_config": {**CLIP_LIKE, "image_size": 28, "patch_size": 7},
        "text_config": _text(numbers, model_type="llama"),
        "image_token_id": numbers["<image>"],
        "scale_factor": 2,
    }


def _idefics2(numbers: Mapping[str, int]) -> dict[str, Any]:
    perceiver = {
        "hidden_size": 32, "resampler_n_latents": 3, "resampler_depth": 1, "resampler_n_heads": 2,
        "resampler_head_dim": 8, "num_key_value_heads": 1,
    }  # fmt: skip
    return {
        "vision_config": {**CLIP_LIKE, "image_size": 28, "patch_size": 7},
        "perceiver_config": perceiver,
        "text_config": _text(numbers, model_type="mistral", head_dim=8),
        "image_token_id": numbers["<image>"],
    }


_QWEN_SPECIAL = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
}
_HALVES = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}

FAMILIES: dict[str, Family] = {
    "llava": Family(
        config=_llava,
        image_processor={
            "image_processor_type": "CLIPImageProcessor",
            "size": {"shortest_edge": 28},
            "crop_size": {"height": 28, "width": 28},
        },
        processor={
            "processor_class": "LlavaProcessor",
            "patch_size": 14,
            "num_additional_image_tokens": 1,
            "vision_feature_select_strategy": "default",
        },
        special={"image_token": "<image>"},
        start="<s>",
        end="</s>",
    ),
    "llava_onevision": Family(
        config=_llava_onevision,
        image_processor={
            "image_processor_type": "LlavaOnevisionImageProcessor",
            "size": {"height": 28, "width": 28},
            "image_grid_pinpoints": [[28, 28], [28, 56], [56, 28], [56, 56]],
            **_HALVES,
        },
        processor={
            "processor_class": "LlavaOnevisionProcessor",
            "num_image_tokens": 4,
            "vision_feature_select_strategy": "full",
        },
        special={"image_token": "<image>", "video_token": "<video>"},
        end="<|im_end|>",
        others=("<|im_start|>",),
    ),
    "qwen2_5_vl": Family(
        config=_qwen2_5_vl,
        image_processor={"image_processor_type": "Qwen2VLImageProcessor", "min_pixels": 784, "max_pixels": 6272},
        processor={"processor_class": "Qwen2_5_VLProcessor"},
        special=_QWEN_SPECIAL,
        end="<|im_end|>",
        others=("<|im_start|>",),
    ),
    "qwen3_vl": Family(
        config=_qwen3_vl,
        image_processor={
            "image_processor_type": "Qwen2VLImageProcessorFast",
            "patch_size": 16,
            "size": {"shortest_edge": 1024, "longest_edge": 8192},
            **_HALVES,
        },
        processor={"processor_class": "Qwen3VLProcessor"},
        special=_QWEN_SPECIAL,
        end="<|im_end|>",
        others=("<|im_start|>",),
    ),
    "internvl": Family(
        config=_internvl,
        image_processor={
            "image_processor_type": "GotOcr2ImageProcessorFast",
            "size": {"height": 28, "width": 28},
            "crop_to_patches": False,
            "min_patches": 1,
            "max_patches": 3,
        },
        processor={"processor_class": "InternVLProcessor", "image_seq_length": 1},
        special={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
        end="<|im_end|>",
        others=("<|im_start|>",),
    ),
    "glm4v": Family(
        config=_glm4v,
        image_processor={
            "image_processor_type": "Glm4vImageProcessor",
            "size": {"shortest_edge": 1568, "longest_edge": 12544},
        },
        processor={"processor_class": "Glm4vProcessor"},
        special={"image_token": "<|image|>", "video_token": "<|video|>"},
        end="<|user|>",
        others=(
            "[gMASK]", "<sop>", "<|system|>", "<|assistant|>", "<|begin_of_image|>", "<|end_of_image|>",
            "<|begin_of_video|>", "<|end_of_video|>",
        ),
    ),
    "deepseek_vl": Family(
        config=_deepseek_vl,
        image_processor={
            "image_processor_type": "DeepseekVLImageProcessor",
            "size": {"height": 32, "width": 32},
            "min_size": 8,
            **_HALVES,
        },
        processor={"processor_class": "DeepseekVLProcessor", "num_image_tokens": 4},
        special={"image_token": "<image_placeholder>"},
        start="<|begin_of_sentence|>",
        end="<|end_of_sentence|>",
    ),
    "gemma3": Family(
        config=_gemma3,
        image_processor={
            "image_processor_type": "Gemma3ImageProcessor",
            "size": {"height": 28, "width": 28},
            **_HALVES,
        },
        processor={"processor_class": "Gemma3Processor", "image_seq_length": 4},
        special={
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
        start="<bos>",
        end="<end_of_turn>",
        others=("<start_of_turn>",),
    ),
    "idefics3": Family(
        config=_idefics3,
        image_processor={
            "image_processor_type": "Idefics3ImageProcessor",
            "size": {"longest_edge": 56},
            "max_image_size": {"longest_edge": 28},
            **_HALVES,
        },
        processor={"processor_class": "Idefics3Processor", "image_seq_len": 4},
        special={"image_token": "<image>"},
        start="<|begin_of_text|>",
        end="<end_of_utterance>",
        others=(
            "<fake_token_around_image>", "<global-img>",
            *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
        ),
    ),
    "idefics2": Family(
        config=_idefics2,
        image_processor={
            "image_processor_type": "Idefics2ImageProcessor",
            "size": {"longest_edge": 42, "shortest_edge": 21},
            "do_image_splitting": False,
            **_HALVES,
        },
        processor={"processor_class": "Idefics2Processor", "image_seq_len": 3},
        special={"image_token": "<image>", "image_boundary_token": "<fake_token_around_image>"},
        start="<s>",
        end="<end_of_utterance>",
    ),
}  # fmt: skip
"""By transformers' `model_type`."""
