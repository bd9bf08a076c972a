"""The network of FatFormer: a CLIP whose image tower has adapters, with prompts that the image enhances."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPModel

from baselines._clip import VIT_L_14, load_small_clip
from baselines._clip_pair import TEXT_L_14, clip_pair, encode_embeddings, opposite_words
from baselines._words import END, START, Words
from fdr_bench.weights import packaged_path

# The filters are stored in float32, where the square of the root of a half is a little less than a half.
HALF = float(torch.tensor(0.5).sqrt()) ** 2

LAST_WORDS = 3
"""Tokens after the context up to the one that is read: the class's name, a full stop, the end of the text."""


def haar(x: Tensor) -> Tensor:
    """Return the four bands of one level of the Haar transform: (B, H, W, C), even sides, to (B, 4, H/2·W/2, C).

    The bands are the low one, the differences between rows, those between columns, and those across both.
    """
    a, b = x[:, 0::2, 0::2], x[:, 0::2, 1::2]
    c, d = x[:, 1::2, 0::2], x[:, 1::2, 1::2]
    bands = torch.stack((a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d), dim=1)
    return HALF * bands.flatten(2, 3)


def inverse_haar(bands: Tensor, side: int) -> Tensor:
    """Return what `haar` took apart: (B, 4, side/2·side/2, C) to (B, side, side, C)."""
    low, rows, columns, both = bands.unflatten(2, (side // 2, side // 2)).unbind(1)
    upper = torch.stack((low + rows + columns + both, low + rows - columns - both), dim=3)  # (B, H/2, W/2, 2, C)
    lower = torch.stack((low - rows + columns - both, low - rows - columns + both), dim=3)
    return HALF * torch.stack((upper, lower), dim=2).reshape(len(bands), side, side, -1)


class ForgeryAwareAdapter(nn.Module):
    """Two small paths beside a block's perceptron: a bottleneck for all tokens, Haar bands for those of patches.

    The attention called `intra_band` is among the four bands at one place, and `inter_band` among the places of one
    band, in the official code as here.
    """

    def __init__(self, width: int, *, heads: int = 8, bottleneck: int = 64, expansion: float = 4) -> None:
        super().__init__()
        self.freq_scale = nn.Parameter(torch.full((1,), 0.1))
        self.first_conv_layer = nn.Conv1d(width, bottleneck, 1)
        self.second_conv_layer = nn.Conv1d(bottleneck, width, 1)
        self.dwt_norm = nn.GroupNorm(width // 8, width)
        self.intra_band = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm_intra = nn.LayerNorm(width)
        self.inter_band = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm_inter = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, round(expansion * width))
        self.linear2 = nn.Linear(round(expansion * width), width)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens to what is added to them, (B, 1 + side², width) both, side being even."""
        narrow = self.first_conv_layer(x.mT).relu()
        image = 0.1 * self.second_conv_layer(narrow).mT
        frequency = self.freq_scale * self.of_frequencies(x[:, 1:])
        return image + functional.pad(frequency, (0, 0, 1, 0))

    def of_frequencies(self, patches: Tensor) -> Tensor:
        """Map the patches' tokens (B, side², width) to their frequency path's, of the same shape."""
        batch, side = len(patches), round(patches.shape[1] ** 0.5)
        bands = haar(patches.unflatten(1, (side, side)))  # (B, 4, places, width)
        # In channels-last memory the norm's backward pass crashes where its input needs no gradient (PyTorch 2.13).
        bands = self.dwt_norm(bands.permute(0, 3, 1, 2).contiguous()).permute(0, 2, 3, 1)
        across = bands.transpose(1, 2).flatten(0, 1)  # (B·places, 4, width)
        across = self.norm_intra(across + self.intra_band(across, across, across, need_weights=False)[0])
        within = across.unflatten(0, (batch, -1)).transpose(1, 2).flatten(0, 1)  # (B·4, places, width)
        within = self.norm_inter(within + self.inter_band(within, within, within, need_weights=False)[0])
        within = self.norm3(within + self.linear2(self.linear1(within).relu()))
        return inverse_haar(within.unflatten(0, (batch, 4)), side).flatten(1, 2)


class AdaptedLayer(nn.Module):
    """A layer of CLIP's image tower with an adapter beside its perceptron; the layer's modules keep their names."""

    def __init__(self, layer: nn.Module, adapter: ForgeryAwareAdapter) -> None:
        super().__init__()
        self.self_attn = layer.self_attn
        self.layer_norm1 = layer.layer_norm1
        self.mlp = layer.mlp
        self.layer_norm2 = layer.layer_norm2
        self.forgery_aware_adapter = adapter

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None, **rest: Any) -> Tensor:
        """Map tokens (B, L, width) to tokens; the adapter sees what the perceptron sees, before its normalisation."""
        attended, _ = self.self_attn(self.layer_norm1(hidden_states), attention_mask, **rest)
        x = hidden_states + attended
        return x + self.mlp(self.layer_norm2(x)) + self.forgery_aware_adapter(x)


class Enhancer(nn.Module):
    """Attention to other tokens, then a perceptron, each added to what was there and normalised afterwards."""

    def __init__(self, width: int, heads: int, *, seen: int, expansion: float = 4) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, kdim=seen, vdim=seen, batch_first=True)
        self.norm1 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, round(expansion * width))
        self.linear2 = nn.Linear(round(expansion * width), width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Map (B, L, width), looking at tokens (B, M, seen), to (B, L, width)."""
        x = self.norm1(x + self.attention(x, tokens, tokens, need_weights=False)[0])
        enhanced: Tensor = self.norm2(x + self.linear2(self.linear1(x).relu()))
        return enhanced


class FatFormerNet(nn.Module):
    """Similarity of an image to the prompts of real and fake: of its class token, and of its patches seen by them.

    Prompts are a start, context vectors that the image's tokens enhance, and the rest of the text of their class:
    `token_prefix` and `token_suffix` are its embeddings, which come with the weights. `vision` and `text` are the sizes
    of CLIP's towers (one `projection_dim`), `clip` a CLIP of these sizes (None: at its initialisation); every block has
    an adapter whose number, from 1, is a multiple of the blocks over `adapters`.
    """

    def __init__(
        self,
        *,
        vision: Mapping[str, Any] = VIT_L_14,
        text: Mapping[str, Any] = TEXT_L_14,
        adapters: int = 3,
        contexts: int = 8,
        adapter_heads: int = 8,
        bottleneck: int = 64,
        expansion: float = 4,
        clip: CLIPModel | None = None,
    ) -> None:
        super().__init__()
        width, heads, out = int(text["hidden_size"]), int(text["num_attention_heads"]), int(vision["projection_dim"])
        side = int(vision["image_size"]) // int(vision["patch_size"])
        blocks = int(vision["num_hidden_layers"])
        if side % 2 or blocks % adapters:
            raise ValueError(
                f"{side} patches a side, {blocks} blocks with {adapters} adapters: the patches must be even, the "
                "blocks a multiple"
            )
        self.clip = clip_pair(vision, text) if clip is None else clip
        layers = self.clip.vision_model.encoder.layers
        adapter = partial(ForgeryAwareAdapter, heads=adapter_heads, bottleneck=bottleneck, expansion=expansion)
        for index in range(blocks // adapters - 1, blocks, blocks // adapters):
            layers[index] = AdaptedLayer(layers[index], adapter(int(vision["hidden_size"])))
        self.context = nn.Parameter(0.02 * torch.randn(contexts, width))
        after = int(text["max_position_embeddings"]) - 1 - contexts
        self.register_buffer("token_prefix", 0.02 * torch.randn(2, 1, width))
        self.register_buffer("token_suffix", 0.02 * torch.randn(2, after, width))
        self.context_enhancer = Enhancer(width, heads, seen=out, expansion=expansion)
        self.interactor = Enhancer(out, heads, seen=out, expansion=expansion)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (B, 3, side, side) to logits (B, 2) of the classes real and fake."""
        tokens = self.image_features(x)
        texts = self.text_features(tokens)
        patches = self.interactor(tokens[:, 1:], texts).mean(dim=1, keepdim=True)
        cosine = functional.cosine_similarity
        similarity = cosine(tokens[:, :1], texts, dim=-1) + cosine(patches, texts, dim=-1)
        logits: Tensor = self.clip.logit_scale.exp() * similarity
        return logits

    def image_features(self, x: Tensor) -> Tensor:
        """Map images to the projected features of the class token and the patches, (B, 1 + patches, width)."""
        vision = self.clip.vision_model
        tokens = vision(pixel_values=x).last_hidden_state
        features: Tensor = self.clip.visual_projection(vision.post_layernorm(tokens))
        return features

    def text_features(self, tokens: Tensor) -> Tensor:
        """Map an image's features to those of its prompts for real and fake, (B, 2, width), not normalised."""
        context = self.context_enhancer(self.context.expand(len(tokens), -1, -1), tokens)
        # Words after the one that is read are not seen by it.
        before, after = self.token_prefix, self.token_suffix[:, :LAST_WORDS]
        prompts = torch.stack(
            [
                torch.cat((start.expand(len(context), -1, -1), context, end.expand(len(context), -1, -1)), dim=1)
                for start, end in zip(before, after, strict=True)
            ],
            dim=1,
        )  # (B, 2, 1 + contexts + LAST_WORDS, width)
        read = encode_embeddings(self.clip.text_model, prompts.flatten(0, 1))[:, -1]
        features: Tensor = self.clip.text_projection(read).unflatten(0, (-1, 2))
        return features


def build(clip: str | None = None, **architecture: Any) -> FatFormerNet:
    """Return the network of these keywords at its initialisation, or on a trained CLIP inside a package.

    The latter's own weights are frozen. Its prompts end as "real picture" and "fake picture", of which two words are
    added to those that it knows.
    """
    if clip is None:
        return FatFormerNet(**architecture)
    folder = packaged_path(clip)
    trained = load_small_clip(folder).requires_grad_(False)
    sizes = {"vision": trained.config.vision_config.to_dict(), "text": trained.config.text_config.to_dict()}
    network = FatFormerNet(**sizes, **architecture, clip=trained)
    table = trained.text_model.embeddings.token_embedding.weight.detach()
    picture = Words.read(folder).encode(["picture"], 3)[0, 1]
    with torch.no_grad():
        # Contexts as long as words are: longer ones would leave the class word unheard.
        nn.init.constant_(network.context_enhancer.norm2.weight, float(table.std()))
        network.token_prefix.copy_(table[START])
        for suffix, category in zip(network.token_suffix, opposite_words(table), strict=True):
            suffix[:LAST_WORDS] = torch.stack((category, table[picture], table[END]))
    return network
