"""FreqNet: a short network that works on high frequencies, of images and of its own features.

Tan, Zhao, Wei, Gu, Liu, Wei, "Frequency-Aware Deepfake Detection: Improving Generalizability through Frequency Space
Domain Learning", AAAI 2024.
Official code: chuangchuangtan/FreqNet-DeepfakeDetection @ 2c6bd02; numbers agree with it (tests/goldens/freqnet.json).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from baselines._torch import IMAGENET, TorchDetector, scenes_presets
from fdr_bench.training.recipe import Recipe
from fdr_bench.types import CenterCrop, DetectorCard, Preset, Resize, TrainedOn, View, Weights

RESIZE_256 = View(steps=(Resize((256, 256)),), **IMAGENET)
WHOLE = View(**IMAGENET)
CROP_128 = View(steps=(CenterCrop(128),), **IMAGENET)

SIZES: Mapping[str, Mapping[str, object]] = {
    "official": {"depths": (3, 4), "widths": (64, 128)},
    "scenes": {"depths": (2, 2), "widths": (16, 32)},
}

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
            **scenes_presets("freqnet", view=CROP_128),
        },
    )
    built_by = "baselines._freqnet:FrequencyNet"
    sized = SIZES
    channels_last = False  # half of the work is Fourier transforms over planes
    # The first layers keep the image's full size, in 64 channels and their spectra: 8 GB for the largest image.
    at_once = 1 << 20
    largest = 1 << 22

    @classmethod
    def recipe(cls, size: str) -> Recipe:
        """Return the paper's augmentation (crop and flip, no blur, no JPEG) with AdamW."""
        if size == "official":
            return Recipe(view=RESIZE_256, resize=(256, 256), crop=224, lr=1e-3, weight_decay=0.0, batch=32, epochs=85)
        rest: dict[str, Any] = {"epochs": 6, "batch": 64, "storage": "float16"}
        return Recipe(view=CROP_128, crop=48, lr=3e-3, weight_decay=0.02, **rest)
