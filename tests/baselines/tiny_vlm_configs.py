"""The networks of fourteen families of vision-language models at a tiny size: what their config.json says.

Each function gets the ids of the tokens by name, and under "" how many there are; it returns the config's fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CLIP_LIKE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
LANGUAGE = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 4096, "initializer_range": 0.5,
}  # fmt: skip
MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}


def text(numbers: Mapping[str, int], **more: Any) -> dict[str, Any]:
    return {**LANGUAGE, "vocab_size": numbers[""], "pad_token_id": numbers["<pad>"], **more}


def llava(numbers: Mapping[str, int]) -> dict[str, Any]:
    vision = {"model_type": "clip_vision_model", **CLIP_LIKE, "image_size": 28, "patch_size": 14, "projection_dim": 16}
    return {
        "vision_config": vision,
        "text_config": text(numbers, model_type="llama"),
        "image_token_index": numbers["<image>"],
        "image_seq_length": 4,
    }


def llava_onevision(numbers: Mapping[str, int]) -> dict[str, Any]:
    vision = {"model_type": "siglip_vision_model", **CLIP_LIKE, "image_size": 28, "patch_size": 14}
    return {
        "vision_config": {**vision, "vision_use_head": False},
        "text_config": text(numbers, model_type="qwen2"),
        "image_token_index": numbers["<image>"],
        "video_token_index": numbers["<video>"],
        "image_grid_pinpoints": [[28, 28], [28, 56], [56, 28], [56, 56]],
    }


def qwen(numbers: Mapping[str, int]) -> dict[str, Any]:
    return {
        "image_token_id": numbers["<|image_pad|>"],
        "video_token_id": numbers["<|video_pad|>"],
        "vision_start_token_id": numbers["<|vision_start|>"],
        "vision_end_token_id": numbers["<|vision_end|>"],
    }


def qwen2_5_vl(numbers: Mapping[str, int]) -> dict[str, Any]:
    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32,
        "window_size": 56, "fullatt_block_indexes": [1],
    }  # fmt: skip
    return {**qwen(numbers), "vision_config": vision, "text_config": text(numbers, rope_parameters=MROPE)}


def qwen3_vl(numbers: Mapping[str, int]) -> dict[str, Any]:
    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32,
        "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
    }  # fmt: skip
    words = text(numbers, head_dim=8, rope_parameters={**MROPE, "mrope_interleaved": True})
    return {**qwen(numbers), "vision_config": vision, "text_config": words}


def internvl(numbers: Mapping[str, int]) -> dict[str, Any]:
    vision = {**CLIP_LIKE, "image_size": [28, 28], "patch_size": [14, 14]}
    return {
        "vision_config": vision,
        "text_config": text(numbers, model_type="qwen2"),
        "image_token_id": numbers["<IMG_CONTEXT>"],
        "image_seq_length": 1,
    }


def glm4v(numbers: Mapping[str, int]) -> dict[str, Any]:
    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32, "image_size": 56,
    }  # fmt: skip
    return {
        "vision_config": vision,
        "text_config": text(numbers, head_dim=8, rope_parameters={**MROPE, "partial_rotary_factor": 1.0}),
        "image_token_id": numbers["<|image|>"],
        "video_token_id": numbers["<|video|>"],
        "image_start_token_id": numbers["<|begin_of_image|>"],
        "image_end_token_id": numbers["<|end_of_image|>"],
        "video_start_token_id": numbers["<|begin_of_video|>"],
        "video_end_token_id": numbers["<|end_of_video|>"],
    }


def deepseek_vl(numbers: Mapping[str, int]) -> dict[str, Any]:
    vision = {"model_type": "siglip_vision_model", **CLIP_LIKE, "image_size": 32, "patch_size": 16}
    return {
        "vision_config": {**vision, "vision_use_head": False},
        "text_config": text(numbers, model_type="llama"),
        "image_token_id": numbers["<image_placeholder>"],
    }


def gemma3(numbers: Mapping[str, int]) -> dict[str, Any]:
    vision = {"model_type": "siglip_vision_model", **CLIP_LIKE, "image_size": 28, "patch_size": 14}
    words = text(numbers, head_dim=8, layer_types=["sliding_attention", "full_attention"], sliding_window=32)
    words["tie_word_embeddings"] = False  # tied, random weights repeat the last token for ever
    return {
        "vision_config": {**vision, "vision_use_head": False},
        "text_config": words,
        "mm_tokens_per_image": 4,
        "tie_word_embeddings": False,
        "boi_token_index": numbers["<start_of_image>"],
        "eoi_token_index": numbers["<end_of_image>"],
        "image_token_index": numbers["<image_soft_token>"],
    }


def idefics3(numbers: Mapping[str, int]) -> dict[str, Any]:
    return {
        "vision_config": {**CLIP_LIKE, "image_size": 28, "patch_size": 7},
        "text_config": text(numbers, model_type="llama"),
        "image_token_id": numbers["<image>"],
        "scale_factor": 2,
    }


def idefics2(numbers: Mapping[str, int]) -> dict[str, Any]:
    perceiver = {
        "hidden_size": 32, "resampler_n_latents": 3, "resampler_depth": 1, "resampler_n_heads": 2,
        "resampler_head_dim": 8, "num_key_value_heads": 1,
    }  # fmt: skip
    return {
        "vision_config": {**CLIP_LIKE, "image_size": 28, "patch_size": 7},
        "perceiver_config": perceiver,
        "text_config": text(numbers, model_type="mistral", head_dim=8),
        "image_token_id": numbers["<image>"],
    }


def deepseek_vl_hybrid(numbers: Mapping[str, int]) -> dict[str, Any]:
    sharp = {
        "model_type": "sam_vision_model", "hidden_size": 16, "output_channels": 8, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": 64, "patch_size": 16, "window_size": 2, "global_attn_indexes": [1],
        "num_pos_feats": 4, "mlp_dim": 32, "initializer_range": 0.02,
    }  # fmt: skip
    return {**deepseek_vl(numbers), "high_res_vision_config": sharp}


def qwen2_vl(numbers: Mapping[str, int]) -> dict[str, Any]:
    vision = {"depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}
    return {**qwen(numbers), "vision_config": vision, "text_config": text(numbers, rope_parameters=MROPE)}


def qwen3_5(numbers: Mapping[str, int]) -> dict[str, Any]:
    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32,
        "num_position_embeddings": 16,
    }  # fmt: skip
    words = text(
        numbers,
        head_dim=8,
        rope_parameters={**MROPE, "mrope_interleaved": True, "partial_rotary_factor": 1.0},
        layer_types=["linear_attention", "full_attention"],
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
    )
    return {**qwen(numbers), "vision_config": vision, "text_config": words}
