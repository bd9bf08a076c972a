"""The network of De-Fake: both towers of a CLIP, and a perceptron on an image's embedding and its caption's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from baselines._backbone import Backbone, OnBackbone
from baselines._blip import Captioner, read_captioner
from baselines._checkpoints import build_from, find_state, read_checkpoint
from baselines._clip import clip_backbone, finish_positions, image_embedding, load_small_clip
from baselines._clip_pair import TEXT_B_32, VISION_B_32, clip_pair, pair_state
from baselines._clip_words import ClipWords
from baselines._words import Words
from fdr_bench.errors import DataError
from fdr_bench.types import Sample
from fdr_bench.weights import packaged_path

CAPTIONS = "captions.json"
"""Some of the captions that the small CLIP was trained with, in its folder."""


class DeFakeNet(OnBackbone):
    """fc3(ReLU(fc2(ReLU(fc1(image embedding ‖ text embedding))))): embeddings after their projections, not normalised.

    `vision` and `text` are the sizes of CLIP's towers, `hidden` those of the perceptron.
    """

    def __init__(
        self,
        *,
        vision: Mapping[str, Any] = VISION_B_32,
        text: Mapping[str, Any] = TEXT_B_32,
        hidden: tuple[int, int] = (512, 256),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.clip = clip_pair(vision, text)
        self.end = int(text["eos_token_id"])
        self.fc1 = nn.Linear(2 * int(vision["projection_dim"]), hidden[0])
        self.fc2 = nn.Linear(hidden[0], hidden[1])
        self.fc3 = nn.Linear(hidden[1], 2)
        self.dropout = nn.Dropout(dropout)

    def backbone(self) -> Backbone:
        """Return CLIP's image tower."""
        return clip_backbone(self.clip.vision_model, self.clip.visual_projection)

    def features(self, x: Tensor) -> Tensor:
        """Map normalised images (B, 3, side, side) to their embeddings, (B, projection_dim)."""
        return image_embedding(self.clip.vision_model, self.clip.visual_projection, x)

    def judge(self, features: Tensor, *beside: Tensor) -> Tensor:
        """Map images' embeddings and captions' tokens (B, L) to logits (B, 2): real, fake."""
        (tokens,) = beside
        return self.decide(features, self.text_embedding(tokens))

    def decide(self, image: Tensor, text: Tensor) -> Tensor:
        """Map embeddings of images and of their captions, (B, projection_dim) each, to logits (B, 2)."""
        both = torch.cat((image, text), dim=1)
        logits: Tensor = self.fc3(self.fc2(self.dropout(self.fc1(both).relu())).relu())
        return logits

    def text_embedding(self, tokens: Tensor) -> Tensor:
        """Map captions, each with an end, to their embeddings, (B, projection_dim), read at the end."""
        # What stands after the end is not seen by it.
        longest = int((tokens == self.end).int().argmax(dim=1).max()) + 1
        embedding: Tensor = self.clip.text_projection(self.clip.text_model(tokens[:, :longest]).pooler_output)
        return embedding


class CaptionedDeFake(DeFakeNet):
    """De-Fake on the CLIP of a folder that `python -m baselines.train_clip` wrote, in training and without a captioner.

    A sample's own caption is read while it is trained. An image alone is given the caption, out of the folder's, whose
    embedding is nearest to the image's.
    """

    known: Tensor

    def __init__(self, folder: Path, *, hidden: tuple[int, int], dropout: float = 0.5) -> None:
        clip = load_small_clip(folder).requires_grad_(False)
        vision, text = (part.to_dict() for part in (clip.config.vision_config, clip.config.text_config))
        super().__init__(vision=vision, text=text, hidden=hidden, dropout=dropout)
        self.clip = clip
        self.words = Words.read(folder)
        self.captions: list[str] = json.loads((folder / CAPTIONS).read_text(encoding="utf-8"))
        with torch.no_grad():
            self.register_buffer("known", self.text_embedding(self.tokens(self.captions)), persistent=False)

    def tokens(self, captions: Sequence[str]) -> Tensor:
        """Return the numbers of captions' words, (N, longest text that the CLIP reads)."""
        return torch.from_numpy(self.words.encode(captions, self.clip.config.text_config.max_position_embeddings))

    def judge(self, features: Tensor, *beside: Tensor) -> Tensor:
        """Map images' embeddings and, where there are some, captions' embeddings (B, D) to logits (B, 2)."""
        return self.decide(features, beside[0] if beside else self.known[self.nearest(features)])

    def forward(self, x: Tensor, *beside: Tensor) -> Tensor:
        """Map normalised images (B, 3, side, side), or their embeddings (B, D), to logits (B, 2)."""
        return self.judge(x if x.ndim == 2 else self.features(x), *beside)

    def nearest(self, image: Tensor) -> Tensor:
        """Return which of `captions` is the nearest to image embeddings (B, D), by their cosine: (B,)."""
        return (normalize(image, dim=1) @ normalize(self.known, dim=1).T).argmax(dim=1)

    def read_samples(self, samples: Sequence[Sample]) -> Tensor:
        """Return the embeddings of the samples' captions, (N, D). Raises `DataError` where one has none."""
        captions = [sample.caption or "" for sample in samples]
        if lacking := [sample.id for sample, caption in zip(samples, captions, strict=True) if not caption]:
            raise DataError(
                f"{len(lacking)} of {len(samples)} images have no caption, such as {lacking[0]}; de-fake is trained "
                "on images with captions (FDR-Scenes has them: --data scenes:train)"
            )
        with torch.no_grad():
            tokens = self.tokens(captions).to(self.known.device)
            return torch.cat([self.text_embedding(some) for some in tokens.split(256)])

    def frozen_features(self, x: Tensor) -> Tensor:
        """Return the embeddings (B, D) of images (B, 3, side, side)."""
        return self.features(x)


def build(clip: str | None = None, **architecture: Any) -> DeFakeNet:
    """Return the network of these keywords at its initialisation, or with a trained CLIP inside a package."""
    return DeFakeNet(**architecture) if clip is None else CaptionedDeFake(packaged_path(clip), **architecture)


class CaptionTokens:
    """What the network reads of an image beside its pixels: its caption by BLIP, as CLIP's tokens."""

    def __init__(self, captioner: Captioner, words: ClipWords, length: int) -> None:
        self.captioner, self.words, self.length = captioner, words, length

    @classmethod
    def read(cls, weights: Mapping[str, Path], device: torch.device) -> CaptionTokens:
        """Read the four files of BLIP and of CLIP's vocabulary by their roles."""
        captioner = read_captioner(weights["captioner"], weights["captioner-words"], device)
        words = ClipWords(weights["words"], weights["merges"])
        return cls(captioner, words, int(TEXT_B_32["max_position_embeddings"]))

    def __call__(self, images: Sequence[Image]) -> Tensor:
        """Return the tokens of images' captions, (B, length)."""
        return torch.from_numpy(self.words.encode([self.captioner(image) for image in images], self.length))


def from_files(weights: Mapping[str, Path], architecture: Mapping[str, Any], *, conversion: str) -> nn.Module:
    """Return the network of these keywords with the files of the roles "head" and "backbone".

    The backbone is a whole CLIP in OpenAI's names (what the authors' train.py writes) or in Hugging Face's. Raises
    `WeightsError` where a tensor is missing, unknown or of another shape, and for pickled modules, with the
    `conversion` that they need.
    """
    head = find_state(read_checkpoint(weights["head"], conversion=conversion), weights["head"])
    clip = find_state(read_checkpoint(weights["backbone"], conversion=conversion), weights["backbone"])
    whole = {f"clip.{name}": tensor for name, tensor in pair_state(clip).items()} | head
    source = f"{weights['head']} with {weights['backbone']}"
    return build_from(partial(DeFakeNet, **architecture), whole, source, finish=finish_positions)
