"""FACL's steps: images against sentences and against each other, and what held-out images tell."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from fakereasoning.alignment import Alignment, Embeddings
from fakereasoning.evidence import EvidenceHead
from fakereasoning.facl import cross_modal_loss, drift, intra_modal_loss
from fakereasoning.facl_measures import Measures, attributes_found, probe_accuracy, zero_shot_accuracy
from fakereasoning.facl_recipe import FaclRecipe, Tower
from fakereasoning.model import FakeReasoning
from fakereasoning.pixels import TrainingImages, normalised
from fakereasoning.places import SaidHere, mean_precision, places_loss
from fakereasoning.statements import Statements, prototypes
from fakereasoning.vision_loop import BATCH, Floats, Index, Pixels, VisionLoop
from fdr_bench.training.augment import augment

PROBED = 1000
"""Training images, at most, that the probe is fitted on."""


class Material(NamedTuple):
    """What is learnt from, and what is held out to measure."""

    images: TrainingImages
    stated: Statements
    vectors: Floats
    """(T, width), the sentences as unit vectors."""
    learnt: Index
    held: Index
    here: SaidHere | None = None
    """What places show, where the recipe weighs it."""


class FaclHeads(nn.Module):
    """What FACL's losses read: the images' embeddings, and what their places say."""

    def __init__(self, alignment: Alignment, evidence: EvidenceHead | None) -> None:
        super().__init__()
        self.alignment, self.evidence = alignment, evidence


class FaclLoop(VisionLoop):
    """One FACL under way."""

    names = ("cross", "intra", "drift", "places")

    def __init__(
        self,
        model: FakeReasoning,
        material: Material,
        *,
        recipe: FaclRecipe,
        seed: int,
        device: str = "cpu",
        seconds: float | None = None,
    ) -> None:
        """`seconds` is the budget, counted in `elapsed`. Raises `UsageError` where no tower of the model learns."""
        self.material, self.recipe = material, recipe
        rates = recipe.towers(model.config)
        self.compared = recipe.compared(model.config)
        super().__init__(
            model,
            material.images,
            material.learnt,
            lambda widths: FaclHeads(
                Alignment(
                    [width for tower, width in zip(rates, widths, strict=True) if tower in self.compared],
                    material.vectors.shape[1],
                    queries=recipe.queries,
                    space=recipe.space,
                    temperature=recipe.temperature,
                ),
                None if material.here is None else EvidenceHead(model, rates, material.here),
            ),
            recipe=recipe,
            rates=rates,
            seed=seed,
            device=device,
            seconds=seconds,
        )
        kept = [name for name in self.rates if recipe.keep.get(name, 0) > 0]
        self.start = {name: copy.deepcopy(self.towers[name]).eval().requires_grad_(False) for name in kept}
        self.vectors = torch.from_numpy(material.vectors).to(self.device)

    @property
    def alignment(self) -> Alignment:
        """The heads of the contrastive losses."""
        return cast(FaclHeads, self.heads).alignment

    @property
    def evidence(self) -> EvidenceHead | None:
        """The head of what places show, where that is learnt."""
        return cast(FaclHeads, self.heads).evidence

    def views(self, index: Index, random: np.random.Generator) -> Pixels:
        """Return the images at `index` (B,), moved, and some blurred or compressed, as the recipe says."""
        return augment(self.images.take(index), self.recipe.views(self.model.config.image_size), random)

    def losses(self, index: Index, seen: Pixels) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the weighted sum, and the cross-modal, the intra-modal, the (weighted) drift's loss and a word's."""
        recipe, stated = self.recipe, self.material.stated
        pixels = normalised(seen, self.device)
        said = stated.sentence[index]
        text = self.vectors[torch.from_numpy(said[said >= 0])]
        attributes = torch.from_numpy(said >= 0).to(self.device)
        fake = torch.from_numpy(stated.fake[index]).to(self.device)
        with self.autocast():
            tokens, here = self._seen(pixels)
            embedded: Embeddings = self.alignment([tokens[name] for name in self.compared])
            with torch.no_grad():
                start = self.tokens(self.start, pixels)
        cross_scale, intra_scale = self.alignment.scales()
        cross = cross_modal_loss(embedded.cross, text, attributes, fake, cross_scale)
        intra = intra_modal_loss(embedded.intra, attributes, fake, intra_scale)
        total = recipe.cross_weight * cross + recipe.intra_weight * intra
        turned = cross.new_zeros(())
        for name, before in start.items():
            turned = turned + recipe.keep[name] * drift(tokens[name], before)
        places = cross.new_zeros(())
        if here is not None and self.material.here is not None:
            places = torch.stack(places_loss(here, self.material.here, index)).sum()
        told = (cross, intra, turned, places / max(1, 0 if here is None else here.shape[2]))
        return total + turned + recipe.evidence_weight * places, tuple(loss.detach() for loss in told)

    def _seen(self, pixels: Tensor) -> tuple[dict[Tower, Tensor], Tensor | None]:
        """Return the tokens of the towers that learn, and logits of what places show (B, patches, V) or None."""
        if self.evidence is None:
            return self.tokens(self.towers, pixels), None
        features = self.model.visual_features(pixels)
        return {name: getattr(features, name) for name in self.towers}, self.evidence(self.model.image_tokens(features))

    def finish_step(self) -> None:
        """Keep the scales below their limit."""
        self.alignment.limit_scales()

    def measures(self) -> Mapping[str, float]:
        """Return `measure()` by name."""
        return self.measure()._asdict()

    def measure(self) -> Measures:
        """Return what held-out images tell of towers and heads as they are; all NaN where none is held out."""
        stated, learnt, held = self.material.stated, self.material.learnt, self.material.held
        if not len(held):
            return Measures(*(float("nan"),) * 3)
        fitted = np.random.default_rng([self.seed, 0xFAC1]).permutation(learnt)[:PROBED]
        fitted_means, _ = self.look(fitted, self._cross)
        means, cross = self.look(held, self._cross)
        fake, forged = stated.fake[held], stated.forged(learnt)
        similarity = cross @ prototypes(stated, learnt, self.material.vectors).T
        return Measures(
            evidence=self._precision(held),
            probe=probe_accuracy(fitted_means, stated.fake[fitted], means, fake),
            zero_shot=zero_shot_accuracy(similarity, fake, forged),
            attributes=attributes_found(similarity, stated.stated[held], fake, forged),
        )

    def _cross(self, tokens: list[Tensor]) -> Tensor:
        named = dict(zip(self.towers, tokens, strict=True))
        embedded: Embeddings = self.alignment([named[name] for name in self.compared])
        return embedded.cross

    def _precision(self, index: Index) -> float:
        """Return how well the words of places that show something are told; NaN where that is not learnt."""
        if self.material.here is None:
            return float("nan")
        rows, told = self.material.here.rows[index], self.material.here.told
        found = []
        for start in range(0, len(index), BATCH):
            pixels = normalised(self.images.take(index[start : start + BATCH]), self.device)
            with torch.no_grad(), self.autocast():
                _, here = self._seen(pixels)
            found.append(cast(Tensor, here).float().cpu().numpy()[rows[start : start + BATCH] >= 0])
        return mean_precision(np.concatenate(found), told[rows[rows >= 0]])
