"""The names that tensors bear in PRIS-CV/FakeReasoning (at c1aec51) and in the towers' own releases, beside ours.

A tensor of ours is one official tensor, or one third of it: DINO's query, key and value lie in one there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from fdr_bench.errors import UsageError

CLIP = "model.vision_tower.vision_tower.vision_model."
DINO = "model.dino_tower.vision_tower."
CLIP_COPY = "model.dino_tower.clip_vision_tower.vision_model."
"""A second CLIP, which the official DINO tower keeps to answer for its dtype and device; nothing runs through it."""
FUSION = "model.crossattention."
BIAS = FUSION + "attention_mlp."

# What old releases store beside the parameters: counters and frequencies that follow from the sizes.
_COUNTERS = re.compile(r".*(\.position_ids|\.rotary_emb\.inv_freq)")

_WHOLE: tuple[tuple[str, str], ...] = (
    (r"language\.model\.(.+)", r"model.\1"),
    (r"language\.(lm_head\.weight)", r"\1"),
    (r"clip_projector\.(.+)", r"model.mm_projector.\1"),
    (r"dino_projector\.(.+)", r"model.dino_mm_projector.\1"),
    (r"fusion\.bias\.layers\.(.+)", BIAS + r"mlp.\1"),
    (r"fusion\.query\.(.+)", FUSION + r"mhatt.0.linear_q.\1"),
    (r"fusion\.key\.(.+)", FUSION + r"mhatt.0.linear_k.\1"),
    (r"fusion\.value\.(.+)", FUSION + r"mhatt.0.linear_v.\1"),
    (r"fusion\.merge\.(.+)", FUSION + r"mhatt.0.linear_merge.\1"),
    (r"fusion\.expand\.(.+)", FUSION + r"ffn.0.mlp.fc.linear.\1"),
    (r"fusion\.contract\.(.+)", FUSION + r"ffn.0.mlp.linear.\1"),
    (r"fusion\.norm_attention\.weight", FUSION + "norm.0.a_2"),
    (r"fusion\.norm_attention\.bias", FUSION + "norm.0.b_2"),
    (r"fusion\.norm_expansion\.weight", FUSION + "norm.1.a_2"),
    (r"fusion\.norm_expansion\.bias", FUSION + "norm.1.b_2"),
    (r"clip\.((?:pre_layrnorm|encoder|post_layernorm)\..+)", CLIP + r"\1"),
    (r"clip\.(embeddings\.(?:class_embedding|(?:patch|position)_embedding\.weight))", CLIP + r"\1"),
    (r"dino\.embeddings\.(cls_token|mask_token)", DINO + r"\1"),
    (r"dino\.embeddings\.position_embeddings", DINO + "pos_embed"),
    (r"dino\.embeddings\.patch_embeddings\.projection\.(weight|bias)", DINO + r"patch_embed.proj.\1"),
    (r"dino\.encoder\.layer\.(\d+)\.attention\.o_proj\.(.+)", DINO + r"blocks.\1.attn.proj.\2"),
    (r"dino\.encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1", DINO + r"blocks.\1.ls\2.gamma"),
    (r"dino\.encoder\.layer\.(\d+)\.((?:norm|mlp).+)", DINO + r"blocks.\1.\2"),
    (r"dino\.layernorm\.(.+)", DINO + r"norm.\1"),
)  # fmt: skip
_THIRD = re.compile(r"dino\.encoder\.layer\.(\d+)\.attention\.([qkv])_proj\.(.+)")


class Source(NamedTuple):
    """Where a tensor of ours lies in an official state dict."""

    name: str
    third: Literal[0, 1, 2] | None = None
    """Which third of the official tensor's rows, or None for the whole."""


def source(own: str) -> Source:
    """Return where our tensor `own` lies officially.

    Raises `UsageError` for a tensor that the official network has no counterpart of, such as those of a
    convolutional stem.
    """
    if match := _THIRD.fullmatch(own):
        number, letter, rest = match.groups()
        return Source(f"{DINO}blocks.{number}.attn.qkv.{rest}", {"q": 0, "k": 1, "v": 2}[letter])  # type: ignore[arg-type]
    for pattern, template in _WHOLE:
        if match := re.fullmatch(pattern, own):
            return Source(match.expand(template))
    raise UsageError(
        f"the official FakeReasoning has no tensor like '{own}'; expected the architecture of the sizes llava-1.5-7b "
        "or llava-1.5-13b (patch stem, projectors of linear layers, one fusion block)"
    )


def is_needless(name: str) -> bool:
    """Return whether an official checkpoint may hold this tensor, or not, without any effect."""
    return name.startswith(CLIP_COPY) or _COUNTERS.fullmatch(name) is not None


def cleaned(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return an official state with the names that its own code writes.

    transformers 4 renames any "gamma" to "weight" while it loads, so a checkpoint saved again may say `ls1.weight`.
    """
    renamed = re.compile(re.escape(DINO) + r"(blocks\.\d+\.ls[12])\.weight")
    return {renamed.sub(DINO + r"\1.gamma", name): tensor for name, tensor in state.items()}


def clip_as_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a released CLIP's image tower under official names.

    `state` is Hugging Face's, of the whole CLIP or its image tower, with or without the level "vision_model."; the
    text side and the projections are left out.
    """
    text = re.compile(r"text_model\..*|(text|visual)_projection\.weight|logit_scale")
    return {
        CLIP + name.removeprefix("vision_model."): tensor for name, tensor in state.items() if not text.fullmatch(name)
    }


def dino_as_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a released DINOv2 under official names.

    `state` is Meta's own (the names that the official code has behind its prefix) or Hugging Face's, of transformers
    before or since version 5. Names of neither stay as they are behind the prefix, for a strict load to name.
    """
    if "cls_token" in state:
        return cleaned({DINO + name: tensor for name, tensor in state.items()})
    official: dict[str, Tensor] = {}
    thirds: dict[str, dict[int, Tensor]] = {}
    for name, tensor in state.items():
        own = "dino." + name.removeprefix("dinov2.")
        for before, since in (
            ("attention.attention.query", "attention.q_proj"),
            ("attention.attention.key", "attention.k_proj"),
            ("attention.attention.value", "attention.v_proj"),
            ("attention.output.dense", "attention.o_proj"),
        ):
            own = own.replace(before, since)
        try:
            place = source(own)
        except UsageError:
            place = Source(DINO + name)
        if place.third is None:
            official[place.name] = tensor
        else:
            thirds.setdefault(place.name, {})[place.third] = tensor
    for name, parts in thirds.items():
        if len(parts) == 3:  # else it is missing, as the strict load will say
            official[name] = torch.cat([parts[0], parts[1], parts[2]])
    return official
