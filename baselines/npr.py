"""NPR: what up-sampling leaves between neighbouring pixels, read by the first half of a ResNet-50.

Tan, Liu, Zhao, Wei, Gu, Liu, Wei, "Rethinking the Up-Sampling Operations in CNN-based Generative Network for
Generalizable Deepfake Detection", CVPR 2024.
Official code: chuangchuangtan/NPR-DeepfakeDetection @ 73cde1c; numbers agree with it (tests/goldens/npr.json).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from baselines._torch import IMAGENET, TorchDetector, scenes_preset
from fdr_bench.errors import ImageError
from fdr_bench.training.recipe import Recipe
from fdr_bench.types import CenterCrop, DetectorCard, Preset, Resize, Tile, TrainedOn, View, Weights

if TYPE_CHECKING:
    from PIL.Image import Image

WHOLE = View(**IMAGENET)
RESIZE_256 = View(steps=(Resize((256, 256)),), **IMAGENET)
CROP_128 = View(steps=(CenterCrop(128),), **IMAGENET)

SIZES: Mapping[str, Mapping[str, object]] = {
    "official": {"depths": (3, 4), "widths": (64, 128)},
    "small": {"depths": (3, 4), "widths": (64, 128)},
    "scenes": {"depths": (3, 4), "widths": (32, 64)},
}

OFFICIAL = Weights(
    filename="NPR.pth",
    licence="none stated by the authors",
    manual=(
        "NPR.pth lies in the authors' git repository: clone https://github.com/chuangchuangtan/NPR-DeepfakeDetection "
        "(commit 73cde1c; 'git hash-object NPR.pth' prints 2430d34a6d6a1143d46d4276a05536770b1a2a97)"
    ),
)


class NPR(TorchDetector):
    """Neighbouring-pixel residuals into a truncated ResNet; `official` is the authors' 4-class ProGAN model."""

    card: ClassVar[DetectorCard] = DetectorCard(
        name="npr",
        title="NPR",
        paper="Tan et al., Rethinking the Up-Sampling Operations in CNN-based Generative Network for Generalizable "
        "Deepfake Detection, CVPR 2024",
        licence="none stated (the authors' weights; fetched by the user)",
        repository="chuangchuangtan/NPR-DeepfakeDetection",
        commit="73cde1ced21291bfb504a2add2b53fbe99c4f433",
        presets={
            "official": Preset(
                weights=(OFFICIAL,),
                views={
                    "resize256": RESIZE_256,
                    "native": WHOLE,
                    "resize256_crop224": View(steps=(Resize((256, 256)), CenterCrop(224)), **IMAGENET),
                    "tile_crop224": View(steps=(Tile(224), CenterCrop(224)), **IMAGENET),
                },
                trained_on=TrainedOn(dataset="ForenSynths (car, cat, chair, horse)", generators=("progan",)),
                parameters=1_437_761,
                note="native is the README's setting for AIGCDetectBenchmark, tile_crop224 the one for GenImage",
            ),
            "scenes": scenes_preset("npr", view=CROP_128),
        },
    )
    built_by = "baselines._npr:NPRNet"
    sized = SIZES

    def preprocess(self, image: Image) -> NDArray[np.float32]:
        """Return the network's input (3, H, W). Raises `ImageError` also where no 2×2 cell is left."""
        array = super().preprocess(image)
        if min(array.shape[1:]) < 2:
            raise ImageError(f"NPR needs at least 2x2 px; the image is {array.shape[2]}x{array.shape[1]} px")
        return array

    @classmethod
    def recipe(cls, size: str) -> Recipe:
        """Return the paper's augmentation (crop and flip, no blur, no JPEG) with AdamW."""
        if size == "official":
            return Recipe(view=RESIZE_256, resize=(256, 256), crop=224, lr=2e-4, weight_decay=0.0, batch=32, epochs=50)
        if size == "small":
            return Recipe(view=WHOLE, pad=4, crop=32, epochs=12, batch=128, lr=3e-3, weight_decay=0.05, ema=0.999)
        return Recipe(view=CROP_128, crop=64, epochs=8, batch=64, lr=3e-3, weight_decay=0.02)
