"""The network of De-Fake: both towers of a CLIP, and a perceptron on an image's embedding and its caption's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from baselines._backbone import Backbone, OnBackbone
from baselines._blip import Captioner, read_captioner
from baselines._checkpoints import build_from, find_state, read_checkpoint
from baselines._clip import clip_backbone, finish_positions, image_embedding
from baselines._clip_pair import TEXT_B_32, VISION_B_32, clip_pair, pair_state
from baselines._clip_words import ClipWords


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
        both = torch.cat((features, self.text_embedding(tokens)), dim=1)
        logits: Tensor = self.fc3(self.fc2(self.dropout(self.fc1(both).relu())).relu())
        return logits

    def text_embedding(self, tokens: Tensor) -> Tensor:
        """Map captions, each with an end, to their embeddings, (B, projection_dim), read at the end."""
        # What stands after the end is not seen by it.
        longest = int((tokens == self.end).int().argmax(dim=1).max()) + 1
        embedding: Tensor = self.clip.text_projection(self.clip.text_model(tokens[:, :longest]).pooler_output)
        return embedding


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
