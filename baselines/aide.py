"""AIDE: residuals of the windows of an image with least and most detail, and what the whole image shows.

Yan, Li, Cai, Hao, Jiang, Hu, Xie, "A Sanity Check for AI-generated Image Detection", ICLR 2025.
Official code: shilinyan99/AIDE @ 6725b71; numbers agree with it (tests/goldens/aide.json).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from baselines._torch import IMAGENET, SMALL_CLIP, TorchDetector, scenes_presets
from fdr_bench.errors import ImageError, UsageError
from fdr_bench.images import apply_view
from fdr_bench.training.recipe import Recipe
from fdr_bench.types import CenterCrop, DetectorCard, Preset, TensorResize, TrainedOn, View, Weights

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import nn

NO_ANTIALIAS = View(steps=(TensorResize((256, 256)),), **IMAGENET)
ANTIALIAS = View(steps=(TensorResize((256, 256), antialias=True),), **IMAGENET)

CROP_128 = View(steps=(CenterCrop(128),), **IMAGENET)

SIZES: Mapping[str, Mapping[str, object]] = {
    "official": {},
    # Windows are not enlarged, so the ResNets begin without halving.
    "scenes": {
        "clip": SMALL_CLIP.packaged,
        "semantic": 32,
        "residual_block": "basic",
        "residual_depths": (0, 1, 1),
        "residual_widths": (16, 32, 64),
        "residual_stem": "3x3",
        "unused": 1,
        "hidden": 64,
    },
}

OFFICIAL = Weights(
    filename="progan_train.pth",
    licence="MIT",
    manual=(
        "Open the README of https://github.com/shilinyan99/AIDE (commit 6725b71), follow its link to the Google Drive "
        "folder with the authors' checkpoints, and download progan_train.pth, the one trained on ProGAN"
    ),
)


class AIDE(TorchDetector):
    """Two ResNets on four windows and a CLIP ConvNeXt on the whole image; `official` is the authors' ProGAN model."""

    card: ClassVar[DetectorCard] = DetectorCard(
        name="aide",
        title="AIDE",
        paper="Yan et al., A Sanity Check for AI-generated Image Detection, ICLR 2025",
        licence="MIT (the authors' weights; fetched by the user)",
        repository="shilinyan99/AIDE",
        commit="6725b710d5c437ab2f59792908ce0377dfc907de",
        presets={
            "official": Preset(
                weights=(OFFICIAL,),
                views={"no_antialias": NO_ANTIALIAS, "antialias": ANTIALIAS},
                trained_on=TrainedOn(dataset="ForenSynths (LSUN, 20 classes)", generators=("progan",)),
                parameters=897_832_732,
                note=(
                    "no_antialias is what the authors' environment does, antialias what their code does with "
                    "torchvision 0.17 and later; the authors' file for GenImage (trained on SD v1.4) loads as well"
                ),
            ),
            **scenes_presets(
                "aide",
                view=CROP_128,
                others=(SMALL_CLIP,),
                note="the small CLIP has the ConvNeXt's place, and windows are not enlarged",
            ),
        },
    )
    built_by = "baselines._aide:build"
    sized = SIZES

    @classmethod
    def recipe(cls, size: str) -> Recipe:
        """Return the paper's training, smoothed labels included, on the small CLIP in the place of the ConvNeXt.

        The projection of what the CLIP sees learns too; the authors' code leaves it as it was drawn.
        """
        if size == "official":
            raise UsageError(
                f"{cls.card.name} cannot be trained at its official size here: the trainer neither starts from the "
                "paper's CLIP ConvNeXt-XXL nor chooses windows before it enlarges them; use --size scenes"
            )
        # Fingerprints in FDR-Scenes are faint already: blur and JPEG on top leave little to learn from.
        rest: dict[str, Any] = {"weight_decay": 0.0, "label_smoothing": 0.1, "warmup": 0.02, "storage": "float16"}
        save = ("model_*", "convnext_proj*", "fc*")
        return Recipe(view=CROP_128, crop=128, lr=2e-3, batch=32, epochs=4, save=save, **rest)

    def load_files(self, weights: Mapping[str, Path]) -> nn.Module:
        """Return the paper's network with the authors' file, which has the arguments of its training beside it."""
        from baselines._aide import from_file

        return from_file(weights["weights"], self.sizes()["official"])

    def preprocess(self, image: Image) -> NDArray[np.float32]:
        """Return the network's input (5, 3, 256, 256): four windows of the image, and all of it.

        A network that takes its windows itself gets the image alone. Raises `ImageError` where no window of 32×32 px
        fits; the official code fails there.
        """
        from baselines._aide import ChoosingAIDE
        from baselines._windows import SIDE, choose_windows

        if isinstance(self.network, ChoosingAIDE):
            return super().preprocess(image)
        if min(image.size) < SIDE:
            raise ImageError(f"AIDE needs at least {SIDE}x{SIDE} px; the image is {image.width}x{image.height} px")
        image = image.convert("RGB")
        corners = choose_windows(np.asarray(image))
        windows = [image.crop((left, top, left + SIDE, top + SIDE)) for top, left in corners]
        return np.stack([apply_view(self.view, picture) for picture in (*windows, image)])
