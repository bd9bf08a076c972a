"""CLIP asked zero-shot: is an image nearer to texts about real pictures or to texts about fake ones?

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, section 3.1.4: the
embeddings of many texts a class, normalised and averaged, are that class's weights; the softmax over the cosines, at
CLIP's own temperature, is the score. Nothing here was told what is fake.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from baselines._torch import CLIP, SMALL_CLIP, TorchDetector
from fdr_bench.errors import UsageError
from fdr_bench.training.recipe import Recipe
from fdr_bench.types import CenterCrop, DetectorCard, Preset, Resize, TrainedOn, View, Weights
from fdr_bench.weights_card import packaged_card

if TYPE_CHECKING:
    from torch import nn

SIZES: Mapping[str, Mapping[str, object]] = {"official": {}, "scenes": {"clip": SMALL_CLIP.packaged}}

_LARGE: dict[str, Any] = {
    "hub": "openai/clip-vit-large-patch14",
    "revision": "32bd64288804d66eefd0ccbe215aa642df71cc41",
    "licence": "MIT",
}
# OpenAI's vocabulary is that of all its CLIPs; these files of the smaller one are verified.
_WORDS: dict[str, Any] = {
    "hub": "openai/clip-vit-base-patch32",
    "revision": "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
    "licence": "MIT",
}
OFFICIAL = (
    Weights(
        role="clip",
        filename="model.safetensors",
        sha256="a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
        bytes=1_710_540_580,
        **_LARGE,
    ),
    Weights(
        role="words",
        filename="vocab.json",
        sha256="5047b556ce86ccaf6aa22b3ffccfc52d391ea4accdab9c2f2407da5b742d4363",
        bytes=862_328,
        **_WORDS,
    ),
    Weights(
        role="merges",
        filename="merges.txt",
        sha256="f526393189112391ce6f9795d4695f704121ce452c3aad1f5335cc41337eba85",
        bytes=524_657,
        **_WORDS,
    ),
)

TEMPLATES = ("{}.", "this is {}.", "the picture shows {}.", "a view of {}.")
TEXTS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "official": {
        "real": ("a real photo", "an authentic photograph", "a photo taken by a camera", "a natural image"),
        "fake": ("a fake photo", "an ai-generated image", "a computer-generated picture", "a synthetic image"),
    },
    # The small CLIP knows 75 words of captions, "real" and "fake" not among them: what a fake's surface may look like
    # stands in for the word.
    "scenes": {
        "real": ("a clear surface", "a surface in clear light", "a matte surface"),
        "fake": ("a grainy surface", "a rough surface", "a chalky surface"),
    },
}


def texts(preset: str) -> tuple[list[str], list[str]]:
    """Return the texts of the classes real and fake: every phrase in every template."""
    real, fake = (
        [line.format(one) for line in TEMPLATES for one in TEXTS[preset][label]] for label in ("real", "fake")
    )
    return real, fake


class ClipZeroShot(TorchDetector):
    """Prompt-ensemble similarity; `official` is OpenAI's ViT-L/14, `scenes` the small CLIP that is shipped."""

    card: ClassVar[DetectorCard] = DetectorCard(
        name="clip-zeroshot",
        title="CLIP, zero-shot",
        paper="Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021",
        licence="MIT",
        repository="openai/CLIP",
        presets={
            "official": Preset(
                weights=OFFICIAL,
                views={"resize224": View(steps=(Resize(224, "bicubic"), CenterCrop(224)), **CLIP)},
                parameters=427_616_513,
                note=f"{len(TEMPLATES) * 4} texts a class, this project's own; never told what is fake",
            ),
            "scenes": Preset(
                weights=(replace(SMALL_CLIP, role="clip"),),
                views={"crop128": View(steps=(CenterCrop(128),), **CLIP)},
                trained_on=TrainedOn(
                    dataset="fdr-scenes-train (images and captions)", generators=("transposed-conv-2",)
                ),
                parameters=packaged_card(SMALL_CLIP.packaged or "").get("parameters"),
                note=(
                    "the small CLIP knows 75 words, none of them real or fake: texts about grainy and clear surfaces "
                    "stand in. It saw images of one generator with captions, never with labels. Expect chance"
                ),
            ),
        },
    )
    sized = SIZES
    channels_last = False  # after the patch embedding there are only matrix products

    @classmethod
    def network(cls, **architecture: Any) -> nn.Module:
        """Return a `ZeroShot` on the `clip` inside a package; there is no initialisation to train from."""
        from baselines._clip_zeroshot import from_package

        if "clip" not in architecture:
            raise UsageError(f"{cls.card.name} is made of a trained CLIP: give its weights")
        return from_package(architecture["clip"], *texts("scenes"))

    @classmethod
    def recipe(cls, size: str) -> Recipe:
        """Raise `UsageError`: trained, it would be no zero-shot model."""
        raise UsageError(f"{cls.card.name} is not trained: univfd is a trained linear layer on the same CLIP")

    def load_files(self, weights: Mapping[str, Path]) -> nn.Module:
        """Return the network of the roles "clip", "words" and "merges", or of the small CLIP's folder."""
        from baselines._clip_zeroshot import from_files, from_folder

        if "words" not in weights:
            return from_folder(weights.get("clip", weights.get("weights", Path())), *texts("scenes"))
        return from_files(weights, *texts("official"))
