"""What is minimised: cross-entropy of the answer's tokens, beside it the verdict's own loss (CPM), and evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fakereasoning.concepts import Concepts
from fakereasoning.cpm import CPMTokens, cpm_loss
from fakereasoning.evidence import Evidence, EvidenceHead
from fakereasoning.model import FakeReasoning
from fakereasoning.packing import positions, visible
from fakereasoning.places import PlacesHead, SaidHere
from fakereasoning.prompts import IGNORE
from fakereasoning.recipe import TuneRecipe
from fakereasoning.vision import VisualFeatures


class Batch(NamedTuple):
    """Records on the device, ready for the model; either pixels or features."""

    input_ids: Tensor
    """(B, T), the image's place marked."""
    attention_mask: Tensor
    """(B, T) bool, false on the padding, which is at the right."""
    labels: Tensor
    """(B, T); -100 where nothing is to be learnt."""
    fake: Tensor
    """(B,) bool."""
    pixels: Tensor | None
    features: VisualFeatures | None
    segments: Tensor | None = None
    """(B, L) with images expanded, where rows hold several records (see `fakereasoning.packing`)."""
    images: Tensor | None = None
    """(B,), the images' numbers, where evidence or places are learnt."""
    glances: Glances | None = None


class Glances(NamedTuple):
    """Images of which nothing is said, but what they show is told to the heads alone."""

    pixels: Tensor
    """(G, 3, side, side)"""
    images: Tensor
    """(G,), their numbers."""
    mirrored: Tensor
    """(G,) bool, which of them have been mirrored."""


class Losses(NamedTuple):
    """Means over a batch: `total` is their sum by the recipe's weights, and alone carries a gradient."""

    total: Tensor
    language: Tensor
    cpm: Tensor
    """0 where it is left out."""
    evidence: Tensor
    """0 where it is left out, and in evaluation; so are the places."""
    places: Tensor


class Heads(NamedTuple):
    """What learns, beside the text, what is wrong with an image and what stands where; None where that is not asked."""

    evidence: EvidenceHead | None = None
    places: PlacesHead | None = None


def heads_of(model: FakeReasoning, recipe: TuneRecipe, wrong: Evidence | None, here: SaidHere | None) -> Heads:
    """Return heads that learn what is known of the images.

    Where the recipe trains concepts, their readers are the model's own: the model gets them, with nothing told back as
    yet, unless it has some of the same names, which then go on learning.
    """
    config, own = model.config, model.concepts
    kinds, words = config.kinds if wrong is None else wrong.names, config.words if here is None else here.names
    learnt = "concepts" in recipe.trainable
    kept = own if learnt and (config.kinds, config.words) == (kinds, words) else None
    heads = Heads(
        None if wrong is None else EvidenceHead(config.width, wrong, kept and kept.kinds),
        None if here is None else PlacesHead(config.width, here, kept and kept.words),
    )
    if learnt and kept is None and (kinds or words):
        evidence, places = heads
        model.config = replace(config, kinds=kinds, words=words)
        model.concepts = Concepts(
            config.width,
            evidence.reader if evidence is not None else own and own.kinds,
            places.reader if places is not None else own and own.words,
        )
    return heads


class Objective(nn.Module):
    """The model with its losses, as one module: what accelerate wraps sees its forward pass whole."""

    def __init__(
        self,
        model: FakeReasoning,
        recipe: TuneRecipe,
        tokens: CPMTokens | None,
        heads: Heads | None = None,
    ) -> None:
        super().__init__()
        self.model, self.recipe, self.tokens = model, recipe, tokens
        self.evidence, self.places = heads or Heads()

    def train(self, mode: bool = True) -> Objective:
        """Switch to training or evaluation; a stem's batch normalisation keeps the statistics that it has.

        Batches hold records of about one length, and so mostly of one class: normalised by its own statistics such a
        batch no longer shows which.
        """
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def forward(self, batch: Batch) -> Losses:
        """Return the losses of a batch. The language loss is the mean over all learnt tokens of the batch.

        The vocabulary's logits are computed at learnt positions only: they are most of the memory, and with small
        models a good part of the work. The official verdict loss reads predictions everywhere, and so needs them all.
        """
        features = batch.features
        if features is None:
            if batch.pixels is None:
                raise ValueError("a batch has neither pixels nor features")
            features = self.model.visual_features(batch.pixels)
        fused = self.model.fused_tokens(features)
        image_tokens = self.model.with_concepts(fused)
        expanded = self.model.embed(
            batch.input_ids,
            image_tokens,
            attention_mask=batch.attention_mask,
            labels=batch.labels,
        )
        labels = expanded.labels
        if labels is None:
            raise ValueError("a batch has no labels")
        # Padding is at the right, where the causal mask hides it from everything that is learnt: no mask is needed.
        order = {}
        if batch.segments is not None:
            order = {"attention_mask": visible(batch.segments), "position_ids": positions(batch.segments)}
        hidden = self.model.language.model(inputs_embeds=expanded.embeds, use_cache=False, **order).last_hidden_state
        language = self._language_loss(hidden, labels)
        cpm = self._verdict_loss(hidden, labels, batch.fake)
        seen, images, mirrored = fused, batch.images, torch.zeros(len(fused), dtype=torch.bool)
        if batch.glances is not None and images is not None:
            glanced = self.model.fused_tokens(self.model.visual_features(batch.glances.pixels))
            seen, images = torch.cat((fused, glanced)), torch.cat((images, batch.glances.images))
            mirrored = torch.cat((mirrored, batch.glances.mirrored))
        shown, stands = (self._told(head, seen, images, mirrored) for head in (self.evidence, self.places))
        recipe = self.recipe
        total = language + recipe.cpm_weight * cpm + recipe.evidence_weight * shown + recipe.places_weight * stands
        return Losses(total, language.detach(), cpm.detach(), shown.detach(), stands.detach())

    def _told(
        self, head: EvidenceHead | PlacesHead | None, image_tokens: Tensor, images: Tensor | None, mirrored: Tensor
    ) -> Tensor:
        if head is None or images is None or not self.training:
            return image_tokens.new_zeros(())
        return head.loss(image_tokens, images.cpu().numpy(), mirrored)

    def _language_loss(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy over the learnt tokens; 0 with a gradient of 0 where there is none."""
        wanted = labels[:, 1:] != IGNORE
        logits = self.model.language.lm_head(hidden[:, :-1][wanted]).float()  # (M, V)
        return functional.cross_entropy(logits, labels[:, 1:][wanted], reduction="sum") / max(1, len(logits))

    def _verdict_loss(self, hidden: Tensor, labels: Tensor, fake: Tensor) -> Tensor:
        tokens, recipe = self.tokens, self.recipe
        if not recipe.cpm_weight or tokens is None:
            return hidden.new_zeros(())
        head = self.model.language.lm_head
        if recipe.cpm_semantics == "official":
            logits = head(hidden)  # (B, L, V)
        else:
            # By the labels' position only the two words' logits are read: two columns stand for the vocabulary.
            logits = functional.linear(hidden, head.weight[[*tokens.real, *tokens.fake]])  # (B, L, 2)
            words = range(len(tokens.real) + len(tokens.fake))
            tokens = CPMTokens(tokens.pattern, tuple(words[: len(tokens.real)]), tuple(words[len(tokens.real) :]))
        return cpm_loss(
            logits, labels, fake, tokens, temperature=recipe.cpm_temperature, semantics=recipe.cpm_semantics
        ).loss
