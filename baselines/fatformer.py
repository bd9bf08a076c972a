"""FatFormer: adapters that look at wavelet bands inside CLIP, and prompts that the image itself enhances.

Liu, Tan, Tan, Wei, Wang, Zhao, "Forgery-aware Adaptive Transformer for Generalizable Synthetic Image Detection",
CVPR 2024.
Official code: Michel-liu/FatFormer @ febc24c; numbers agree with it (tests/goldens/fatformer.json).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from baselines._torch import IMAGENET, SMALL_CLIP, TorchDetector, scenes_presets
from fdr_bench.errors import UsageError
from fdr_bench.training.recipe import Recipe
from fdr_bench.types import CenterCrop, DetectorCard, Preset, Resize, TrainedOn, View, Weights

if TYPE_CHECKING:
    from torch import nn

CROP_128 = View(steps=(CenterCrop(128),), **IMAGENET)

SIZES: Mapping[str, Mapping[str, object]] = {
    "official": {},
    # One adapter, in the only block of the small CLIP that has learnt anything.
    "scenes": {"clip": SMALL_CLIP.packaged, "adapters": 1, "bottleneck": 32, "expansion": 0.5},
}

OFFICIAL = Weights(
    filename="fatformer_4class_ckpt.pth",
    licence="Apache-2.0",
    manual=(
        "The README of https://github.com/Michel-liu/FatFormer (commit febc24c) links fatformer_4class_ckpt.pth, the "
        "checkpoint of the 4-class setting, on Baidu, OneDrive and Google Drive: download it in a browser (2.0 GB). It "
        "holds the whole detector, CLIP ViT-L/14 included"
    ),
)


class FatFormer(TorchDetector):
    """CLIP ViT-L/14 with three forgery-aware adapters; `official` is the authors' 4-class ProGAN model."""

    card: ClassVar[DetectorCard] = DetectorCard(
        name="fatformer",
        title="FatFormer",
        paper="Liu et al., Forgery-aware Adaptive Transformer for Generalizable Synthetic Image Detection, CVPR 2024",
        licence="Apache-2.0 (the authors' weights; fetched by the user; CLIP's in them MIT)",
        repository="Michel-liu/FatFormer",
        commit="febc24c333d38b70fb8a00662ff67a38f681ad42",
        presets={
            "official": Preset(
                weights=(OFFICIAL,),
                views={"resize256_crop224": View(steps=(Resize((256, 256)), CenterCrop(224)), **IMAGENET)},
                trained_on=TrainedOn(dataset="ForenSynths (car, cat, chair, horse)", generators=("progan",)),
                parameters=492_591_044,
                note="ImageNet's mean and deviation, not CLIP's; adapters in blocks 8, 16 and 24, as the README's test",
            ),
            **scenes_presets(
                "fatformer",
                view=CROP_128,
                others=(SMALL_CLIP,),
                note="at chance: its training taught it nothing at this size; one adapter",
            ),
        },
    )
    built_by = "baselines._fatformer:build"
    sized = SIZES
    channels_last = False  # after the patch embedding there are only matrix products

    @classmethod
    def recipe(cls, size: str) -> Recipe:
        """Return how adapter, prompts and interactor are trained around the small CLIP, which stays as it is.

        The loss is the cross-entropy of an image's similarity to the prompts of real and of fake, as in the paper.
        """
        if size == "official":
            raise UsageError(
                f"{cls.card.name} cannot be trained at its official size here: the authors' training code is not "
                "released; use --size scenes"
            )
        rest: dict[str, Any] = {"batch": 32, "epochs": 4, "clip": 1.0, "storage": "float16"}
        save = ("*forgery_aware_adapter*", "context*", "interactor*")
        return Recipe(view=CROP_128, crop=128, lr=2e-3, save=save, **rest)

    def load_files(self, weights: Mapping[str, Path]) -> nn.Module:
        """Return the paper's network with the authors' checkpoint, which is the role "weights"."""
        from baselines._fatformer_names import from_file

        return from_file(weights["weights"], dict(self.sizes()["official"]))
