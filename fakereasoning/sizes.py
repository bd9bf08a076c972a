"""The sizes of FakeReasoning, by name; imports no torch.

They are Gao et al., "FakeReasoning" (arXiv 2503.21210 v3), on the language models of Liu et al., "Improved Baselines
with Visual Instruction Tuning" (CVPR 2024), and `nano`, which trains on two processor cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fakereasoning.config import FakeReasoningConfig, Fusion, Vision
from fdr_bench.errors import UsageError, nearest

CLIP_L_336: Mapping[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
DINO_L: Mapping[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "mlp_ratio": 4,
    "image_size": 518,
    "patch_size": 14,
    "layer_norm_eps": 1e-6,
}


def _llava(width: int, hidden: int, depth: int) -> FakeReasoningConfig:
    """Return the published architecture on a language model of the given width, depth and heads (width / 128)."""
    return FakeReasoningConfig(
        vision="clip+dino",
        fusion="faff",
        clip=CLIP_L_336,
        dino=DINO_L,
        language={
            "vocab_size": 32000,
            "hidden_size": width,
            "intermediate_size": hidden,
            "num_hidden_layers": depth,
            "num_attention_heads": width // 128,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        },
        fusion_hidden=4 * width,
    )


_NANO = FakeReasoningConfig(
    vision="clip+dino",
    fusion="faff",
    stem="split",
    # What is wrong with an image is finer than what is in it.
    dino_stem="residual",
    clip={
        "hidden_size": 192,
        "intermediate_size": 768,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "image_size": 128,
        "patch_size": 16,
        "projection_dim": 192,
        "hidden_act": "gelu",
    },
    dino={
        "hidden_size": 192,
        "num_hidden_layers": 3,
        "num_attention_heads": 8,
        "mlp_ratio": 4,
        "image_size": 128,
        "patch_size": 16,
        "use_mask_token": False,
    },
    language={
        "vocab_size": 1024,
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        # What each head keeps of a position is most of what is read for a token (`fakereasoning.sharing`).
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    },
    fusion_heads=8,
    fusion_hidden=768,
    bias_hidden=16,
    # A tower trained here has no reason to end in a block that nothing reads.
    select_layer=-1,
    max_length=512,
)

SIZES: Mapping[str, FakeReasoningConfig] = {
    "nano": _NANO,
    "llava-1.5-7b": _llava(4096, 11008, 32),
    "llava-1.5-13b": _llava(5120, 13824, 40),
}


def size(
    name: str, *, vision: Vision | None = None, fusion: Fusion | None = None, vocabulary: int | None = None
) -> FakeReasoningConfig:
    """Return the config of a size, with another vision, fusion or vocabulary where they are given.

    Of vision and fusion one follows from the other where it can: 'clip' has the fusion 'none', and the other way round.
    Raises `UsageError` for an unknown name and for parts that do not fit together.
    """
    if name not in SIZES:
        raise UsageError(f"there is no size '{name}'.{nearest(name, SIZES)} Sizes: {', '.join(SIZES)}")
    whole = SIZES[name]
    vision = vision or ("clip" if fusion == "none" else whole.vision)
    fusion = fusion or ("none" if vision == "clip" else whole.fusion)
    language = dict(whole.language) | ({} if vocabulary is None else {"vocab_size": vocabulary})
    dino = None if vision == "clip" else whole.dino
    return replace(whole, vision=vision, fusion=fusion, dino=dino, language=language)
