"""Start a layer where its inputs have no direction that outshouts the others, so that it can learn from any of them.

What a frozen transformer says of an image is mostly what is in it; a generator's trace lies in directions of a
thousandth of that variance. A layer at its usual initialisation needs very many steps to hear them. Whitening by the
training images is a data-dependent initialisation (Krähenbühl et al., ICLR 2016): the network stays as published.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SMALLEST = 1e-4
"""Variances below this share of the largest count as that: they are rounding."""


@torch.no_grad()
def whiten(layer: nn.Linear, inputs: Tensor) -> None:
    """Set weight and bias so that inputs (..., D) of this distribution give outputs of mean 0 and covariance 1.

    The outputs are random orthogonal mixtures of the whitened inputs (rows of the weight cannot all be orthogonal where
    there are more outputs than inputs: then its columns are).
    """
    rows = inputs.flatten(0, -2).double()
    variances, directions = torch.linalg.eigh(torch.cov(rows.T))
    scales = variances.clamp_min(SMALLEST * float(variances.max())).rsqrt()
    weight = nn.init.orthogonal_(torch.empty_like(layer.weight)).double() @ (directions * scales) @ directions.T
    layer.weight.copy_(weight)
    layer.bias.copy_(-weight @ rows.mean(dim=0))
