"""FACL's steps: images against sentences and against each other, evidence, and what held-out images tell."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from fakereasoning.alignment import Alignment, Embeddings
from fakereasoning.evidence import Evidence, EvidenceHead
from fakereasoning.facl import cross_modal_loss, drift, intra_modal_loss
from fakereasoning.facl_measures import Measures, attributes_found, probe_accuracy, zero_shot_accuracy
from fakereasoning.facl_recipe import FaclRecipe, Tower
from fakereasoning.model import FakeReasoning
from fakereasoning.pixels import TrainingImages, normalised
from fakereasoning.places import mean_precision
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
    wrong: Evidence | None = None
    """What is wrong, and where, where the recipe weighs it."""


class FaclHeads(nn.Module):
    """What FACL's losses read: the images' embeddings, and what their places say.

    With evidence the projectors of the towers that learn, and the fusion, learn too: they lead to the places' tokens.
    """

    def __init__(
        self, model: FakeReasoning, alignment: Alignment | None, towers: Iterable[Tower], material: Material
    ) -> None:
        super().__init__()
        self.alignment = alignment
        self.evidence = None if material.wrong is None else EvidenceHead(model.config.width, material.wrong)
        led = [getattr(model, f"{tower}_projector") for tower in towers] + [model.fusion] if self.evidence else []
        self.led = nn.ModuleList(part.float().requires_grad_() for part in led if part is not None)


class FaclLoop(VisionLoop):
    """One FACL under way."""

    names = ("cross", "intra", "drift", "evidence_loss")

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
            lambda widths: FaclHeads(model, self._alignment(dict(zip(rates, widths, strict=True))), rates, material),
            recipe=recipe,
            rates=rates,
            seed=seed,
            device=device,
            seconds=seconds,
        )
        kept = [name for name in self.rates if recipe.keep.get(name, 0) > 0]
        self.start = {name: copy.deepcopy(self.towers[name]).eval().requires_grad_(False) for name in kept}
        self.vectors = torch.from_numpy(material.vectors).to(self.device)

    def _alignment(self, widths: Mapping[Tower, int]) -> Alignment | None:
        """Return the heads of the contrastive losses; None where no tower is compared."""
        if not self.compared:
            return None
        return Alignment(
            [widths[tower] for tower in self.compared],
            self.material.vectors.shape[1],
            queries=self.recipe.queries,
            space=self.recipe.space,
            temperature=self.recipe.temperature,
        )

    @property
    def _parts(self) -> FaclHeads:
        return cast(FaclHeads, self.heads)

    def views(self, index: Index, random: np.random.Generator) -> Pixels:
        """Return the images at `index` (B,), moved, and some blurred or compressed, as the recipe says."""
        return augment(self.images.take(index), self.recipe.views(self.model.config.image_size), random)

    def losses(self, index: Index, seen: Pixels) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the weighted sum, and the losses by `names`; drift is weighted, evidence is a term's."""
        recipe = self.recipe
        pixels = normalised(seen, self.device)
        with self.autocast():
            tokens, image = self._seen(pixels)
            with torch.no_grad():
                start = self.tokens(self.start, pixels)
        cross, intra = self._contrast(tokens, index)
        turned = cross.new_zeros(())
        for name, before in start.items():
            turned = turned + recipe.keep[name] * drift(tokens[name], before)
        wrong = cross.new_zeros(())
        head = self._parts.evidence
        if head is not None and image is not None:
            with self.autocast():
                wrong = head.loss(image, index)
        # A term weighs the same however many there are.
        terms = 0 if head is None else len(head.shown.names)
        total = recipe.cross_weight * cross + recipe.intra_weight * intra + turned
        total = total + recipe.evidence_weight * terms * wrong
        return total, tuple(loss.detach() for loss in (cross, intra, turned, wrong))

    def _contrast(self, tokens: Mapping[Tower, Tensor], index: Index) -> tuple[Tensor, Tensor]:
        """Return the cross-modal and the intra-modal loss of the images at `index`; 0 where no tower is compared."""
        alignment = self._parts.alignment
        if alignment is None:
            return torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        stated = self.material.stated
        said = stated.sentence[index]
        text = self.vectors[torch.from_numpy(said[said >= 0])]
        attributes = torch.from_numpy(said >= 0).to(self.device)
        fake = torch.from_numpy(stated.fake[index]).to(self.device)
        with self.autocast():
            embedded: Embeddings = alignment([tokens[name] for name in self.compared])
        cross_scale, intra_scale = alignment.scales()
        return (
            cross_modal_loss(embedded.cross, text, attributes, fake, cross_scale),
            intra_modal_loss(embedded.intra, attributes, fake, intra_scale),
        )

    def _seen(self, pixels: Tensor) -> tuple[dict[Tower, Tensor], Tensor | None]:
        """Return the tokens of the towers that learn and, where evidence is learnt, of the image (B, n, width)."""
        if self._parts.evidence is None:
            return self.tokens(self.towers, pixels), None
        features = self.model.visual_features(pixels)
        return {name: getattr(features, name) for name in self.towers}, self.model.fused_tokens(features)

    def finish_step(self) -> None:
        """Keep the scales below their limit."""
        if self._parts.alignment is not None:
            self._parts.alignment.limit_scales()

    def measures(self) -> Mapping[str, float]:
        """Return `measure()` by name."""
        return self.measure()._asdict()

    def measure(self) -> Measures:
        """Return what held-out images tell of towers and heads as they are; all NaN where none is held out."""
        stated, learnt, held = self.material.stated, self.material.learnt, self.material.held
        nothing = float("nan")
        found = Measures(nothing, nothing, nothing)
        if not len(held):
            return found
        if self._parts.alignment is not None:
            fitted = np.random.default_rng([self.seed, 0xFAC1]).permutation(learnt)[:PROBED]
            fitted_means, _ = self.look(fitted, self._cross)
            means, cross = self.look(held, self._cross)
            fake, forged = stated.fake[held], stated.forged(learnt)
            similarity = cross @ prototypes(stated, learnt, self.material.vectors).T
            found = Measures(
                probe=probe_accuracy(fitted_means, stated.fake[fitted], means, fake),
                zero_shot=zero_shot_accuracy(similarity, fake, forged),
                attributes=attributes_found(similarity, stated.stated[held], fake, forged),
            )
        here, anywhere = self._precision(held)
        return found._replace(evidence=here, evidence_anywhere=anywhere)

    def _cross(self, tokens: list[Tensor]) -> Tensor:
        named = dict(zip(self.towers, tokens, strict=True))
        embedded: Embeddings = cast(Alignment, self._parts.alignment)([named[name] for name in self.compared])
        return embedded.cross

    def _precision(self, index: Index) -> tuple[float, float]:
        """Return how well the terms of places that show something, and of images, are told; NaN without evidence."""
        head, wrong = self._parts.evidence, self.material.wrong
        if head is None or wrong is None:
            return float("nan"), float("nan")
        index = index[wrong.known(index)]
        rows, told = wrong.here.rows[index], wrong.here.told
        places: list[Floats] = [np.zeros((0, len(wrong.names)))]
        images: list[Floats] = [np.zeros((0, len(wrong.names)))]
        self.model.eval()
        for start in range(0, len(index), BATCH):
            pixels = normalised(self.images.take(index[start : start + BATCH]), self.device)
            with torch.no_grad(), self.autocast():
                here, anywhere = head(cast(Tensor, self._seen(pixels)[1]))
            places.append(here.cpu().numpy()[rows[start : start + BATCH] >= 0])
            images.append(anywhere.cpu().numpy())
        return (
            mean_precision(np.concatenate(places), told[rows[rows >= 0]]),
            mean_precision(np.concatenate(images), wrong.of_images(index)),
        )
