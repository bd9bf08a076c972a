"""Gram-Net: a ResNet-18 beside Gram matrices of its features, which describe texture over the whole image.

Liu, Qi, Torr, "Global Texture Enhancement for Fake Face Detection in the Wild", CVPR 2020.
Official code: Ekko-zn/AIGCDetectBenchmark @ 5cd41a6 (the network retrained on ForenSynths, preset `official`) and
liuzhengzhe/Global_Texture_Enhancement_for_Fake_Face_Detection_in_the-Wild @ a416145 (the authors' own, preset
`official-original`); numbers agree with both (tests/goldens/gramnet.json and gramnet_original.json).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from baselines._torch import IMAGENET, TorchDetector, scenes_presets
from fdr_bench.training.recipe import Recipe
from fdr_bench.types import CenterCrop, DetectorCard, OpenCVResize, Preset, Resize, TrainedOn, View, Weights

if TYPE_CHECKING:
    from torch import Tensor, nn

AS_READ: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "order": "bgr", "divisor": 1.0}

WHOLE = View(**IMAGENET)
RESIZE_CROP_224 = View(steps=(Resize(256), CenterCrop(224)), **IMAGENET)
CROP_128 = View(steps=(CenterCrop(128),), **IMAGENET)

SIZES: Mapping[str, Mapping[str, object]] = {
    "official": {},
    "scenes": {
        "depths": (0, 1, 1, 1),
        "widths": (12, 24, 48, 96),
        "stem": "3x3",
        "zero_mean_stem": True,
        "texture": 8,
        "hidden": 64,
    },
}

OFFICIAL = Weights(
    filename="Gram.pth",
    licence="none stated by the authors",
    manual=(
        "The README of https://github.com/Ekko-zn/AIGCDetectBenchmark (commit 5cd41a6) links the weights of all "
        "detectors of the benchmark at a file share; Gram.pth is Gram-Net's"
    ),
)
CONVERSION = (
    "Where you trust its code, convert it in the folder stylegan-ffhq of a clone of https://github.com/liuzhengzhe/"
    'Global_Texture_Enhancement_for_Fake_Face_Detection_in_the-Wild: python -c "import torch; '
    "network = torch.load('stylegan-ffhq.pth', map_location='cpu', weights_only=False); "
    "torch.save(network.state_dict(), 'stylegan-ffhq-state.pth')\"."
)
ORIGINAL = Weights(
    filename="stylegan-ffhq-state.pth",
    licence="none stated by the authors",
    manual=(
        "The README of https://github.com/liuzhengzhe/Global_Texture_Enhancement_for_Fake_Face_Detection_in_the-Wild "
        "(commit a416145) links stylegan-ffhq.pth at a file share. It is a pickled module, which is not read here. "
        f"{CONVERSION}"
    ),
)


class GramNet(TorchDetector):
    """ResNet-18 with Gram blocks; `official` is the benchmark's, `official-original` the authors' face detector."""

    card: ClassVar[DetectorCard] = DetectorCard(
        name="gramnet",
        title="Gram-Net",
        paper="Liu et al., Global Texture Enhancement for Fake Face Detection in the Wild, CVPR 2020",
        licence="none stated (the authors' weights; fetched by the user)",
        repository="Ekko-zn/AIGCDetectBenchmark",
        commit="5cd41a614b6c848c53ae75f561b2e1a5287cccf0",
        presets={
            "official": Preset(
                weights=(OFFICIAL,),
                views={"native": WHOLE, "resize256_crop224": RESIZE_CROP_224},
                trained_on=TrainedOn(dataset="ForenSynths (LSUN, 20 classes)", generators=("progan",)),
                parameters=11_734_210,
                note="native is the setting of the benchmark's README; resize256_crop224 that of its code's defaults",
            ),
            "official-original": Preset(
                weights=(ORIGINAL,),
                views={
                    "resize512": View(steps=(OpenCVResize((512, 512)),), **AS_READ),
                    "native": View(**AS_READ),
                },
                trained_on=TrainedOn(dataset="FFHQ", generators=("stylegan",)),
                parameters=11_734_723,
                note=(
                    "the authors' own, of faces only, from liuzhengzhe/Global_Texture_Enhancement_for_Fake_Face_"
                    "Detection_in_the-Wild @ a416145f84890a937b51dfe5343dd0e9fd47ab52; their stylegan-celeba.pth and "
                    "pggan-celeba.pth are of the same layout, after the same conversion"
                ),
            ),
            **scenes_presets("gramnet", view=CROP_128),
        },
    )
    built_by = "baselines._gramnet:GramNetwork"
    sized = SIZES

    @classmethod
    def recipe(cls, size: str) -> Recipe:
        """Return the benchmark's augmentation with AdamW; it starts from nothing, as there."""
        if size == "official":
            augmentation: dict[str, Any] = {"blur_probability": 0.1, "jpeg_probability": 0.1, "patience": 5}
            rest: dict[str, Any] = {"resize": 256, "crop": 224, "lr": 1e-4, "weight_decay": 0.0, "epochs": 50}
            return Recipe(view=RESIZE_CROP_224, batch=64, **rest, **augmentation)
        # Fingerprints in FDR-Scenes are faint already: blur and JPEG on top leave little to learn from.
        rest = {"epochs": 6, "batch": 64, "storage": "float16"}
        return Recipe(view=CROP_128, crop=48, lr=2e-3, weight_decay=0.02, betas=(0.9, 0.99), **rest)

    def load_files(self, weights: Mapping[str, Path]) -> nn.Module:
        """Return the paper's network with the benchmark's file, or with the authors' own after its conversion."""
        from baselines._gramnet import from_file

        classes = 2 if self.preset == "official-original" else 1
        return from_file(weights["weights"], classes=classes, conversion=CONVERSION)

    def probability(self, logits: Tensor) -> Tensor:
        """Return P(fake), (B,): of one logit its sigmoid, of two the softmax of the first, which is fake here."""
        return logits.sigmoid() if logits.ndim == 1 else logits.softmax(dim=1)[:, 0]
