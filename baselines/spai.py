"""SPAI: how well a patch agrees with its low and its high frequencies, in the eyes of a ViT trained on real images.

Karageorgiou, Papadopoulos, Kompatsiaris, Gavves, "Any-Resolution AI-Generated Image Detection by Spectral Learning",
CVPR 2025.
Official code: mever-team/spai @ 8ff7b3b; numbers agree with it (tests/goldens/spai.json).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from baselines._torch import TorchDetector, scenes_presets
from fdr_bench.training.recipe import Recipe
from fdr_bench.types import CenterCrop, DetectorCard, Preset, Reflect, TrainedOn, View, Weights

if TYPE_CHECKING:
    from torch import nn

# The network filters the patches first and normalises what comes of it, so values stay in [0, 1] here.
PLAIN: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
WHOLE = View(steps=(Reflect(224),), **PLAIN)
CROP_128 = View(steps=(CenterCrop(128),), **PLAIN)

PRE_TRAINED = Weights(
    role="backbone",
    packaged="baselines/weights/spai-mfm",
    filename="model.safetensors",
    licence="Apache-2.0",
    manual="Train it: python -m baselines.train_mfm --out baselines/weights/spai-mfm",
)
SIZES: Mapping[str, Mapping[str, object]] = {
    "official": {},
    "scenes": {
        "vit": PRE_TRAINED.packaged,
        "projected": 64,
        "queries": 4,
        "query_width": 32,
        "dropout": 0.1,
    },
}

OFFICIAL = Weights(
    filename="spai.pth",
    licence="Apache-2.0",
    manual=(
        "The README of https://github.com/mever-team/spai (commit 8ff7b3b) links to spai.pth on Google Drive: download "
        "it in a browser (there it is saved as weights/spai.pth). It holds the whole detector, backbone included; "
        "mfm_pretrain_vit_base.pth, the backbone's pre-training, is not needed"
    ),
)


class SPAI(TorchDetector):
    """Spectral agreement of patches at the image's own resolution; `official` is the authors' model."""

    card: ClassVar[DetectorCard] = DetectorCard(
        name="spai",
        title="SPAI",
        paper="Karageorgiou et al., Any-Resolution AI-Generated Image Detection by Spectral Learning, CVPR 2025",
        licence="Apache-2.0 (the authors' weights; fetched by the user)",
        repository="mever-team/spai",
        commit="8ff7b3b6779b4fcb43cf313471d9cb1c62d129a4",
        presets={
            "official": Preset(
                weights=(OFFICIAL,),
                views={"original_resolution": WHOLE},
                trained_on=TrainedOn(
                    dataset="DMimageDetection (latent diffusion; real: COCO, LSUN)", generators=("ldm",)
                ),
                parameters=139_895_067,
                note=(
                    "all patches of 224 px of the image as it is; below four patches, its corners and centre; sides "
                    "below 224 px are mirrored. Time and memory grow with the image's area"
                ),
            ),
            **scenes_presets(
                "spai",
                view=CROP_128,
                others=(PRE_TRAINED,),
                note="at chance: its training taught it nothing at this size; patches of 32 px",
            ),
        },
    )
    built_by = "baselines._spai:build"
    sized = SIZES
    channels_last = False  # after the patch embedding there are only matrix products

    @classmethod
    def recipe(cls, size: str) -> Recipe:
        """Return the paper's optimisation, with one crop of four patches for its four crops of one patch.

        The ViT is pre-trained by masked frequency modelling and stays as it is, at both sizes.
        """
        rest: dict[str, Any] = {"freeze": ("mfvit.vit.*",), "weight_decay": 0.05, "warmup": 5 / 35}
        if size == "official":
            rest |= {"blur_probability": 0.5, "jpeg_probability": 0.5, "jpeg_quality": (50, 100), "epochs": 35}
            return Recipe(view=WHOLE, crop=448, lr=5e-4, batch=72, **rest)
        # Fingerprints in FDR-Scenes are faint already: blur and JPEG on top leave little to learn from.
        save = ("mfvit.features_processor.*", "to_*", "patch_aggregator", "norm.*", "cls_head.*")
        rest |= {"save": save, "storage": "float16", "clip": 1.0}
        return Recipe(view=CROP_128, crop=64, epochs=5, batch=32, lr=2e-3, **rest)

    def load_files(self, weights: Mapping[str, Path]) -> nn.Module:
        """Return the paper's network with the authors' spai.pth, which is the role "weights"."""
        from baselines._spai import from_file

        return from_file(weights["weights"], dict(self.sizes()["official"]))
