"""FakeReasoning: two image towers, a projector each, their fusion, and a Llama that reads the fused tokens.

Gao et al., "FakeReasoning", arXiv 2503.21210; the architecture of v3 as in PRIS-CV/FakeReasoning at c1aec51, on
transformers' own modules. A config says which of its parts a model has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from fakereasoning.concepts import Concepts, KindsReader, Read, WordsReader, as_taken, other_sides
from fakereasoning.config import FakeReasoningConfig
from fakereasoning.fusion import FAFF, interleave
from fakereasoning.prompts import IGNORE
from fakereasoning.sequence import Side, lay_out
from fakereasoning.storage import Stored
from fakereasoning.vision import VisualFeatures, build_clip, build_dino
from fdr_bench.errors import UsageError, nearest

Part = Literal["clip", "dino", "projectors", "fusion", "concepts", "language"]


class Expanded(NamedTuple):
    """Rows as the language model reads them, every image in its place."""

    embeds: Tensor
    """(B, L, width); zero in padding."""
    attention_mask: Tensor
    """(B, L) bool; False in padding."""
    labels: Tensor | None
    """(B, L) token ids, `IGNORE` at images and padding; None where none were given."""


class ModelOutput(NamedTuple):
    """What a pass through the model gives; L counts the positions after images have taken their places."""

    logits: Tensor
    """(B, L, vocabulary); position t tells of the token at t + 1."""
    labels: Tensor | None
    """(B, L)"""
    attention_mask: Tensor
    """(B, L) bool"""
    loss: Tensor | None
    """Mean cross-entropy over the labelled tokens, a scalar; 0 where no token has a label; None without labels."""


class FakeReasoning(Stored):
    """A vision-language model by its config, freshly initialised; `from_pretrained` reads a saved one."""

    def __init__(self, config: FakeReasoningConfig) -> None:
        super().__init__(config)
        self.clip = build_clip(config)
        self.dino = build_dino(config)
        self.clip_projector = _projector(int(config.clip["hidden_size"]), config)
        self.dino_projector = None if config.dino is None else _projector(int(config.dino["hidden_size"]), config)
        self.fusion = None
        if config.fusion in ("cross-attention", "faff"):
            bias_hidden = config.bias_hidden if config.fusion == "faff" else None
            self.fusion = FAFF(config.width, config.fusion_heads, config.fusion_hidden, bias_hidden, config.dropout)
        self.concepts = _concepts(config)
        self.language = LlamaForCausalLM(LlamaConfig(**config.language))
        self._one_way = False
        self._frozen: frozenset[str] = frozenset()
        self.set_trainable(get_args(Part))

    @property
    def device(self) -> torch.device:
        """Where the projectors lie, and images and ids are expected."""
        return next(self.clip_projector.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the projectors' weights."""
        return next(self.clip_projector.parameters()).dtype

    def visual_features(self, pixels: Tensor) -> VisualFeatures:
        """Run the towers on normalised pixels (B, 3, side, side), which may be of any float type.

        Where a tower is frozen no gradient is tracked through it, so its features may as well come from a cache.
        Raises `UsageError` for images of another size.
        """
        side = self.config.image_size
        if pixels.ndim != 4 or pixels.shape[1:] != (3, side, side):
            raise UsageError(f"pixels are {list(pixels.shape)}; expected (B, 3, {side}, {side})")
        tracked = torch.is_grad_enabled()
        with torch.set_grad_enabled(tracked and "clip" not in self._frozen):
            clip = self.clip.features(pixels)
        if self.dino is None:
            return VisualFeatures(clip)
        with torch.set_grad_enabled(tracked and "dino" not in self._frozen):
            return VisualFeatures(clip, *self.dino.features(pixels))

    def image_tokens(self, features: VisualFeatures, mirrored: VisualFeatures | None = None) -> Tensor:
        """Return what stands for each image, (B, `config.image_tokens`, width): fused tokens, with what they tell.

        With the features of their mirror images concepts tell the mean of what both show. Raises as `fused_tokens`
        does.
        """
        tokens = self.fused_tokens(features)
        if self.concepts is None or mirrored is None:
            return self.with_concepts(tokens)
        names = (self.config.kinds, self.config.kinds, self.config.words)
        as_is, other = (self.concepts.read(each) for each in (tokens, self.fused_tokens(mirrored)))
        every = torch.ones(len(tokens), dtype=torch.bool)
        both = (
            (one + as_taken(turned, told, every)) / 2 for one, turned, told in zip(as_is, other, names, strict=True)
        )
        return self.concepts.tell(tokens, Read(*both))

    def tokens_of(self, pixels: Tensor) -> Tensor:
        """Return what stands for each image of pixels (B, 3, side, side): `image_tokens`.

        Concepts are read off their mirror images too (see `drop_mirror`).
        """
        mirrored = self.visual_features(pixels.flip(3)) if self._both_ways() else None
        return self.image_tokens(self.visual_features(pixels), mirrored)

    def _both_ways(self) -> bool:
        names = (self.config.kinds, self.config.words)
        return self.concepts is not None and not self._one_way and None not in map(other_sides, names)

    def with_concepts(self, tokens: Tensor) -> Tensor:
        """Return fused tokens (B, n, width) with what the model's concepts read off them; as they are without any."""
        told: Tensor = tokens if self.concepts is None else self.concepts(tokens)
        return told

    def fused_tokens(self, features: VisualFeatures) -> Tensor:
        """Project and fuse the towers' features, (B, `config.image_tokens`, width).

        Features of another float type than the model's (a cache in half precision) are converted. Raises `UsageError`
        where features lack a part that this config's fusion reads.
        """
        clip: Tensor = self.clip_projector(features.clip.to(self.dtype))
        if self.dino_projector is None:
            return clip
        if features.dino is None:
            raise UsageError("the features have no DINO part, which this model reads; compute them with this config")
        dino = self.dino_projector(features.dino.to(self.dtype))
        if self.fusion is None:
            return interleave(clip, dino)
        attention = features.attention if self.config.fusion == "faff" else None
        if attention is None and self.config.fusion == "faff":
            raise UsageError("the features have no attention map, which the fusion 'faff' reads; compute them with it")
        fused: Tensor = self.fusion(clip, dino, None if attention is None else attention.to(self.dtype))
        return fused

    def drop_bias(self) -> None:
        """Fuse without DINO's attention map from now on: by cross-attention, with the weights that the fusion has.

        Raises `UsageError` where the fusion has no bias to leave out.
        """
        if self.fusion is None or self.dino is None or self.config.fusion != "faff":
            raise UsageError(f"the model's fusion is '{self.config.fusion}', which has no bias; only 'faff' has one")
        self.config = replace(self.config, fusion="cross-attention")
        self.fusion.bias = None
        self.dino.with_attention = False

    def drop_mirror(self) -> None:
        """Read concepts off images alone from now on, and not off their mirror images too.

        Raises `UsageError` where the model reads none off these: it has no concepts, or of left and right one alone.
        """
        if not self._both_ways():
            raise UsageError("the model reads no concepts off mirror images, so that there is nothing to leave out")
        self._one_way = True

    def embed(
        self,
        input_ids: Tensor,
        image_tokens: Tensor,
        *,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        padding_side: Side = "right",
    ) -> Expanded:
        """Embed rows of text and put image tokens (images, n, width) in place of their image ids.

        Shapes, cutting and padding are those of `fakereasoning.sequence.lay_out`; rows are cut to
        `config.max_length`. Raises `UsageError` where images or ids do not fit.
        """
        images, tokens, _ = image_tokens.shape
        sequence = lay_out(
            input_ids,
            images=images,
            tokens=tokens,
            max_length=self.config.max_length,
            attention_mask=attention_mask,
            labels=labels,
            padding_side=padding_side,
        )
        known = int(self.config.language["vocab_size"])
        if sequence.text.numel() and not 0 <= int(sequence.text.min()) <= int(sequence.text.max()) < known:
            raise UsageError(f"input_ids go beyond the vocabulary of {known}; the tokenizer is not this model's")
        device = image_tokens.device
        embeds = self.language.get_input_embeddings()(sequence.text.to(device))
        used = image_tokens.flatten(0, 1)[sequence.image_index.to(device)].to(embeds.dtype)
        embeds = embeds.masked_scatter(sequence.is_image.to(device)[..., None], used)
        mask = sequence.attention_mask.to(device)
        if not sequence.attention_mask.all():
            embeds = embeds.masked_fill(~mask[..., None], 0)
        return Expanded(embeds, mask, None if sequence.labels is None else sequence.labels.to(device))

    def forward(
        self,
        input_ids: Tensor,
        *,
        pixels: Tensor | None = None,
        features: VisualFeatures | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> ModelOutput:
        """Read rows of text and images, (B, T) with one image each as a rule, and tell each next token.

        The images come as pixels (images, 3, side, side) or as the towers' features of them. Shorter rows are padded
        on the right. Raises `UsageError` where both or neither are given.
        """
        if (pixels is None) == (features is None):
            raise UsageError("give the images either as pixels or as features")
        tokens = self.tokens_of(cast(Tensor, pixels)) if features is None else self.image_tokens(features)
        expanded = self.embed(input_ids, tokens, attention_mask=attention_mask, labels=labels)
        mask = expanded.attention_mask
        logits = self.language(
            # Without a mask the attention may use its causal kernel, with which rows of one length are faster.
            inputs_embeds=expanded.embeds,
            attention_mask=None if bool(mask.all()) else mask,
            use_cache=False,
        ).logits
        loss = None if expanded.labels is None else language_loss(logits, expanded.labels)
        return ModelOutput(logits, expanded.labels, mask, loss)

    def set_trainable(self, parts: Collection[Part]) -> None:
        """Let these parts learn and freeze all others: no gradients, and towers and fusion stay in evaluation mode.

        Parts that the config has not (DINO, say) may be named. What no output depends on, such as the norm after
        DINO's last block, never learns. Raises `UsageError` for an unknown part.
        """
        known = get_args(Part)
        for part in parts:
            if part not in known:
                raise UsageError(f"there is no part '{part}'.{nearest(part, known)} Parts: {', '.join(known)}")
        self._frozen = frozenset(known) - frozenset(parts)
        for part in known:
            for module in self._modules_of(part):
                module.requires_grad_(part not in self._frozen)
        for parameter in [*self.clip.unread(), *([] if self.dino is None else self.dino.unread())]:
            parameter.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> FakeReasoning:
        """Switch to training or evaluation; frozen parts stay in evaluation, except the language model.

        Adapters may train inside a frozen language model, and their dropout is theirs to switch.
        """
        super().train(mode)
        for part in self._frozen - {"language"}:
            for module in self._modules_of(part):
                module.eval()
        return self

    def _modules_of(self, part: str) -> Iterator[nn.Module]:
        names = ("clip_projector", "dino_projector") if part == "projectors" else (part,)
        return (module for module in (getattr(self, name) for name in names) if module is not None)


def _concepts(config: FakeReasoningConfig) -> Concepts | None:
    kinds, words, patches = len(config.kinds), len(config.words), config.patches
    if not kinds and not words:
        return None
    return Concepts(
        config.width,
        KindsReader(config.width, kinds, patches) if kinds else None,
        WordsReader(config.width, words, patches) if words else None,
    )


def language_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of each next token, a scalar in float32.

    `logits` (B, L, vocabulary), `labels` (B, L) with `IGNORE` where there is nothing to learn. 0, with a gradient of 0,
    where that is everywhere.
    """
    # The labels are moved, not the logits: a slice of these would cost a copy of the whole in the backward pass.
    targets = nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORE).flatten()
    at = (targets != IGNORE).nonzero().squeeze(1)
    chosen = logits.flatten(0, 1)[at].float()
    return nn.functional.cross_entropy(chosen, targets[at], reduction="sum") / max(1, len(at))


def _projector(width: int, config: FakeReasoningConfig) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(width, config.width)]
    for _ in range(config.projector_depth - 1):
        layers += [nn.GELU(), nn.Linear(config.width, config.width)]
    return nn.Sequential(*layers)
