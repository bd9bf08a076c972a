"""UnivFD: a linear layer on the image embedding of a frozen CLIP.

Ojha, Li, Lee, "Towards Universal Fake Image Detectors that Generalize Across Generative Models", CVPR 2023.
Official code: WisconsinAIVision/UniversalFakeDetect @ 76a0e3e; numbers agree with it (tests/goldens/univfd.json).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from baselines._torch import CLIP, SMALL_CLIP, TorchDetector, scenes_preset
from fdr_bench.training.recipe import Recipe
from fdr_bench.types import CenterCrop, DetectorCard, Preset, TrainedOn, View, Weights
from fdr_bench.weights import locate

if TYPE_CHECKING:
    from torch import nn

CROP_224 = View(steps=(CenterCrop(224),), **CLIP)
CROP_128 = View(steps=(CenterCrop(128),), **CLIP)

SIZES: Mapping[str, Mapping[str, object]] = {"official": {}, "scenes": {"clip": SMALL_CLIP.packaged}}

HEAD = Weights(
    role="head",
    filename="fc_weights.pth",
    sha256="477100745713bcc957beb2b40859536859b6483fd6301b3b9293151b194c7847",
    bytes=4083,
    licence="MIT",
    manual=(
        "fc_weights.pth lies in the folder pretrained_weights of the authors' git repository: "
        "clone https://github.com/WisconsinAIVision/UniversalFakeDetect"
    ),
)
BACKBONE = Weights(
    role="backbone",
    hub="openai/clip-vit-large-patch14",
    revision="32bd64288804d66eefd0ccbe215aa642df71cc41",
    filename="model.safetensors",
    sha256="a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
    bytes=1_710_540_580,
    licence="MIT (OpenAI CLIP)",
)


class UnivFD(TorchDetector):
    """A linear probe of CLIP; `official` is the authors' head on OpenAI's ViT-L/14."""

    card: ClassVar[DetectorCard] = DetectorCard(
        name="univfd",
        title="UnivFD (CLIP linear probe)",
        paper="Ojha et al., Towards Universal Fake Image Detectors that Generalize Across Generative Models, CVPR 2023",
        licence="MIT (the authors' head; CLIP's weights MIT)",
        repository="WisconsinAIVision/UniversalFakeDetect",
        commit="76a0e3e60a8a06458707a625d269ba815a2e5919",
        presets={
            # The head first: where it is missing, 1.7 GB are not fetched for nothing.
            "official": Preset(
                weights=(HEAD, BACKBONE),
                views={"crop224": CROP_224},
                trained_on=TrainedOn(dataset="ForenSynths (LSUN, 20 classes)", generators=("progan",)),
                parameters=303_966_977,
                note="centre crop without resizing, as validate.py; CLIP's own preprocessing is not used",
            ),
            "scenes": scenes_preset("univfd", view=CROP_128, others=(SMALL_CLIP,)),
        },
    )
    built_by = "baselines._univfd:build"
    sized = SIZES
    channels_last = False  # after the patch embedding there are only matrix products

    @classmethod
    def recipe(cls, size: str) -> Recipe:
        """Return the paper's: only the linear layer learns, with blur and JPEG each on half of the images."""
        rest: dict[str, Any] = {"freeze": ("visual.*",), "weight_decay": 0.0}
        if size == "official":
            rest |= {"blur_probability": 0.5, "jpeg_probability": 0.5, "patience": 5}
            return Recipe(view=CROP_224, resize=256, crop=224, lr=1e-4, batch=256, epochs=100, **rest)
        # Fingerprints in FDR-Scenes are faint already: blur and JPEG on top leave little to learn from.
        return Recipe(view=CROP_128, crop=128, lr=0.1, batch=64, epochs=15, save=("fc.*",), **rest)

    def load_files(self, weights: Mapping[str, Path]) -> nn.Module:
        """Return the paper's network: head and tower, the head alone, or a checkpoint of the official train.py."""
        from baselines._univfd import from_files

        return from_files(weights, lambda: locate(BACKBONE, detector=self.card.name))
