"""The network of Effort: a CLIP image tower whose attention learns in a few singular directions, and a linear layer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from baselines._checkpoints import build_from, find_state, read_checkpoint
from baselines._clip import VIT_L_14, ImageTower, finish_positions, small_tower, tower_state
from fdr_bench.errors import WeightsError
from fdr_bench.weights import packaged_path

PROJECTIONS = ("k_proj", "v_proj", "q_proj", "out_proj")
RESIDUAL = ("S_residual", "U_residual", "V_residual")

# What some files hold beside the network: the frozen triples, which only a loss needs, and counters of transformers.
_UNUSED = re.compile(
    r"backbone\.encoder\.layers\.\d+\.self_attn\.(k|v|q|out)_proj\.[SUV]_r"
    r"|backbone\.embeddings\.position_ids|visual_projection\.weight"
)


class ResidualLinear(nn.Module):
    """A linear layer whose weight is a frozen main part plus `learnt` singular triples; the bias is frozen too."""

    def __init__(self, inputs: int, outputs: int, learnt: int) -> None:
        super().__init__()
        self.weight_main = nn.Parameter(torch.zeros(outputs, inputs), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(outputs), requires_grad=False)
        self.S_residual = nn.Parameter(torch.zeros(learnt))
        self.U_residual = nn.Parameter(torch.zeros(outputs, learnt))
        self.V_residual = nn.Parameter(torch.zeros(learnt, inputs))

    @classmethod
    def decompose(cls, layer: nn.Linear, learnt: int) -> ResidualLinear:
        """Return a layer that computes the same, whose `learnt` smallest singular triples are its residual."""
        made = cls(layer.in_features, layer.out_features, learnt)
        if layer.weight.is_meta:
            return made
        with torch.no_grad():
            # In float64, because the smallest singular value of a large layer is near float32's rounding.
            left, values, right = torch.linalg.svd(layer.weight.double(), full_matrices=False)
            kept = len(values) - learnt
            made.weight_main.copy_((left[:, :kept] * values[:kept]) @ right[:kept])
            made.bias.copy_(layer.bias)
            for name, part in zip(RESIDUAL, (values[kept:], left[:, kept:], right[kept:]), strict=True):
                made.get_parameter(name).copy_(part)
        return made

    def weight(self) -> Tensor:
        """Return the whole weight, (outputs, inputs)."""
        return self.weight_main + (self.U_residual * self.S_residual) @ self.V_residual

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        return nn.functional.linear(x, self.weight(), self.bias)


class EffortNet(nn.Module):
    """Linear(the normalised class token), one logit, or two of the classes real and fake.

    Only the residual parts and the linear layer learn.
    """

    def __init__(self, tower: nn.Module, *, classes: int, learnt: int) -> None:
        super().__init__()
        self.backbone = tower.requires_grad_(False)
        for layer in tower.get_submodule("encoder.layers").children():
            attention = layer.get_submodule("self_attn")
            for name in PROJECTIONS:
                plain = attention.get_submodule(name)
                assert isinstance(plain, nn.Linear)
                attention.add_module(name, ResidualLinear.decompose(plain, learnt))
        norm = tower.get_submodule("post_layernorm")
        assert isinstance(norm, nn.LayerNorm)
        self.head = nn.Linear(norm.normalized_shape[0], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (B, 3, side, side) to logits (B,), high for fake, or (B, 2)."""
        logits: Tensor = self.head(self.backbone(pixel_values=x).pooler_output)
        return logits.squeeze(1)


def build(clip: str | None = None, *, classes: int = 1, learnt: int = 1) -> EffortNet:
    """Return the network on ViT-L/14 at its initialisation, or on a trained CLIP inside a package."""
    tower = ImageTower(**VIT_L_14) if clip is None else small_tower(packaged_path(clip))
    return EffortNet(tower.clip.vision_model, classes=classes, learnt=learnt)


def from_file(path: Path, *, classes: int) -> nn.Module:
    """Return the paper's network with a checkpoint: of two classes in DeepfakeBench's layout, or of one in the other.

    Raises `WeightsError` where a tensor is missing, unknown or of another shape, or the layout is the other preset's.
    """
    state = find_state(read_checkpoint(path), path, under=("state_dict", "model"))
    whole_clip = any(name.startswith("model.") for name in state)
    if whole_clip != (classes == 1) and (whole_clip or "head.weight" in state):
        other = "official-univfd" if whole_clip else "official"
        raise WeightsError(f"{path} has the layout of another preset; use it with --models effort@{other}")
    state = from_whole_clip(state) if whole_clip else state
    kept = {name: tensor for name, tensor in state.items() if not _UNUSED.fullmatch(name)}
    return build_from(lambda: build(classes=classes), kept, str(path), finish=finish_positions)


def from_whole_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a checkpoint of the fork of UniversalFakeDetect, "model.*" and "fc.*", in the other one's names.

    Its "model" is a whole CLIP; the text side is left out.
    """
    renamed = {}
    for name, tensor in tower_state({name.removeprefix("model."): tensor for name, tensor in state.items()}).items():
        inner = re.sub(r"^vision_model\.", "backbone.", name)
        renamed[re.sub(r"^fc\.", "head.", inner)] = tensor
    return renamed
