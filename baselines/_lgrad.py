"""The networks of LGrad: StyleGAN's discriminator, whose gradient is the image that a ResNet-50 then classifies.

Karras, Laine, Aila, "A Style-Based Generator Architecture for Generative Adversarial Networks", CVPR 2019, describes
the discriminator; it grew with its images while it was trained, and is used here at its full size alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, leaky_relu, linear, pad

from baselines._checkpoints import build_from, find_state, load_strictly, read_checkpoint
from baselines._resnet import ResNet
from baselines._torch import IMAGENET
from fdr_bench.errors import WeightsError
from fdr_bench.weights import packaged_path
from fdr_bench.weights_card import read_card

SMALLEST = 4
"""Side in px at which the halving ends."""

STATISTIC = 1e-4
"""What the channel of the batch's standard deviation holds for an image alone: the root of its guard, 1e-8."""


class Scaled(nn.Module):
    """A weight that is drawn from N(0, 1) and scaled when it is used, by gain / √(fan-in), and a plain bias."""

    def __init__(self, *shape: int, gain: float = math.sqrt(2.0)) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.zeros(shape[0]))
        self.scale = gain / math.sqrt(math.prod(shape[1:]))
        if not self.weight.is_meta:
            nn.init.normal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs) by a matrix, (B, inputs, H, W) by a convolution that keeps the size."""
        weight, bias = self.weight.to(x.dtype) * self.scale, self.bias.to(x.dtype)
        if weight.ndim == 2:
            return linear(x, weight, bias)
        return conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


class Blur(nn.Module):
    """The binomial filter (1, 2, 1) × (1, 2, 1) / 16 on every channel."""

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", torch.outer(line, line).repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape; outside of the image is 0."""
        return conv2d(x, self.kernel.to(x.dtype), padding=1, groups=len(self.kernel))


class Halving(Scaled):
    """A blur, a 3×3 convolution and the mean of each 2×2 cell.

    Convolution and mean are one 4×4 convolution of stride 2: its kernel is the mean of the 3×3 kernel at the four
    places of a cell. The original does that from 128 px up and the two one after the other below, which is the same.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(outputs, inputs, 3, 3)
        self.blur = Blur(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / 2, W / 2)."""
        wide = pad(self.weight.to(x.dtype) * self.scale, (1, 1, 1, 1))
        kernel = (wide[..., 1:, 1:] + wide[..., 1:, :-1] + wide[..., :-1, 1:] + wide[..., :-1, :-1]) / 4
        return conv2d(self.blur(x), kernel, self.bias.to(x.dtype), stride=2, padding=1)


class Discriminator(nn.Module):
    """StyleGAN's discriminator at full size: from RGB, pairs of convolutions that halve the side, two dense layers.

    `widths` are the channels from the whole image down to 4 px. Layers "inputK" with K > 0 take smaller images; they
    are in every checkpoint and are not used.
    """

    lod: Tensor

    def __init__(self, *, side: int = 256, widths: Sequence[int] = (64, 128, 256, 512, 512, 512, 512)) -> None:
        super().__init__()
        self.halvings = len(widths) - 1
        if side != SMALLEST << self.halvings:
            raise ValueError(
                f"{len(widths)} widths halve {SMALLEST << self.halvings} px down to {SMALLEST}, not {side}"
            )
        self.register_buffer("lod", torch.zeros(()))
        for number, width in enumerate(widths):
            self.add_module(f"input{number}", Scaled(width, 3, 1, 1))
        for number, (width, wider) in enumerate(pairwise(widths)):
            self.add_module(f"layer{2 * number}", Scaled(width, width, 3, 3))
            self.add_module(f"layer{2 * number + 1}", Halving(width, wider))
        last, number = widths[-1], 2 * self.halvings
        self.add_module(f"layer{number}", Scaled(last, last + 1, 3, 3))
        self.add_module(f"layer{number + 1}", Scaled(last, last * SMALLEST**2))
        self.add_module(f"layer{number + 2}", Scaled(1, last, gain=1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Map images in [-1, 1], (B, 3, side, side), to scores (B,), each as if it were alone in its batch."""
        x = leaky_relu(self.get_submodule("input0")(x), 0.2)
        for number in range(2 * self.halvings):
            x = leaky_relu(self.get_submodule(f"layer{number}")(x), 0.2)
        x = torch.cat([x, torch.full_like(x[:, :1], STATISTIC)], dim=1)
        x = leaky_relu(self.get_submodule(f"layer{2 * self.halvings}")(x), 0.2)
        x = leaky_relu(self.get_submodule(f"layer{2 * self.halvings + 1}")(x.flatten(1)), 0.2)
        score: Tensor = self.get_submodule(f"layer{2 * self.halvings + 2}")(x)
        return score.squeeze(1)


class StandIn(nn.Module):
    """A trained CNNDetection in the place of a discriminator; it stays as it is."""

    def __init__(self, folder: Path) -> None:
        """Read the weights folder that `fdr-bench train cnndetection` wrote."""
        super().__init__()
        self.network = ResNet(**read_card(folder).architecture)
        path = folder / "model.safetensors"
        load_strictly(self.network, find_state(read_checkpoint(path), path), str(path))
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Map images in [-1, 1], (B, 3, H, W), to its logits (B,), high for fake."""
        logit: Tensor = self.network(with_statistics((x + 1) / 2))
        return logit


class LGradNet(nn.Module):
    """A discriminator, whose gradient makes an 8-bit picture of each image, and the classifier of such pictures.

    `discriminator` is what to take, or the keywords of `Discriminator`.
    """

    def __init__(
        self,
        *,
        discriminator: nn.Module | Mapping[str, Any] | None = None,
        classifier: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        given = isinstance(discriminator, nn.Module)
        self.discriminator = discriminator if given else Discriminator(**(discriminator or {}))
        self.classifier = ResNet(**(classifier or {}))

    def forward(self, x: Tensor) -> Tensor:
        """Map images in [-1, 1], (B, 3, side, side), to logits (B,), high for fake."""
        return self.classify(self.gradient_image(x).to(x.dtype))

    def classify(self, gradient_images: Tensor) -> Tensor:
        """Map what `gradient_image` makes, (B, 3, H, W), to logits (B,), high for fake."""
        logit: Tensor = self.classifier(gradient_images)
        return logit

    def gradient_image(self, x: Tensor) -> Tensor:
        """Return the classifier's input for images in [-1, 1], (B, 3, side, side), as float32 of the same shape.

        It is the gradient as an 8-bit picture, then minus ImageNet's mean, over its std.
        """
        return with_statistics(levels(self.gradient(x)).float() / 255)

    def gradient(self, x: Tensor) -> Tensor:
        """Return the gradient of each image's score with respect to the image, (B, 3, side, side), without a graph.

        In the precision of the discriminator's weights, and in float32 where that is less: a gradient has values of
        1e-5, and a rounding of theirs moves levels of the picture.
        """
        weight = next(self.discriminator.parameters())
        precision = torch.promote_types(weight.dtype, torch.float32)
        exact = torch.autocast(x.device.type, enabled=False)
        with torch.inference_mode(False), torch.enable_grad(), exact:
            image = x.detach().to(precision, copy=True).requires_grad_()
            (gradient,) = torch.autograd.grad(self.discriminator(image).sum(), image)
        return gradient


def with_statistics(x: Tensor) -> Tensor:
    """Return images in [0, 1], (B, 3, H, W), minus ImageNet's mean, over its deviation."""
    mean, std = (x.new_tensor(IMAGENET[name])[:, None, None] for name in ("mean", "std"))
    return (x - mean) / std


def levels(gradient: Tensor) -> Tensor:
    """Return each image's gradient (B, 3, H, W) as whole numbers from 0 (its lowest value) to 255 (its highest).

    Lowest and highest are over all three channels. A gradient that is the same everywhere gives zeros.
    """
    shifted = gradient - gradient.amin(dim=(1, 2, 3), keepdim=True)
    highest = shifted.amax(dim=(1, 2, 3), keepdim=True)
    return (shifted / highest.where(highest > 0, 1) * 255).round()


def from_files(weights: Mapping[str, Path], discriminator: Callable[[], Path]) -> nn.Module:
    """Return the paper's network from the roles "weights" (the classifier) and "discriminator".

    Without the latter, `discriminator` tells where its file is. Raises `WeightsError` where a tensor is missing,
    unknown or of another shape, or where the discriminator was saved before it had grown to its full size.
    """
    paths = {"classifier": weights["weights"], "discriminator": weights.get("discriminator") or discriminator()}
    state = {
        f"{part}.{name}": tensor
        for part, path in paths.items()
        for name, tensor in find_state(read_checkpoint(path), path).items()
    }
    network = build_from(build, state, f"{paths['classifier']} with {paths['discriminator']}")
    assert isinstance(network, LGradNet) and isinstance(network.discriminator, Discriminator)
    if network.discriminator.lod != 0:
        raise WeightsError(
            f"{paths['discriminator']} is of a discriminator that was still growing (its lod is "
            f"{float(network.discriminator.lod):g}, expected 0); fetch the one of the full size"
        )
    return network


def build(stand_in: str | None = None, **architecture: Any) -> LGradNet:
    """Return the network of these keywords at its initialisation.

    `stand_in` is the weights folder, inside a package, of the CNNDetection whose gradient is then the picture.
    """
    if stand_in is None:
        return LGradNet(**architecture)
    return LGradNet(discriminator=StandIn(packaged_path(stand_in)), **architecture)
