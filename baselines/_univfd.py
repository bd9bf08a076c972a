"""The network of UnivFD: a CLIP image tower and one linear layer, with the layouts that its weights come in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from baselines._backbone import Backbone, OnBackbone
from baselines._checkpoints import build_from, find_state, read_checkpoint
from baselines._clip import VIT_L_14, ImageTower, finish_positions, small_tower, tower_state
from fdr_bench.weights import packaged_path


class UnivFDNet(OnBackbone):
    """Linear(image embedding), one logit."""

    def __init__(self, tower: ImageTower) -> None:
        super().__init__()
        self.visual = tower
        self.fc = nn.Linear(tower.features_out, 1)
        nn.init.normal_(self.fc.weight, 0.0, 0.02)
        nn.init.zeros_(self.fc.bias)

    def backbone(self) -> Backbone:
        """Return CLIP's image tower."""
        return self.visual.backbone()

    def features(self, x: Tensor) -> Tensor:
        """Map normalised images (B, 3, side, side) to embeddings (B, projection_dim)."""
        embedding: Tensor = self.visual(x)
        return embedding

    def judge(self, features: Tensor, *beside: Tensor) -> Tensor:
        """Map embeddings to logits (B,), high for fake."""
        logit: Tensor = self.fc(features)
        return logit.squeeze(1)


def build(clip: str | None = None) -> UnivFDNet:
    """Return the network on ViT-L/14 at its initialisation, or on a trained CLIP inside a package."""
    tower = ImageTower(**VIT_L_14) if clip is None else small_tower(packaged_path(clip))
    return UnivFDNet(tower)


def from_files(weights: Mapping[str, Path], backbone: Callable[[], Path]) -> nn.Module:
    """Return the paper's network from the roles "head" and "backbone", or from one file under "weights".

    The one file is the head alone (then `backbone` tells where the tower is) or a checkpoint of the official train.py.
    Raises `WeightsError` where a tensor is missing, unknown or of another shape.
    """
    path = weights.get("head", weights.get("weights"))
    assert path is not None
    state = find_state(read_checkpoint(path), path)
    source = str(path)
    if set(state) == {"weight", "bias"}:
        state = {f"fc.{name}": tensor for name, tensor in state.items()}
    if set(state) == {"fc.weight", "fc.bias"}:
        tower_path = weights.get("backbone") or backbone()
        tower = tower_state(find_state(read_checkpoint(tower_path), tower_path))
        source = f"{path} with {tower_path}"
    else:
        inner = {name.removeprefix("model."): tensor for name, tensor in state.items() if not name.startswith("fc.")}
        tower = tower_state(inner)
    head = {name: tensor for name, tensor in state.items() if name.startswith("fc.")}
    whole = {f"visual.clip.{name}": tensor for name, tensor in tower.items()} | head
    return build_from(partial(build), whole, source, finish=finish_positions)
