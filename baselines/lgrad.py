"""LGrad: a ResNet-50 that sees the gradient of a GAN's discriminator instead of the image.

Tan, Zhao, Wei, Gu, Wei, "Learning on Gradients: Generalized Artifacts Representation for GAN-Generated Images
Detection", CVPR 2023.
Official code: chuangchuangtan/LGrad @ 7cb5973 (its PyTorch path); numbers agree with it (tests/goldens/lgrad.json).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from baselines._torch import TorchDetector, scenes_presets
from fdr_bench.errors import UsageError
from fdr_bench.training.recipe import Recipe
from fdr_bench.types import CenterCrop, DetectorCard, Preset, Resize, TrainedOn, View, Weights
from fdr_bench.weights import locate

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

HALF = (0.5, 0.5, 0.5)
GRADIENT_256 = View(steps=(Resize((256, 256)),), mean=HALF, std=HALF)

CROP_128 = View(steps=(CenterCrop(128),), mean=HALF, std=HALF)

# FDR-Scenes has no GAN: CNNDetection, which tells its training generator's pictures, has the discriminator's place.
STAND_IN = Weights(
    role="discriminator",
    packaged="baselines/weights/cnndetection-scenes",
    filename="model.safetensors",
    licence="Apache-2.0",
)
SIZES: Mapping[str, Mapping[str, object]] = {
    "official": {},
    "scenes": {
        "stand_in": STAND_IN.packaged,
        "classifier": {
            "block": "basic",
            "depths": (0, 1, 1, 1),
            "widths": (12, 24, 48, 64),
            "stem": "3x3",
            "zero_mean_stem": True,
        },
    },
}

CLASSIFIER = Weights(
    filename="LGrad-4class-Trainon-Progan_car_cat_chair_horse.pth",
    licence="none stated by the authors",
    manual=(
        "The README of https://github.com/chuangchuangtan/LGrad (commit 7cb5973) links a Google Drive folder with the "
        "authors' classifiers, trained on gradients of 1, 2 or 4 classes of ProGAN images; take "
        "LGrad-4class-Trainon-Progan_car_cat_chair_horse.pth"
    ),
)
DISCRIMINATOR = Weights(
    role="discriminator",
    filename="karras2019stylegan-bedrooms-256x256_discriminator.pth",
    licence="CC BY-NC 4.0 (NVIDIA StyleGAN)",
    manual=(
        "karras2019stylegan-bedrooms-256x256_discriminator.pth is NVIDIA's StyleGAN discriminator, converted to "
        "PyTorch by the authors; img2gad_pytorch/README.md in https://github.com/chuangchuangtan/LGrad (commit "
        "7cb5973) has the command that downloads it"
    ),
)


class LGrad(TorchDetector):
    """Gradients of StyleGAN's discriminator into a ResNet-50; `official` is the authors' 4-class ProGAN model."""

    card: ClassVar[DetectorCard] = DetectorCard(
        name="lgrad",
        title="LGrad",
        paper="Tan et al., Learning on Gradients: Generalized Artifacts Representation for GAN-Generated Images "
        "Detection, CVPR 2023",
        licence="none stated (the authors' classifier); CC BY-NC 4.0 (NVIDIA's discriminator); fetched by the user",
        repository="chuangchuangtan/LGrad",
        commit="7cb5973821f9ab56b0dbc3aca50b88c835ebc993",
        presets={
            "official": Preset(
                weights=(CLASSIFIER, DISCRIMINATOR),
                views={"grad256": GRADIENT_256},
                trained_on=TrainedOn(dataset="ForenSynths (car, cat, chair, horse)", generators=("progan",)),
                parameters=46_562_434,
                note=(
                    "the view is the discriminator's; the ResNet-50 sees its gradient, an 8-bit picture of 256 px. "
                    "Whether the classifier learnt from gradients of the TensorFlow discriminator, the paper's, or of "
                    "its conversion used here is not verified: the authors do not say"
                ),
            ),
            **scenes_presets(
                "lgrad",
                view=CROP_128,
                others=(STAND_IN,),
                note="the gradient is that of cnndetection@scenes, for want of a GAN's discriminator",
            ),
        },
    )
    built_by = "baselines._lgrad:build"
    sized = SIZES

    @classmethod
    def recipe(cls, size: str) -> Recipe:
        """Return the paper's training of the classifier, on gradients (crop and flip, no blur, no JPEG), with AdamW.

        A crop is taken of the image, and the gradient of that; the paper crops a stored picture of the gradient.
        """
        if size == "official":
            raise UsageError(
                f"{cls.card.name} cannot be trained at its official size here: the trainer does not start from "
                "NVIDIA's discriminator; use --size scenes"
            )
        rest: dict[str, Any] = {"weight_decay": 0.02, "betas": (0.9, 0.99), "storage": "float16", "validation": 0.03}
        return Recipe(view=CROP_128, crop=48, epochs=3, batch=32, lr=3e-3, save=("classifier.*",), **rest)

    def load_files(self, weights: Mapping[str, Path]) -> nn.Module:
        """Return the paper's pair of networks, each from its own file."""
        from baselines._lgrad import from_files

        return from_files(weights, lambda: locate(DISCRIMINATOR, detector=self.card.name))

    def preprocess(self, image: Image) -> NDArray[np.float32]:
        """Return the classifier's input (3, H, W): the gradient image, which takes a pass through the discriminator."""
        import torch

        from baselines._lgrad import LGradNet

        assert isinstance(self.network, LGradNet)
        pixels = torch.from_numpy(super().preprocess(image)[None]).to(self.device)
        array: NDArray[np.float32] = self.network.gradient_image(pixels)[0].cpu().numpy()
        return array

    def logits(self, inputs: Tensor, *beside: Tensor) -> Tensor:
        """Return the logits (B,) of gradient images (B, 3, H, W), as `preprocess` makes them."""
        import torch

        from baselines._lgrad import LGradNet

        assert isinstance(self.network, LGradNet)
        with torch.inference_mode():
            return self.network.classify(inputs)
