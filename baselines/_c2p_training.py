"""C2P-CLIP while it is trained: adapters of low rank in CLIP, drawn towards captions that name the picture's category.

Tan et al., AAAI 2025 (see `baselines.c2p_clip`); the adapters are those of Hu et al., "LoRA: Low-Rank Adaptation of
Large Language Models", ICLR 2022. Frozen are CLIP's own weights, its text tower, its projections and its temperature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, normalize
from transformers import CLIPModel

from baselines._c2p_clip import C2PCLIPNet
from baselines._clip import load_small_clip, small_tower
from baselines._clip_pair import encode_embeddings, opposite_words
from baselines._clip_training import contrastive_loss
from baselines._words import END, PAD, START, Words
from fdr_bench.errors import DataError
from fdr_bench.training.network import Classify
from fdr_bench.types import Sample
from fdr_bench.weights import packaged_path

ADAPTED = ("q_proj", "k_proj", "v_proj")
CATEGORIES = ("camera", "deepfake")
"""What stands before and after the caption of a real and of a fake picture."""
TEXTS_AT_ONCE = 256
TEMPERATURE = 15.0
"""What the small CLIP multiplies cosines by, in round numbers."""


class LowRank(nn.Module):
    """A frozen linear layer and, beside it, a product of two small matrices, which starts at nothing."""

    def __init__(self, layer: nn.Linear, rank: int, *, scale: float, dropout: float) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, layer.in_features))
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.dropout = nn.Dropout(dropout)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        beside: Tensor = self.scale * (self.dropout(x) @ self.down.T @ self.up.T)
        plain: Tensor = self.layer(x)
        return plain + beside


class AdaptedC2PCLIP(C2PCLIPNet):
    """C2P-CLIP on the CLIP of a folder that `python -m baselines.train_clip` wrote, with its adapters."""

    def __init__(self, folder: Path, *, rank: int, scale: float = 2.0, dropout: float = 0.05) -> None:
        super().__init__(small_tower(folder).clip.requires_grad_(False))
        self.folder = folder
        head = self.model.get_submodule("fc").requires_grad_(True)
        assert isinstance(head, nn.Linear)
        # As long as the temperature: an embedding at length 1 then weighs in both losses alike.
        nn.init.normal_(head.weight, 0.0, TEMPERATURE / math.sqrt(head.in_features))
        for layer in self.model.get_submodule("vision_model.encoder.layers").children():
            attention = layer.get_submodule("self_attn")
            for name in ADAPTED:
                plain = attention.get_submodule(name)
                assert isinstance(plain, nn.Linear)
                attention.add_module(name, LowRank(plain, rank, scale=scale, dropout=dropout))

    def forward(self, x: Tensor, text: Tensor | None = None) -> Tensor:
        """Map normalised images (B, 3, side, side) to logits (B,), high for fake; a text has no say in them."""
        return super().forward(x)

    def read_samples(self, samples: Sequence[Sample]) -> Tensor:
        """Return the embedding of each sample's caption between words for its category, (N, projection).

        At length 1, times CLIP's temperature. Raises `DataError` where a sample has no caption.
        """
        captions = [sample.caption or "" for sample in samples]
        if lacking := [sample.id for sample, caption in zip(samples, captions, strict=True) if not caption]:
            raise DataError(
                f"{len(lacking)} of {len(samples)} images have no caption, such as {lacking[0]}; c2p-clip is trained "
                "on images with captions (FDR-Scenes has them: --data scenes:train)"
            )
        clip = load_small_clip(self.folder).requires_grad_(False)
        fake = [sample.label == "fake" for sample in samples]
        return category_embeddings(clip, Words.read(self.folder), captions, fake) * clip.logit_scale.exp()

    def training_loss(self, x: Tensor, *beside: Tensor, fake: Tensor, classify: Classify) -> Tensor:
        """Return CLIP's loss of images against their captions with categories, and half the cross-entropy."""
        (text,) = beside
        image = normalize(self.model(pixel_values=x).image_embeds, dim=-1)
        logits: Tensor = self.model.get_submodule("fc")(image)
        return contrastive_loss(image @ text.T) + 0.5 * classify(logits.squeeze(1))


def build(clip: str, *, rank: int) -> AdaptedC2PCLIP:
    """Return the network on a trained CLIP inside a package, with adapters of this rank."""
    return AdaptedC2PCLIP(packaged_path(clip), rank=rank)


def category_embeddings(clip: CLIPModel, words: Words, captions: Sequence[str], fake: Sequence[bool]) -> Tensor:
    """Return the embeddings at length 1, (N, projection), of captions between words for their category.

    The small CLIP knows none of `CATEGORIES`; they are words added to it.
    """
    table = clip.text_model.embeddings.token_embedding.weight
    table = torch.cat([table, opposite_words(table)])
    longest = clip.config.text_config.max_position_embeddings
    rows = torch.full((len(captions), longest), PAD)
    for row, numbers, is_fake in zip(rows, words.encode(captions, longest - 2), fake, strict=True):
        category = len(words.vocabulary) + int(is_fake)
        inner = [number for number in numbers.tolist() if number not in (PAD, START, END)]
        text = torch.tensor([START, category, *inner, category, END])
        row[: len(text)] = text
    end = (rows == END).int().argmax(dim=1)
    found = []
    with torch.inference_mode(False), torch.no_grad():
        for some, last in zip(rows.split(TEXTS_AT_ONCE), end.split(TEXTS_AT_ONCE), strict=True):
            vectors = embedding(some[:, : int(last.max()) + 1], table)
            read = encode_embeddings(clip.text_model, vectors)[torch.arange(len(last)), last]
            found.append(normalize(clip.text_projection(read), dim=-1))
    return torch.cat(found)
