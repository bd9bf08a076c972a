"""A tiny SPAI, and images in [0, 1] for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from baselines._spai import SPAINet

TINY: dict[str, Any] = {
    "side": 8,
    "patch": 4,
    "width": 8,
    "depth": 2,
    "heads": 2,
    "cutoff": 2,
    "projected": 6,
    "queries": 2,
    "query_width": 3,
}


def seeded(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def tiny(**changes: Any) -> SPAINet:
    """Return a network whose every tensor matters."""
    torch.manual_seed(0)
    network = SPAINet(**TINY | changes).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.1, 0.4)
    return network
