"""CNNDetection: a ResNet-50 on ProGAN images with blur and JPEG augmentation.

Wang, Wang, Zhang, Owens, Efros, "CNN-generated images are surprisingly easy to spot... for now", CVPR 2020.
Official code: PeterWang512/CNNDetection @ ea0b562; numbers agree with it (tests/goldens/cnndetection.json).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from baselines._torch import IMAGENET, TorchDetector, scenes_preset
from fdr_bench.training.recipe import Recipe
from fdr_bench.types import CenterCrop, DetectorCard, Preset, Resize, TrainedOn, View, Weights

CROP_224 = View(steps=(CenterCrop(224),), **IMAGENET)
CROP_128 = View(steps=(CenterCrop(128),), **IMAGENET)
WHOLE = View(**IMAGENET)

SIZES: Mapping[str, Mapping[str, object]] = {
    "official": {},
    # CIFAR's stem; blocks at the full 32 px would cost as much as all others and bring little, so there is none.
    "small": {"block": "basic", "depths": (0, 1, 1, 1), "widths": (32, 64, 128, 256), "stem": "3x3"},
    "scenes": {
        "block": "basic",
        "depths": (0, 1, 1, 1),
        "widths": (16, 32, 64, 128),
        "stem": "3x3",
        "zero_mean_stem": True,
    },
}

OFFICIAL = Weights(
    filename="blur_jpg_prob0.5.pth",
    licence="CC BY-NC-SA 4.0 (non-commercial; the authors' repository)",
    manual=(
        "In a clone of https://github.com/PeterWang512/CNNDetection run 'bash weights/download_weights.sh'; "
        "it fetches blur_jpg_prob0.5.pth (the paper's Blur+JPEG 0.5 model) from the authors' file share"
    ),
)


class CNNDetection(TorchDetector):
    """ResNet-50 with one logit; `official` is the authors' Blur+JPEG(0.5) model."""

    card: ClassVar[DetectorCard] = DetectorCard(
        name="cnndetection",
        title="CNNDetection (ResNet-50)",
        paper="Wang et al., CNN-generated images are surprisingly easy to spot... for now, CVPR 2020",
        licence="CC BY-NC-SA 4.0 (the authors' weights; fetched by the user)",
        repository="PeterWang512/CNNDetection",
        commit="ea0b5622365e3a9cd31d1b54b6b5971131a839ab",
        presets={
            "official": Preset(
                weights=(OFFICIAL,),
                views={
                    "crop224": CROP_224,
                    "no_crop": WHOLE,
                    "resize256_crop224": View(steps=(Resize(256), CenterCrop(224)), **IMAGENET),
                },
                trained_on=TrainedOn(dataset="ForenSynths (LSUN, 20 classes)", generators=("progan",)),
                parameters=23_510_081,
                note="crop224 is the paper's evaluation; no_crop is what the authors recommend since June 2020",
            ),
            "scenes": scenes_preset("cnndetection", view=CROP_128),
        },
    )
    built_by = "baselines._resnet:ResNet"
    sized = SIZES

    @classmethod
    def recipe(cls, size: str) -> Recipe:
        """Return the paper's augmentation with AdamW; smaller sizes train longer at a higher rate."""
        augmentation: dict[str, Any] = {"blur_probability": 0.5, "jpeg_probability": 0.5}
        if size == "official":
            return Recipe(view=CROP_224, resize=256, crop=224, lr=1e-4, weight_decay=0.0, batch=64, **augmentation)
        if size == "small":
            # CIFAKE is JPEG of 32 px already; blurring such images costs more than it regularises.
            rest: dict[str, Any] = {"schedule": "one-cycle", "warmup": 0.15, "betas": (0.9, 0.99), "validation": 0.03}
            rest |= {"lr": 2e-3, "weight_decay": 0.05, "label_smoothing": 0.05, "ema": 0.998}
            return Recipe(view=WHOLE, pad=2, crop=32, epochs=10, batch=128, **rest)
        # Fingerprints in FDR-Scenes are faint already: blur and JPEG on top leave little to learn from.
        return Recipe(view=CROP_128, crop=64, epochs=6, batch=64, lr=2e-3, weight_decay=0.02, betas=(0.9, 0.99))
