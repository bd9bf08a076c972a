"""Networks on a backbone: what they make of an image by themselves lies behind features that others may need too."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property

import torch
from torch import Tensor, nn


class Backbone:
    """What maps preprocessed images to features. Two are equal where they give the same bits for the same images.

    That is where the architecture is told by the same words, and all tensors agree in name, values, precision, layout
    and device. Values are compared by their sha256, which is computed only for backbones that agree in all the rest.
    The weights must not change once two were compared.
    """

    def __init__(self, architecture: str, modules: Mapping[str, nn.Module]) -> None:
        self._modules = modules
        self.outline = (
            architecture,
            *((name, *tensor.shape, *tensor.stride(), str(tensor.dtype), str(tensor.device)) for name, tensor in self),
        )

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for name, module in sorted(self._modules.items()):
            for inner, tensor in module.state_dict().items():
                yield f"{name}.{inner}", tensor

    @cached_property
    def sha256(self) -> str:
        """The hash of all the tensors' values, in the order of their names."""
        digest = hashlib.sha256()
        for _, tensor in self:
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Backbone):
            return NotImplemented
        return self is other or (self.outline == other.outline and self.sha256 == other.sha256)

    def __hash__(self) -> int:
        return hash(self.outline)


class OnBackbone(nn.Module):
    """A network whose logits depend on the image only through the features of its backbone."""

    def backbone(self) -> Backbone:
        """Return what makes the features."""
        raise NotImplementedError

    def features(self, x: Tensor) -> Tensor:
        """Map preprocessed images to the backbone's features, (B, …); nothing but the backbone takes part."""
        raise NotImplementedError

    def judge(self, features: Tensor, *beside: Tensor) -> Tensor:
        """Map features, and what the network takes beside the pixels, to logits, a row an image."""
        raise NotImplementedError

    def forward(self, x: Tensor, *beside: Tensor) -> Tensor:
        """Map preprocessed images to logits."""
        return self.judge(self.features(x), *beside)
