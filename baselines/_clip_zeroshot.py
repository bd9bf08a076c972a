"""The network of zero-shot CLIP: an image tower whose classes are the averaged embeddings of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPModel

from baselines._backbone import Backbone, OnBackbone
from baselines._checkpoints import build_from, find_state, read_checkpoint
from baselines._clip import VIT_L_14, clip_backbone, finish_positions, image_embedding, load_small_clip
from baselines._clip_pair import TEXT_L_14, clip_pair, pair_state
from baselines._clip_words import ClipWords
from baselines._words import UNKNOWN, Words
from fdr_bench.errors import WeightsError
from fdr_bench.weights import packaged_path


class ZeroShot(OnBackbone):
    """scale · cos(image, class), a logit a class; `classes` are normalised embeddings (2, d) of real and fake."""

    classes: Tensor
    scale: Tensor

    def __init__(self, clip: CLIPModel, classes: Tensor) -> None:
        super().__init__()
        self.vision, self.projection = clip.vision_model, clip.visual_projection
        self.register_buffer("classes", classes)
        self.register_buffer("scale", clip.logit_scale.detach().exp())

    def backbone(self) -> Backbone:
        """Return CLIP's image tower."""
        return clip_backbone(self.vision, self.projection)

    def features(self, x: Tensor) -> Tensor:
        """Map normalised images (B, 3, side, side) to embeddings (B, d)."""
        return image_embedding(self.vision, self.projection, x)

    def judge(self, features: Tensor, *beside: Tensor) -> Tensor:
        """Map embeddings to logits (B, 2): real, fake."""
        cosines: Tensor = nn.functional.normalize(features, dim=1) @ self.classes.T
        return self.scale * cosines


def class_embeddings(clip: CLIPModel, tokens: Sequence[Tensor]) -> Tensor:
    """Return one normalised embedding (classes, d) for each set of texts, given as numbers (N, L) with an end each.

    The embeddings of the texts are normalised, averaged and normalised again (the paper's ensemble over embeddings).
    """
    made = []
    with torch.inference_mode():
        for rows in tokens:
            embedded = clip.text_projection(clip.text_model(rows).pooler_output)
            made.append(nn.functional.normalize(nn.functional.normalize(embedded, dim=1).mean(dim=0), dim=0))
    return torch.stack(made).clone()


def from_folder(path: Path, real: Sequence[str], fake: Sequence[str]) -> ZeroShot:
    """Return the network on a CLIP that `python -m baselines.train_clip` wrote (its folder, or a file in it).

    Raises `WeightsError` where the CLIP does not know a word of the texts: all such words are one to it.
    """
    folder = path if path.is_dir() else path.parent
    clip, words = load_small_clip(folder), Words.read(folder)
    length = int(clip.text_model.embeddings.position_embedding.num_embeddings)
    tokens = [torch.from_numpy(words.encode(texts, length)) for texts in (real, fake)]
    if any(bool((rows == UNKNOWN).any()) for rows in tokens):
        raise WeightsError(f"the CLIP in {folder} does not know all the words of the texts that it is asked")
    return ZeroShot(clip, class_embeddings(clip, tokens)).eval()


def from_package(place: str, real: Sequence[str], fake: Sequence[str]) -> ZeroShot:
    """Return `from_folder` of a folder inside a package, such as "baselines/weights/clip-scenes"."""
    return from_folder(packaged_path(place), real, fake)


def from_files(
    weights: Mapping[str, Path],
    real: Sequence[str],
    fake: Sequence[str],
    *,
    vision: Mapping[str, Any] = VIT_L_14,
    text: Mapping[str, Any] = TEXT_L_14,
) -> ZeroShot:
    """Return the network on a whole CLIP of OpenAI's layout or Hugging Face's, by the roles "clip", "words", "merges".

    Raises `WeightsError` where a tensor is missing, unknown or of another shape.
    """
    path = weights["clip"]
    state = pair_state(find_state(read_checkpoint(path), path))
    clip = build_from(partial(clip_pair, vision, text), state, str(path), finish=finish_positions)
    assert isinstance(clip, CLIPModel)
    clip.train(False)
    words = ClipWords(weights["words"], weights["merges"])
    length = int(text["max_position_embeddings"])
    tokens = [torch.from_numpy(words.encode(texts, length)) for texts in (real, fake)]
    return ZeroShot(clip, class_embeddings(clip, tokens)).eval()
