"""Both towers of a CLIP: OpenAI's sizes, its names in Hugging Face's, and texts that are given as embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPModel
from transformers.models.clip.configuration_clip import CLIPConfig

from baselines._clip import from_openai, openai_layer, transposed

TEXT_L_14: Mapping[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "vocab_size": 49408,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
}
TEXT_B_32: Mapping[str, Any] = {
    **TEXT_L_14,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "projection_dim": 512,
}
VISION_B_32: Mapping[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
    "projection_dim": 512,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}

_OPENAI_TEXT = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
# Numbers that OpenAI's own archives and older files of the hub hold beside the weights.
_NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "position_ids")


def clip_pair(vision: Mapping[str, Any], text: Mapping[str, Any]) -> CLIPModel:
    """Return a CLIP of these sizes at its initialisation; the image tower's `projection_dim` is that of both."""
    projection = vision["projection_dim"]
    return CLIPModel(CLIPConfig(vision_config=dict(vision), text_config=dict(text), projection_dim=projection))


def pair_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a whole CLIP's tensors in Hugging Face's names, whether they come in its names or in OpenAI's.

    What is in neither keeps its name, for the strict load to name.
    """
    renamed: dict[str, Tensor] = {}
    for name, tensor in from_openai(state).items():
        if name.rpartition(".")[2] in _NO_WEIGHTS:
            continue
        if name in _OPENAI_TEXT:
            renamed[_OPENAI_TEXT[name]] = tensor
        elif name == "text_projection":
            renamed["text_projection.weight"] = transposed(tensor)
        else:
            renamed |= openai_layer(name, tensor, "text_model.") or {name: tensor}
    return renamed


def opposite_words(table: Tensor) -> Tensor:
    """Return vectors (2, width) for two words that a CLIP does not know, beside the table (V, width) of those it does.

    Drawn once and for all, on opposite sides of the mean of the vectors that it has learnt, and three times as far
    from it as these are: a text tower makes little of words that it was not trained on.
    """
    drawn = torch.randn(1, table.shape[1], generator=torch.Generator().manual_seed(0)).to(table)
    return table.mean(dim=0) + 3 * table.std(dim=0) * torch.cat([drawn, -drawn])


def encode_embeddings(text_model: nn.Module, words: Tensor) -> Tensor:
    """Return the text tower's output at every position, (N, L, width), for texts given as embeddings (N, L, width).

    Every position sees itself and those before it, so words after the one that is read can be left out.
    """
    x: Tensor = text_model.embeddings(inputs_embeds=words)
    mask = torch.full((x.shape[1], x.shape[1]), float("-inf"), dtype=x.dtype, device=x.device).triu(1)
    for layer in text_model.encoder.layers:
        x = layer(x, mask[None, None])
    normalised: Tensor = text_model.final_layer_norm(x)
    return normalised
