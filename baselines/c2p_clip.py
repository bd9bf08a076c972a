"""C2P-CLIP: CLIP's image tower, tuned towards words for "deepfake" and "camera", with a linear layer.

Tan, Tao, Liu, Gu, Wu, Zhao, Wei, "C2P-CLIP: Injecting Category Common Prompt in CLIP to Enhance Generalization in
Deepfake Detection", AAAI 2025.
Official code: chuangchuangtan/C2P-CLIP-DeepfakeDetection @ 27b5232; numbers agree with it
(tests/goldens/c2p_clip.json).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from baselines._torch import CLIP, SMALL_CLIP, TorchDetector, scenes_presets
from fdr_bench.errors import UsageError
from fdr_bench.training.recipe import Recipe
from fdr_bench.types import CenterCrop, DetectorCard, Preset, Resize, TrainedOn, View, Weights

if TYPE_CHECKING:
    from torch import nn

RESIZE_224 = View(steps=(Resize(224), CenterCrop(224)), **CLIP)

CROP_128 = View(steps=(CenterCrop(128),), **CLIP)

SIZES: Mapping[str, Mapping[str, object]] = {"official": {}, "scenes": {"clip": SMALL_CLIP.packaged, "rank": 16}}

OFFICIAL = Weights(
    filename="C2P_CLIP_release_20240901.zip",
    licence="none stated by the authors",
    manual=(
        "inference.py in https://github.com/chuangchuangtan/C2P-CLIP-DeepfakeDetection (commit 27b5232) links "
        "C2P_CLIP_release_20240901.zip; it need not be unpacked"
    ),
)


class C2PCLIP(TorchDetector):
    """A linear layer on a tuned CLIP's embedding; `official` is the authors' release of 2024-09-01 on ViT-L/14."""

    card: ClassVar[DetectorCard] = DetectorCard(
        name="c2p-clip",
        title="C2P-CLIP",
        paper="Tan et al., C2P-CLIP: Injecting Category Common Prompt in CLIP to Enhance Generalization in Deepfake "
        "Detection, AAAI 2025",
        licence="none stated (the authors' weights; fetched by the user; CLIP's own MIT)",
        repository="chuangchuangtan/C2P-CLIP-DeepfakeDetection",
        commit="27b52325df1d80cf2291ef83a5c59f5fe715052f",
        presets={
            "official": Preset(
                weights=(OFFICIAL,),
                views={"resize224": RESIZE_224},
                trained_on=TrainedOn(dataset="ForenSynths (ProGAN)", generators=("progan",)),
                parameters=303_966_977,
                note=(
                    "what the released file was trained on is not verified: the authors do not say (issue 3 of their "
                    "repository asks). ProGAN is the paper's training for the test set that inference.py names; with "
                    "the file, users measure 91 to 100 % on its GANs and far less than the paper on its diffusion "
                    "models (issue 7)"
                ),
            ),
            **scenes_presets(
                "c2p-clip", view=CROP_128, others=(SMALL_CLIP,), note="CLIP did not know the words for the categories"
            ),
        },
    )
    built_by = "baselines._c2p_clip:build"
    sized = SIZES
    channels_last = False  # after the patch embedding there are only matrix products

    @classmethod
    def recipe(cls, size: str) -> Recipe:
        """Return the paper's training on the small CLIP: adapters and head learn, captions name the category."""
        if size == "official":
            raise UsageError(
                f"{cls.card.name} cannot be trained at its official size here: the authors' training code is not "
                "released; use --size scenes"
            )
        rest: dict[str, Any] = {"weight_decay": 0.0, "batch": 32, "epochs": 4, "clip": 1.0, "storage": "float16"}
        return Recipe(view=CROP_128, crop=128, lr=3e-3, save=("*.down", "*.up", "model.fc.*"), **rest)

    def load_files(self, weights: Mapping[str, Path]) -> nn.Module:
        """Return the paper's network with the authors' file: the zip as it comes, or what is in it."""
        from baselines._c2p_clip import from_file

        return from_file(weights["weights"])
