"""Masked frequency modelling: a ViT learns to fill in the low or the high frequencies that a picture lacks.

Xie, Li, Zhan, Liu, Ong, Loy, "Masked Frequency Modeling for Self-Supervised Visual Pre-Training", ICLR 2023. SPAI
begins with it, on real pictures alone. Two things differ from the paper: what is left of a picture is cut to [0, 1], as
SPAI shows it afterwards, and the mask's share of the spectrum is the caller's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines._beit import ViT
from baselines._spai import divide, frequency_mask, normalise
from fdr_bench.training.network import Classify


class MaskedFrequencies(nn.Module):
    """A ViT and a linear layer from its tokens to pixels."""

    mask: Tensor

    def __init__(self, *, side: int, patch: int, width: int, depth: int, heads: int, cutoff: int) -> None:
        super().__init__()
        self.vit = ViT(side=side, patch=patch, width=width, depth=depth, heads=heads, leftovers=False)
        self.norm = nn.LayerNorm(width)
        self.pixels = nn.Linear(width, 3 * patch**2)
        self.fold = nn.Fold((side, side), patch, stride=patch)
        self.register_buffer("mask", frequency_mask(side, cutoff), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised pictures that lack frequencies (B, 3, side, side) to normalised whole ones, of one shape."""
        *_, tokens = self.vit.layers(x)
        whole: Tensor = self.fold(self.pixels(self.norm(tokens)).mT)
        return whole

    def training_loss(self, x: Tensor, *beside: Tensor, fake: Tensor, classify: Classify) -> Tensor:
        """Return how far the filled-in frequencies of the real ones of pictures in [0, 1] are from their own.

        A coin decides for each picture whether it loses the low or the high ones. The distance is the mean modulus over
        all frequencies that were lost (the paper's exponent of 1); 0 where no picture is real.
        """
        real = x[~fake]
        if not len(real):
            return 0 * self.pixels.bias.sum()
        low, high = divide(real, self.mask)
        loses_low = torch.rand(len(real), 1, 1, 1, device=x.device) < 0.5
        is_low = torch.fft.ifftshift(self.mask).bool()
        lost = torch.where(loses_low, is_low, ~is_low)  # (B, 1, side, side)
        filled = self(normalise(torch.where(loses_low, high, low)))
        return masked_distance(filled, normalise(real), lost)


def masked_distance(filled: Tensor, whole: Tensor, lost: Tensor) -> Tensor:
    """Return the mean modulus of the difference between two stacks' spectra (B, 3, H, W) where `lost` (B, 1, H, W)."""
    distance = torch.fft.fft2((filled - whole).float(), norm="ortho").abs()
    mean: Tensor = (distance * lost).sum() / (lost.sum() * whole.shape[1]).clamp(min=1)
    return mean
