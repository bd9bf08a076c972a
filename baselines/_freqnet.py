"""The network of FreqNet: high-pass filters and 1×1 convolutions of spectra, between the stages of a short ResNet.

Every Fourier transform here is of real values, so half of the spectrum says all: the other half is its mirror image,
conjugated. What the paper does to the whole spectrum and then takes the real part of is done to that half.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from baselines._resnet import initialise, stage

SPACE, CHANNELS = (-2, -1), (1,)


class FrequencyNet(nn.Module):
    """Spectral blocks 1 and 2, max-pool, bottlenecks, spectral blocks 3 and 4, bottlenecks, global mean, fc1.

    A block is a high pass over rows and columns, `weightK` and `biasK` (1×1), and a layer on the spectrum's real and
    imaginary parts (`realconvK`, `imagconvK`, also 1×1); blocks 1 and 2 have a high pass over channels before it.
    """

    def __init__(self, *, depths: Sequence[int] = (3, 4), widths: Sequence[int] = (64, 128)) -> None:
        super().__init__()
        first = widths[0]
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = stage("bottleneck", first, first, depths[0], stride=1)
        middle = 4 * first
        self.layer2 = stage("bottleneck", middle, widths[1], depths[1], stride=2)
        self.fc1 = nn.Linear(4 * widths[1], 1)
        plan = [(3, first), (first, first), (middle, middle), (middle, middle)]
        for number, (inputs, outputs) in enumerate(plan, start=1):
            self.register_parameter(f"weight{number}", nn.Parameter(torch.empty(outputs, inputs, 1, 1)))
            self.register_parameter(f"bias{number}", nn.Parameter(torch.zeros(outputs)))
            self.add_module(f"realconv{number}", nn.Conv2d(outputs, outputs, 1, bias=False))
            self.add_module(f"imagconv{number}", nn.Conv2d(outputs, outputs, 1, bias=False))
            if not self.fc1.weight.is_meta:
                weight = self.get_parameter(f"weight{number}")
                nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
        if not self.fc1.weight.is_meta:
            initialise(self, self.fc1)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (B, 3, H, W) of any size to logits (B,), high for fake."""
        x = self.block(1, x, stride=1, over_channels=True)
        x = self.block(2, x, stride=2, over_channels=True)
        x = self.layer1(self.maxpool(x))
        x = self.block(3, x, stride=1, over_channels=False)
        x = self.block(4, x, stride=2, over_channels=False)
        logit: Tensor = self.fc1(self.layer2(x).mean(dim=(2, 3)))
        return logit.squeeze(1)

    def block(self, number: int, x: Tensor, *, stride: int, over_channels: bool) -> Tensor:
        """Apply the spectral block of this number: (B, inputs, H, W) to (B, outputs, ceil(H / stride), …)."""
        x = high_pass(x, SPACE)
        weight, bias = self.get_parameter(f"weight{number}"), self.get_parameter(f"bias{number}")
        x = conv2d(x, weight, bias, stride).relu_()
        if over_channels:
            x = high_pass(x, CHANNELS)
        real, imaginary = self.get_submodule(f"realconv{number}"), self.get_submodule(f"imagconv{number}")
        return spectral_layer(x, real, imaginary)


def high_pass(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return the ReLU of x without its low frequencies along `axes`: those in the middle half of every one of them.

    Of n frequencies, -(n // 4) … n // 4 - 1 are low, so below 4 px none is. That range is not symmetric: the frequency
    -(n // 4) goes and its mirror image stays. The real part of what is left has half of both.
    """
    sizes = [x.shape[axis] for axis in axes]
    spectrum = torch.fft.rfftn(_wide(x), dim=axes, norm="ortho")
    share = kept_share(sizes, x.device).to(spectrum.real.dtype)
    if axes == CHANNELS:
        share = share[:, None, None]
    return torch.fft.irfftn(spectrum * share, s=sizes, dim=axes, norm="ortho").relu_().to(x.dtype)


def kept_share(sizes: Sequence[int], device: torch.device) -> Tensor:
    """Return how much of each frequency the high pass keeps (0, ½ or 1), the last axis being half a spectrum."""
    block, mirrored = torch.ones((), device=device), torch.ones((), device=device)
    for position, size in enumerate(sizes):
        half = position == len(sizes) - 1
        index = torch.arange(size // 2 + 1 if half else size, device=device)
        frequency = index if half else (index + size // 2) % size - size // 2
        quarter = size // 4
        block = block[..., None] * ((frequency >= -quarter) & (frequency < quarter))
        mirrored = mirrored[..., None] * ((frequency > -quarter) & (frequency <= quarter))
    return 1 - (block + mirrored) / 2


def spectral_layer(x: Tensor, real: nn.Module, imaginary: nn.Module) -> Tensor:
    """Return the ReLU of what has the spectrum of x with one layer on its real and one on its imaginary part.

    The two do not mix, as they would in a product with complex weights. (B, C, H, W) to (B, C, H, W).
    """
    # Orthonormal, so that the parts keep the scale of x: half precision would overflow otherwise.
    spectrum = torch.fft.rfft2(_wide(x), norm="ortho")
    parts = [
        layer(part.to(x.dtype)).to(part.dtype) for layer, part in ((real, spectrum.real), (imaginary, spectrum.imag))
    ]
    return torch.fft.irfft2(torch.complex(*parts), s=x.shape[-2:], norm="ortho").relu_().to(x.dtype)


def _wide(x: Tensor) -> Tensor:
    # Fourier transforms in half precision exist for a few sizes only.
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
