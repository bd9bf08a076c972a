"""The two networks of DRCT, on a ConvNeXt and on a CLIP, and the layouts of their checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from baselines._checkpoints import build_from, find_state, read_checkpoint
from baselines._clip import VIT_L_14, ImageTower, finish_positions, from_openai, small_tower
from baselines._convnext import ConvNeXt, initialise
from fdr_bench.errors import WeightsError
from fdr_bench.training.network import Classify
from fdr_bench.weights import packaged_path

TEXT_OF_VIT_L_14: Mapping[str, int] = {
    "width": 768,
    "layers": 12,
    "vocabulary": 49_408,
    "context": 77,
    "projection": 768,
}

_CLIP = "model.model."
_MARKS = {"convnext": "model.stem.", "clip": _CLIP}


class ConvNeXtEmbedding(ConvNeXt):
    """A ConvNeXt whose last layer, after global mean and normalisation, gives an embedding."""

    def __init__(self, embedding: int, *, depths: Sequence[int], widths: Sequence[int], eps: float = 1e-6) -> None:
        super().__init__(depths=depths, widths=widths, eps=eps)
        self.head = nn.ModuleDict(
            {"norm": nn.LayerNorm(self.features_out, eps=eps), "fc": nn.Linear(self.features_out, embedding)}
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (B, 3, H, W) to (B, embedding)."""
        pooled = self.head["norm"](self.features(x).mean(dim=(2, 3)))
        embedding: Tensor = self.head["fc"](pooled)
        return embedding


class ClipEmbedding(nn.Module):
    """A linear layer on a CLIP's image embedding, which is not divided by its norm."""

    def __init__(self, embedding: int, tower: ImageTower) -> None:
        super().__init__()
        self.visual = tower
        self.fc = nn.Linear(self.visual.features_out, embedding)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (B, 3, side, side), or their features in CLIP (B, D), to (B, embedding)."""
        embedding: Tensor = self.fc(x if x.ndim == 2 else self.visual(x))
        return embedding


class DRCTNet(nn.Module):
    """Two logits, linear in the embedding that contrastive training shapes; nothing lies between the two layers."""

    def __init__(self, model: nn.Module, embedding: int) -> None:
        super().__init__()
        self.model = model
        self.fc = nn.Linear(embedding, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (B, 3, H, W) to logits (B, 2) of real and fake."""
        logits: Tensor = self.fc(self.model(x))
        return logits

    def training_loss(self, x: Tensor, *beside: Tensor, fake: Tensor, classify: Classify) -> Tensor:
        """Return 0.7 of the cross-entropy and 0.3 of the contrastive loss of the embeddings, as the paper."""
        embedding = self.model(x)
        return 0.7 * classify(self.fc(embedding)) + 0.3 * contrastive_loss(embedding, fake)


class FrozenDRCT(DRCTNet):
    """The network on a CLIP that stays as it is."""

    def frozen_features(self, x: Tensor) -> Tensor:
        """Return the image embeddings (B, D) of normalised images, before the two layers that are trained."""
        features: Tensor = self.model.get_submodule("visual")(x)
        return features


def contrastive_loss(embedding: Tensor, fake: Tensor, *, margin: float = 1.0) -> Tensor:
    """Return how far apart embeddings (B, D) of one class are, and how much closer than `margin` those of two are.

    Distances are Euclidean, between embeddings at length 1. Each of the two parts is the mean over the pairs that add
    to it, and 0 where there is none.
    """
    unit = normalize(embedding, dim=1)
    # The root of 0 has no slope, and rounding may give less than 0.
    distance = (2 - 2 * unit @ unit.T).clamp(min=1e-9).sqrt()
    same = fake[:, None] == fake
    other = ~torch.eye(len(fake), dtype=torch.bool, device=fake.device)
    parts = distance[same & other], (margin - distance[~same]).relu()
    return sum((part.sum() / (part > 0).sum().clamp(min=1) for part in parts), embedding.new_zeros(()))


def build(
    *,
    backbone: Literal["convnext", "clip"] = "convnext",
    embedding: int = 1024,
    depths: Sequence[int] = (3, 3, 27, 3),
    widths: Sequence[int] = (128, 256, 512, 1024),
    vision: Mapping[str, Any] | None = None,
    clip: str | None = None,
) -> DRCTNet:
    """Return the network at its initialisation: on a ConvNeXt of `depths` and `widths`, or on a CLIP.

    `vision` is the configuration of the CLIP's image tower in transformers' keywords; None: ViT-L/14's. With `clip` it
    is a trained one inside a package.
    """
    if backbone == "clip":
        tower = small_tower(packaged_path(clip)) if clip else ImageTower(**(VIT_L_14 if vision is None else vision))
        return FrozenDRCT(ClipEmbedding(embedding, tower), embedding)
    network = DRCTNet(ConvNeXtEmbedding(embedding, depths=depths, widths=widths), embedding)
    initialise(network)
    return network


def from_file(path: Path, architecture: Mapping[str, Any], *, preset_of: Mapping[str, str]) -> nn.Module:
    """Return the network of an official checkpoint: a bare state dict in the names of timm or of OpenAI's CLIP.

    `preset_of` names the preset for each backbone, for the message where the file is the other one's.
    Raises `WeightsError` where a tensor is missing, unknown or of another shape.
    """
    state = find_state(read_checkpoint(path), path)
    wanted = architecture.get("backbone", "convnext")
    found = next(
        (backbone for backbone, mark in _MARKS.items() if any(name.startswith(mark) for name in state)), wanted
    )
    if found != wanted:
        raise WeightsError(f"{path} is a DRCT on the other backbone ({found}); use it as drct@{preset_of[found]}")
    if wanted == "clip":
        state = _tower_and_heads(state, path)
    return build_from(partial(build, **architecture), state, str(path), finish=finish_positions)


def _tower_and_heads(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the tensors that the image's side needs, the tower's in Hugging Face's names.

    The text side of the CLIP, which the file holds though nothing uses it, is compared and left out; it may be absent
    as a whole. Whatever else is unknown keeps its name, for the strict load to tell.
    """
    text = text_side(**TEXT_OF_VIT_L_14)
    found = {name: tuple(state[_CLIP + name].shape) for name in text if _CLIP + name in state}
    if wrong := [_CLIP + name for name in text if found and found.get(name) != text[name]]:
        raise WeightsError(
            f"{path}: in the text side of the CLIP {len(wrong)} tensors are missing or of another shape "
            f"({', '.join(wrong[:5])}); expected all of ViT-L/14's, or none"
        )
    visual = {name.removeprefix(_CLIP): tensor for name, tensor in state.items() if name.startswith(f"{_CLIP}visual.")}
    rest = {
        name: tensor
        for name, tensor in state.items()
        if name.removeprefix(_CLIP) not in visual and name.removeprefix(_CLIP) not in text
    }
    return {f"model.visual.clip.{name}": tensor for name, tensor in from_openai(visual).items()} | rest


def text_side(*, width: int, layers: int, vocabulary: int, context: int, projection: int) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor of the text side of a CLIP in OpenAI's names."""
    shapes: dict[str, tuple[int, ...]] = {
        "positional_embedding": (context, width),
        "text_projection": (width, projection),
        "logit_scale": (),
        "token_embedding.weight": (vocabulary, width),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
    }
    for layer in range(layers):
        inner = {
            "attn.in_proj_weight": (3 * width, width),
            "attn.in_proj_bias": (3 * width,),
            "attn.out_proj.weight": (width, width),
            "attn.out_proj.bias": (width,),
            "mlp.c_fc.weight": (4 * width, width),
            "mlp.c_fc.bias": (4 * width,),
            "mlp.c_proj.weight": (width, 4 * width),
            "mlp.c_proj.bias": (width,),
        }
        inner |= {f"ln_{number}.{kind}": (width,) for number in (1, 2) for kind in ("weight", "bias")}
        shapes |= {f"transformer.resblocks.{layer}.{name}": shape for name, shape in inner.items()}
    return shapes
