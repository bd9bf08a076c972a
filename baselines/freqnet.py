"""FreqNet: a short network that works on high frequencies, of images and of its own features.

Tan, Zhao, Wei, Gu, Liu, Wei, "Frequency-Aware Deepfake Detection: Improving Generalizability through Frequency Space
Domain Learning", AAAI 2024.
Official code: chuangchuangtan/FreqNet-DeepfakeDetection @ 2c6bd02; numbers agree with it (tests/goldens/freqnet.json).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from baselines._torch import IMAGENET, TorchDetector
from fdr_bench.errors import ImageError
from fdr_bench.training.recipe import Recipe
from fdr_bench.types import CenterCrop, DetectorCard, Preset, Resize, TrainedOn, View, Weights

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

RESIZE_256 = View(steps=(Resize((256, 256)),), **IMAGENET)
WHOLE = View(**IMAGENET)
CROP_128 = View(steps=(CenterCrop(128),), **IMAGENET)

SIZES: Mapping[str, Mapping[str, object]] = {
    "official": {"depths": (3, 4), "widths": (64, 128)},
    "scenes": {"depths": (3, 4), "widths": (32, 64)},
}

PIXELS_AT_ONCE = 1 << 20
"""Pixels in one forward pass. The first layers keep the image's full size, in 64 channels and their spectra."""

LARGEST = 1 << 22
"""Pixels of one image above which a view that keeps the image's own size is refused (it would need over 8 GB)."""

OFFICIAL = Weights(
    filename="4-classes-freqnet-v2.pth",
    licence="none stated by the authors",
    manual=(
        "4-classes-freqnet-v2.pth lies in the authors' git repository: clone "
        "https://github.com/chuangchuangtan/FreqNet-DeepfakeDetection (commit 2c6bd02; "
        "'git hash-object 4-classes-freqnet-v2.pth' prints 3c6208db34138cea16da831bdecf03bbb568b630)"
    ),
)


class FreqNet(TorchDetector):
    """Frequency-space learning in a short ResNet; `official` is the authors' 4-class ProGAN model."""

    card: ClassVar[DetectorCard] = DetectorCard(
        name="freqnet",
        title="FreqNet",
        paper="Tan et al., Frequency-Aware Deepfake Detection: Improving Generalizability through Frequency Space "
        "Domain Learning, AAAI 2024",
        licence="none stated (the authors' weights; fetched by the user)",
        repository="chuangchuangtan/FreqNet-DeepfakeDetection",
        commit="2c6bd020cda1c0001e7a7d30ebd2dd5c55b5a8b6",
        presets={
            "official": Preset(
                weights=(OFFICIAL,),
                views={
                    "resize256": RESIZE_256,
                    "native": WHOLE,
                    "resize256_crop224": View(steps=(Resize((256, 256)), CenterCrop(224)), **IMAGENET),
                },
                trained_on=TrainedOn(dataset="ForenSynths (car, cat, chair, horse)", generators=("progan",)),
                parameters=1_850_433,
                note="resize256 is the setting for ForenSynths, native the one for GANGen-Detection",
            ),
        },
    )

    @classmethod
    def sizes(cls) -> Mapping[str, Mapping[str, object]]:
        """Return the paper's network and a narrower one for FDR-Scenes."""
        return SIZES

    @classmethod
    def network(cls, **architecture: Any) -> nn.Module:
        """Return a `FrequencyNet` of these keywords (depths and widths of its bottleneck stages)."""
        from baselines._freqnet import FrequencyNet

        return FrequencyNet(**architecture)

    def prefers_channels_last(self) -> bool:
        """Say no: half of the work is Fourier transforms over planes."""
        return False

    def preprocess(self, image: Image) -> NDArray[np.float32]:
        """Return the network's input (3, H, W). Raises `ImageError` where it would be too large for this network."""
        array = super().preprocess(image)
        height, width = array.shape[1:]
        if height * width > LARGEST:
            raise ImageError(
                f"{width}x{height} px is more than FreqNet takes at once ({LARGEST} px); choose a view that resizes"
            )
        return array

    def logits(self, inputs: Tensor, *beside: Tensor) -> Tensor:
        """Return the logits (B,) of preprocessed images (B, 3, H, W), a few images at a time."""
        import torch

        height, width = inputs.shape[-2:]
        at_once = max(1, PIXELS_AT_ONCE // (height * width))
        return torch.cat([super(FreqNet, self).logits(part, *beside) for part in inputs.split(at_once)])

    @classmethod
    def recipe(cls, size: str) -> Recipe:
        """Return the paper's augmentation (crop and flip, no blur, no JPEG) with AdamW."""
        if size == "official":
            return Recipe(view=RESIZE_256, resize=(256, 256), crop=224, lr=1e-3, weight_decay=0.0, batch=32, epochs=85)
        return Recipe(view=CROP_128, crop=64, epochs=8, batch=64, lr=3e-3, weight_decay=0.02)
