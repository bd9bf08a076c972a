"""Fourteen families of vision-language models at a tiny size: processors and tokens as the hub's files have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.baselines import tiny_vlm_configs


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What is special of one family; `special` are its tokens by the attribute that processors look for;
    `template` is the family whose chat format it has (None: its own)."""

    config: Callable[[Mapping[str, int]], dict[str, Any]]
    image_processor: Mapping[str, Any]
    processor: Mapping[str, Any]
    special: Mapping[str, str]
    end: str
    start: str | None = None
    others: tuple[str, ...] = ()
    pad: str = "<pad>"
    template: str | None = None


_QWEN_SPECIAL = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
}
_HALVES = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}

FAMILIES: dict[str, Family] = {
    "llava": Family(
        config=tiny_vlm_configs.llava,
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
        config=tiny_vlm_configs.llava_onevision,
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
        config=tiny_vlm_configs.qwen2_5_vl,
        image_processor={"image_processor_type": "Qwen2VLImageProcessor", "min_pixels": 784, "max_pixels": 6272},
        processor={"processor_class": "Qwen2_5_VLProcessor"},
        special=_QWEN_SPECIAL,
        end="<|im_end|>",
        others=("<|im_start|>",),
    ),
    "qwen3_vl": Family(
        config=tiny_vlm_configs.qwen3_vl,
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
        config=tiny_vlm_configs.internvl,
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
        config=tiny_vlm_configs.glm4v,
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
        config=tiny_vlm_configs.deepseek_vl,
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
        config=tiny_vlm_configs.gemma3,
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
        config=tiny_vlm_configs.idefics3,
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
        config=tiny_vlm_configs.idefics2,
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

FAMILIES |= {
    "deepseek_vl_hybrid": replace(
        FAMILIES["deepseek_vl"],
        config=tiny_vlm_configs.deepseek_vl_hybrid,
        image_processor={
            "image_processor_type": "DeepseekVLHybridImageProcessor",
            "size": {"height": 32, "width": 32},
            "high_res_size": {"height": 64, "width": 64},
            "min_size": 8,
        },
        processor={"processor_class": "DeepseekVLHybridProcessor", "num_image_tokens": 4},
    ),
    "glm46v": replace(
        FAMILIES["glm4v"],
        image_processor={**FAMILIES["glm4v"].image_processor, "image_processor_type": "Glm46VImageProcessor"},
        processor={"processor_class": "Glm46VProcessor"},
    ),
    "qwen2_vl": replace(
        FAMILIES["qwen2_5_vl"], config=tiny_vlm_configs.qwen2_vl, processor={"processor_class": "Qwen2VLProcessor"}
    ),
    "qwen3_5": replace(FAMILIES["qwen3_vl"], config=tiny_vlm_configs.qwen3_5, template="qwen3_vl"),
}
