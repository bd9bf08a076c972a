"""Effort: a frozen CLIP whose attention layers learn in their smallest singular direction only.

Yan, Wang, Jin, Zhang, Liu, Chen, Yao, Ding, Wu, Yuan, "Orthogonal Subspace Decomposition for Generalizable AI-Generated
Image Detection", ICML 2025.
Official code: YZY-stack/Effort-AIGI-Detection @ 96f5dea, which holds two: a fork of DeepfakeBench (preset `official`)
and one of UniversalFakeDetect (preset `official-univfd`); numbers agree with both (tests/goldens/effort.json and
effort_univfd.json).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from baselines._torch import CLIP, SMALL_CLIP, TorchDetector, scenes_presets
from fdr_bench.training.recipe import Recipe
from fdr_bench.types import CenterCrop, DetectorCard, OpenCVResize, Preset, Tile, TrainedOn, View, Weights

if TYPE_CHECKING:
    from torch import nn

LINEAR_224 = View(steps=(OpenCVResize((224, 224)),), **CLIP)
CUBIC_224 = View(steps=(OpenCVResize((224, 224), "bicubic"),), **CLIP)
TILE_CROP_224 = View(steps=(Tile(256), CenterCrop(224)), **CLIP)
CROP_128 = View(steps=(CenterCrop(128),), **CLIP)

SIZES: Mapping[str, Mapping[str, object]] = {
    "official": {},
    # One direction of 192 holds little: eight of each layer learn.
    "scenes": {"clip": SMALL_CLIP.packaged, "learnt": 8},
}

OFFICIAL = Weights(
    filename="effort_clip_L14_trainOn_sdv14.pth",
    # Recorded by users of the README's link, independently of each other; the authors publish no checksum.
    sha256="7c32ceb4e66d303050e8fc5dc7543fa347693fb4ee6b5df4d6eaf9f6a92fb813",
    bytes=1_213_769_519,
    licence="CC BY-NC 4.0 (non-commercial; the authors' repository)",
    manual=(
        "The README of https://github.com/YZY-stack/Effort-AIGI-Detection (commit 96f5dea) links three checkpoints of "
        "'CLIP-L14 + our Effort' on Google Drive, for FaceForensics++, GenImage and Chameleon; the one trained on "
        "GenImage (sdv1.4) is effort_clip_L14_trainOn_sdv14.pth (1.2 GB)"
    ),
)
UNIVFD = Weights(
    filename="effort_clip_L14_trainOn_UniversalFakeDetect.pth",
    licence="CC BY-NC 4.0 (non-commercial; the authors' repository)",
    manual=(
        "The authors link no file of this layout; issue 14 of https://github.com/YZY-stack/Effort-AIGI-Detection shows "
        "that a user had effort_clip_L14_trainOn_UniversalFakeDetect.pth: ask the authors for it, or train it with "
        "the repository's folder UniversalFakeDetect_Benchmark (commit 96f5dea; its best file there was "
        "model_iters_18000)"
    ),
)


class Effort(TorchDetector):
    """CLIP ViT-L/14 with residual attention layers; each preset is one of the authors' two code bases."""

    card: ClassVar[DetectorCard] = DetectorCard(
        name="effort",
        title="Effort",
        paper="Yan et al., Orthogonal Subspace Decomposition for Generalizable AI-Generated Image Detection, ICML 2025",
        licence="CC BY-NC 4.0 (the authors' weights; fetched by the user)",
        repository="YZY-stack/Effort-AIGI-Detection",
        commit="96f5dea2b534d400cfd7003f053c7e93c8e16461",
        presets={
            "official": Preset(
                weights=(OFFICIAL,),
                views={"linear224": LINEAR_224, "cubic224": CUBIC_224},
                trained_on=TrainedOn(dataset="GenImage", generators=("stable-diffusion-v1.4",)),
                parameters=303_378_530,
                note=(
                    "linear224 is the setting of the authors' demo, cubic224 that of the benchmark's loader; their "
                    "files trained on FaceForensics++ and Chameleon are of the same layout. Faces are not cut out"
                ),
            ),
            "official-univfd": Preset(
                weights=(UNIVFD,),
                views={"tile256_crop224": TILE_CROP_224},
                trained_on=TrainedOn(dataset="ForenSynths (LSUN, 20 classes)", generators=("progan",)),
                parameters=303_377_505,
                note="the authors' fork of UniversalFakeDetect: crops without resizing, one logit",
            ),
            **scenes_presets("effort", view=CROP_128, others=(SMALL_CLIP,)),
        },
    )
    built_by = "baselines._effort:build"
    sized = SIZES
    channels_last = False  # after the patch embedding there are only matrix products

    @classmethod
    def recipe(cls, size: str) -> Recipe:
        """Return that of the fork of UniversalFakeDetect; the network itself freezes all but residuals and head."""
        if size == "official":
            return Recipe(view=TILE_CROP_224, tile=256, crop=224, lr=2e-4, weight_decay=0.0, batch=48, epochs=10)
        rest: dict[str, Any] = {"weight_decay": 0.0, "batch": 64, "epochs": 5, "clip": 1.0}
        return Recipe(view=CROP_128, crop=128, lr=3e-3, save=("*_residual", "head.*"), storage="float16", **rest)

    def load_files(self, weights: Mapping[str, Path]) -> nn.Module:
        """Return the paper's network with a checkpoint in the layout of the preset's code base."""
        from baselines._effort import from_file

        return from_file(weights["weights"], classes=1 if self.preset == "official-univfd" else 2)
