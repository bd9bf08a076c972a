"""CLIP image towers: OpenAI's ViT-L/14 from any of its published layouts, and the small CLIP trained on FDR-Scenes.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021. The modules are
transformers' own, so tensors bear Hugging Face's names inside (with its spelling `pre_layrnorm`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.models.clip.configuration_clip import CLIPConfig

from baselines._backbone import Backbone
from baselines._checkpoints import find_state, load_strictly, read_checkpoint

VIT_L_14: Mapping[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}

# What a whole CLIP holds beside its image tower, in Hugging Face's and in OpenAI's names.
_TEXT_SIDE = re.compile(
    r"text_model\..*|text_projection(\.weight)?|logit_scale|.*\.position_ids|transformer\..*|token_embedding\.weight"
    r"|positional_embedding|ln_final\..*|input_resolution|context_length|vocab_size"
)
_OPENAI = {
    "class_embedding": "vision_model.embeddings.class_embedding",
    "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "ln_post.weight": "vision_model.post_layernorm.weight",
    "ln_post.bias": "vision_model.post_layernorm.bias",
}
_OPENAI_LAYER = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


class ImageTower(nn.Module):
    """Normalised images to embeddings: after the projection, not divided by their norm."""

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.clip = CLIPVisionModelWithProjection(CLIPVisionConfig(**config))
        self.features_out = int(config["projection_dim"])

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, side, side) to (B, projection_dim)."""
        return image_embedding(self.clip.vision_model, self.clip.visual_projection, x)

    def backbone(self) -> Backbone:
        """Return the tower as what makes features."""
        return clip_backbone(self.clip.vision_model, self.clip.visual_projection)


def image_embedding(vision: nn.Module, projection: nn.Module, x: Tensor) -> Tensor:
    """Map normalised images (B, 3, side, side) to CLIP's embeddings of them, (B, projection_dim)."""
    embedding: Tensor = projection(vision(pixel_values=x).pooler_output)
    return embedding


def clip_backbone(vision: nn.Module, projection: nn.Module) -> Backbone:
    """Return what `image_embedding` computes with, whichever network the two modules are part of."""
    config = vision.config
    told = {name: getattr(config, name) for name in VIT_L_14} | {"attention": config._attn_implementation}
    return Backbone(f"CLIP image embedding {told}", {"vision": vision, "projection": projection})


def finish_positions(network: nn.Module) -> None:
    """Give the position counters their values, which no checkpoint holds, in a network built without storage."""
    for module in network.modules():
        if "position_ids" in module._buffers and module.position_ids.is_meta:
            module.position_ids = torch.arange(module.position_ids.shape[-1]).expand((1, -1))


def tower_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return an image tower's tensors in Hugging Face's names, out of a CLIP in its names or in OpenAI's.

    The text side of a whole CLIP is left out; whatever else is unknown stays in, for the strict load to name.
    """
    kept = {name: tensor for name, tensor in state.items() if not _TEXT_SIDE.fullmatch(name)}
    if not any(name.startswith("visual.") for name in kept):
        return kept
    return from_openai(kept)


def from_openai(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return OpenAI's "visual.*" tensors under Hugging Face's names; others keep their own."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        inner = name.removeprefix("visual.")
        if inner == name:
            renamed[name] = tensor
        elif inner in _OPENAI:
            renamed[_OPENAI[inner]] = tensor
        elif inner == "proj":
            renamed["visual_projection.weight"] = transposed(tensor)
        else:
            renamed |= openai_layer(inner, tensor, "vision_model.") or {name: tensor}
    return renamed


def openai_layer(name: str, tensor: Tensor, model: str) -> dict[str, Tensor]:
    """Return OpenAI's tensor of a layer, "transformer.resblocks.0.…", under Hugging Face's names inside `model`.

    Query, key and value lie in one tensor there and in three here. Empty where the name, or the shape, is none of
    OpenAI's.
    """
    layer = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)\.?(weight|bias)", name)
    if layer is None:
        return {}
    number, part, kind = layer.group(1), layer.group(2).rstrip("._"), layer.group(3)
    prefix = f"{model}encoder.layers.{number}."
    if part != "attn.in_proj":
        return {f"{prefix}{_OPENAI_LAYER.get(part, part)}.{kind}": tensor}
    if not tensor.ndim or len(tensor) % 3:
        return {}
    thirds = zip("qkv", tensor.chunk(3), strict=True)
    return {f"{prefix}self_attn.{letter}_proj.{kind}": third.contiguous() for letter, third in thirds}


def transposed(tensor: Tensor) -> Tensor:
    """Return a matrix's transpose in its own memory; what is no matrix stays as it is, for the strict load to name."""
    return tensor.T.contiguous() if tensor.ndim == 2 else tensor


def load_small_clip(folder: Path) -> CLIPModel:
    """Return the CLIP of a folder that `python -m baselines.train_clip` wrote, both towers, in evaluation mode."""
    clip = CLIPModel(CLIPConfig.from_json_file(folder / "config.json"))
    path = folder / "model.safetensors"
    load_strictly(clip, find_state(read_checkpoint(path), path), str(path))
    return clip.eval()


def small_tower(folder: Path) -> ImageTower:
    """Return the image tower of `load_small_clip`."""
    config = CLIPConfig.from_json_file(folder / "config.json")
    tower = ImageTower(**config.vision_config.to_dict())
    path = folder / "model.safetensors"
    load_strictly(tower.clip, tower_state(find_state(read_checkpoint(path), path)), str(path))
    return tower.eval()
