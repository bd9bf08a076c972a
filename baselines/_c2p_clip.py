"""The network of C2P-CLIP: a CLIP image tower, its embedding at length 1, and one linear layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from baselines._checkpoints import build_from, find_state, read_checkpoint
from baselines._clip import VIT_L_14, finish_positions


class C2PCLIPNet(nn.Module):
    """Linear(image embedding / its length), one logit; tensors have the names of the authors' file, "model.…"."""

    def __init__(self, clip: CLIPVisionModelWithProjection) -> None:
        super().__init__()
        self.model = clip
        clip.fc = nn.Linear(clip.config.projection_dim, 1)
        if not clip.fc.weight.is_meta:
            nn.init.normal_(clip.fc.weight, 0.0, 0.02)
            nn.init.zeros_(clip.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (B, 3, side, side) to logits (B,), high for fake."""
        embedding = self.model(pixel_values=x).image_embeds
        logit: Tensor = self.model.fc(normalize(embedding, dim=-1))
        return logit.squeeze(1)


def build(clip: str | None = None, rank: int = 8, **config: Any) -> C2PCLIPNet:
    """Return the network on ViT-L/14, with `config` in place of its sizes, or on a trained CLIP inside a package.

    The latter has adapters of this rank, which the authors have merged into the weights that they released.
    """
    if clip is not None:
        from baselines._c2p_training import build as build_adapted

        return build_adapted(clip, rank=rank)
    return C2PCLIPNet(CLIPVisionModelWithProjection(CLIPVisionConfig(**{**VIT_L_14, **config})))


def from_file(path: Path, factory: Callable[[], nn.Module] = build) -> nn.Module:
    """Return the network of an authors' file. Raises `WeightsError` where a tensor is missing, unknown or misshapen.

    Position counters, which transformers before 4.31 saved, are no weights and are left out.
    """
    state = find_state(read_checkpoint(path), path)
    weights = {name: tensor for name, tensor in state.items() if not name.endswith(".position_ids")}
    return build_from(factory, weights, str(path), finish=finish_positions)
