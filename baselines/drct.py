"""DRCT: fakes, and reals that a diffusion model has redrawn, told from reals by an embedding trained with contrast.

Chen, Zeng, Yang, Yang, "DRCT: Diffusion Reconstruction Contrastive Training towards Universal Detection of Diffusion
Generated Images", ICML 2024.
Official code: beibuwandeluori/DRCT @ 01aa7d0; numbers agree with it (tests/goldens/drct_convb.json, drct_univfd.json).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from baselines._torch import IMAGENET, SMALL_CLIP, TorchDetector, scenes_presets
from fdr_bench.training.recipe import Recipe
from fdr_bench.types import CenterCrop, DetectorCard, OpenCVResize, Preset, TrainedOn, View, Weights

if TYPE_CHECKING:
    from torch import nn

# The authors pad and cut with integer division. ImageNet's statistics, also for the variant on CLIP.
CROP_224 = View(steps=(CenterCrop(224, half="down"),), **IMAGENET)
LONGEST_224 = View(steps=(OpenCVResize(224), CenterCrop(224, half="down")), **IMAGENET)
CROP_128 = View(steps=(CenterCrop(128, half="down"),), **IMAGENET)
VIEWS: Mapping[str, View] = {"crop224": CROP_224, "longest224": LONGEST_224}

SIZES: Mapping[str, Mapping[str, object]] = {
    "official": {},
    "official-clip": {"backbone": "clip"},
    "scenes": {"backbone": "clip", "embedding": 256, "clip": SMALL_CLIP.packaged},
}
PRESET_OF: Mapping[str, str] = {"convnext": "official", "clip": "official-clip"}

# The reconstructions are labelled fake too: SD v1 inpainting redraws the reals and the fakes.
SD14 = TrainedOn(
    dataset="DRCT-2M (MS COCO and SD v1.4, with reconstructions)",
    generators=("stable-diffusion-v1.4", "stable-diffusion-inpainting"),
)
NOTE = (
    "crop224 is what all published commands use (--is_crop), longest224 the code's other path; "
    "the authors' zip also holds files trained on SD v2 and on GenImage, which load as well"
)


def official(file: str) -> Weights:
    """Return the weights file at this place inside the authors' zip."""
    return Weights(
        filename=file.rpartition("/")[2],
        licence="none stated by the authors",
        manual=(
            f"Download pretrained.zip from https://modelscope.cn/datasets/BokingChen/DRCT-2M (ModelScope, the authors' "
            f"release) and take {file} out of it"
        ),
    )


class DRCT(TorchDetector):
    """An embedding and two logits: `official` on ConvNeXt-B, `official-clip` on CLIP ViT-L/14, both of the authors."""

    card: ClassVar[DetectorCard] = DetectorCard(
        name="drct",
        title="DRCT",
        paper="Chen et al., DRCT: Diffusion Reconstruction Contrastive Training towards Universal Detection of "
        "Diffusion Generated Images, ICML 2024",
        licence="none stated (the authors' weights; fetched by the user)",
        repository="beibuwandeluori/DRCT",
        commit="01aa7d0b6de903cf3208801f8f6b469edffbc762",
        presets={
            "official": Preset(
                weights=(official("DRCT-2M/sdv14/convnext_base_in22k_224_drct_amp_crop/14_acc0.9996.pth"),),
                views=VIEWS,
                trained_on=SD14,
                parameters=88_618_114,
                note=NOTE,
            ),
            "official-clip": Preset(
                weights=(official("DRCT-2M/sdv14/clip-ViT-L-14_224_drct_amp_crop/13_acc0.9664.pth"),),
                views=VIEWS,
                trained_on=SD14,
                parameters=304_755_714,
                note=NOTE,
            ),
            **scenes_presets(
                "drct", view=CROP_128, others=(SMALL_CLIP,), note="no diffusion model has redrawn its images"
            ),
        },
    )
    built_by = "baselines._drct:build"
    sized = SIZES

    @classmethod
    def recipe(cls, size: str) -> Recipe:
        """Return the paper's losses, and of its augmentation what the trainer has; on CLIP only two layers learn.

        The paper also shows reals and fakes that a diffusion model has redrawn, all as fake. Such images, where they
        are in the data, are fakes like others; a fake of FDR-Scenes is a scene that went through a decoder as it is.
        """
        rest: dict[str, Any] = {"weight_decay": 4e-5}
        if size != "official":
            rest["freeze"] = ("model.visual.*",)
        if size == "scenes":
            # Fingerprints in FDR-Scenes are faint already: blur and JPEG on top leave little to learn from.
            rest |= {"save": ("model.fc.*", "fc.*"), "storage": "float16"}
            return Recipe(view=CROP_128, crop=128, lr=3e-3, batch=64, epochs=100, **rest)
        rest |= {"blur_probability": 0.1, "jpeg_probability": 0.5, "batch": 256 if size == "official-clip" else 128}
        return Recipe(view=CROP_224, crop=224, lr=1e-4, epochs=17, **rest)

    def load_files(self, weights: Mapping[str, Path]) -> nn.Module:
        """Return the preset's network with the authors' file. Raises `WeightsError` for the other preset's."""
        from baselines._drct import from_file

        return from_file(weights["weights"], self.sizes()[self.preset], preset_of=PRESET_OF)

    def prefers_channels_last(self) -> bool:
        """Say yes for the ConvNeXt; CLIP has only matrix products after its patch embedding."""
        return self.preset == PRESET_OF["convnext"]
