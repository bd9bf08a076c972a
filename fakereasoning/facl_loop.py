"""The loop over the steps of FACL. All that is random is a function of (seed, epoch, step)."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fakereasoning.alignment import Alignment, Embeddings
from fakereasoning.facl import cross_modal_loss, drift, intra_modal_loss
from fakereasoning.facl_measures import Measures, attributes_found, probe_accuracy, zero_shot_accuracy
from fakereasoning.facl_recipe import FaclRecipe, Tower
from fakereasoning.model import FakeReasoning
from fakereasoning.optimisation import set_rates
from fakereasoning.pixels import TrainingImages, normalised
from fakereasoning.statements import Floats, Statements, prototypes
from fdr_bench.errors import RunError
from fdr_bench.training.augment import augment
from fdr_bench.training.schedule import Pace

Index = NDArray[np.intp]

PROBED = 1000
"""Training images, at most, that the probe is fitted on."""
BATCH = 128
"""Images in a forward pass without gradients."""


class Material(NamedTuple):
    """What is learnt from, and what is held out to measure."""

    images: TrainingImages
    stated: Statements
    vectors: Floats
    """(T, width), the sentences as unit vectors."""
    learnt: Index
    held: Index


class Losses(NamedTuple):
    """Of a batch: `total` is the weighted sum of the others, and alone carries a gradient."""

    total: Tensor
    cross: Tensor
    intra: Tensor
    drift: Tensor
    """Weighted; 0 where no tower is asked to keep what it knew."""


class FaclLoop:
    """One FACL under way; the towers of the model are trained in place."""

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
        torch.manual_seed(seed)
        self.material, self.recipe, self.seed, self.device = material, recipe, seed, torch.device(device)
        self.rates = recipe.towers(model.config)
        self.model = model.to(self.device)
        model.set_trainable(tuple(self.rates))
        # Weights out of a half-precision file have to be widened to learn; parts that are frozen stay as they are.
        self.towers: dict[Tower, nn.Module] = {name: getattr(model, name).float() for name in self.rates}
        kept = [name for name in self.rates if recipe.keep.get(name, 0) > 0]
        self.start = {name: copy.deepcopy(self.towers[name]).eval().requires_grad_(False) for name in kept}
        keywords = {"clip": model.config.clip, "dino": model.config.dino or {}}
        widths = [int(keywords[name]["hidden_size"]) for name in self.rates]
        self.heads = Alignment(
            widths,
            material.vectors.shape[1],
            queries=recipe.queries,
            space=recipe.space,
            temperature=recipe.temperature,
        ).to(self.device)
        self.optimizer = self._optimizer()
        self.vectors = torch.from_numpy(material.vectors).to(self.device)
        self.batch = min(recipe.batch, len(material.learnt))
        self.steps = len(material.learnt) // self.batch
        self.total = recipe.steps or max(1, round(recipe.epochs * self.steps))
        self.pace = Pace(self.total, seconds)
        self.position = 0
        self.sums = [0.0, 0.0, 0.0]
        self.history: list[dict[str, float]] = []
        self.before = self.reserve = 0.0
        self._started = time.monotonic()

    @property
    def epoch(self) -> int:
        """The epoch under way, from 0."""
        return self.position // self.steps

    @property
    def in_epoch(self) -> int:
        """Steps done of the epoch under way."""
        return self.position % self.steps

    def elapsed(self) -> float:
        """Return wall seconds since `__init__` and of earlier, interrupted parts."""
        return self.before + time.monotonic() - self._started

    def run(self, report: Callable[[FaclLoop], None], save: Callable[[FaclLoop], None]) -> None:
        """Train to the end; `report`, then `save`, are called after every step. The start is measured too."""
        if not self.history:
            self._add_row({})
        while self.position < self.total:
            fraction = self.pace.at(self.position, self.elapsed(), self.reserve)
            if self.pace.over:
                break
            self.advance(fraction)
            report(self)
            if self.in_epoch == 0:
                self._end_epoch(self.steps)
            save(self)
        # The end of a part of an epoch: of the steps asked for, or of the time.
        if self.in_epoch and self.history[-1]["steps"] != self.position:
            self._end_epoch(self.in_epoch)

    def advance(self, fraction: float) -> None:
        """Do one step of the optimizer, at this fraction of the training. Raises `RunError` where the loss diverges."""
        set_rates(self.optimizer, fraction, self.recipe.warmup)
        self.model.train()
        self.heads.train()
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.material.learnt)
        index = order[self.in_epoch * self.batch : (self.in_epoch + 1) * self.batch]
        losses = self._losses(index, np.random.default_rng([self.seed, self.epoch, self.in_epoch]))
        told = [losses.cross.item(), losses.intra.item(), losses.drift.item()]
        if not all(map(math.isfinite, told)):
            raise RunError(
                f"the loss is {told[0]} (cross-modal), {told[1]} (intra-modal) at step {self.position + 1}: the "
                "training has diverged. Lower the recipe's rates, or train in fp32"
            )
        self.optimizer.zero_grad()
        torch.autograd.backward(losses.total)
        if self.recipe.clip is not None:
            learning = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
            torch.nn.utils.clip_grad_norm_(learning, self.recipe.clip)
        self.optimizer.step()
        self.heads.limit_scales()
        self.sums = [sum_ + one for sum_, one in zip(self.sums, told, strict=True)]
        self.position += 1

    def _losses(self, index: Index, random: np.random.Generator) -> Losses:
        recipe, stated = self.recipe, self.material.stated
        seen = augment(self.material.images.take(index), recipe.views(self.model.config.image_size), random)
        pixels = normalised(seen).to(self.device)
        said = stated.sentence[index]
        text = self.vectors[torch.from_numpy(said[said >= 0])]
        attributes = torch.from_numpy(said >= 0).to(self.device)
        fake = torch.from_numpy(stated.fake[index]).to(self.device)
        with self._autocast():
            tokens = self._tokens(self.towers, pixels)
            embedded: Embeddings = self.heads(list(tokens.values()))
            with torch.no_grad():
                start = self._tokens(self.start, pixels)
        cross_scale, intra_scale = self.heads.scales()
        cross = cross_modal_loss(embedded.cross, text, attributes, fake, cross_scale)
        intra = intra_modal_loss(embedded.intra, attributes, fake, intra_scale)
        total = recipe.cross_weight * cross + recipe.intra_weight * intra
        turned = cross.new_zeros(())
        for name, before in start.items():
            turned = turned + recipe.keep[name] * drift(tokens[name], before)
        return Losses(total + turned, cross.detach(), intra.detach(), turned.detach())

    def _tokens(self, towers: Mapping[Tower, nn.Module], pixels: Tensor) -> dict[Tower, Tensor]:
        """Return the patch tokens (B, N, width) of each tower."""
        tokens: dict[Tower, Tensor] = {}
        for name, tower in towers.items():
            given = tower.features(pixels)  # type: ignore[operator]
            tokens[name] = given[0] if isinstance(given, tuple) else given
        return tokens

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.recipe.precision == "bf16")

    def _end_epoch(self, steps: int) -> None:
        names = ("cross", "intra", "drift")
        self._add_row({name: sum_ / steps for name, sum_ in zip(names, self.sums, strict=True)})
        self.sums = [0.0, 0.0, 0.0]

    def _add_row(self, losses: Mapping[str, float]) -> None:
        """Write losses and measures into the history; what does not exist is left out."""
        begun = time.monotonic()
        row = {"epoch": self.position / self.steps, "steps": self.position, **losses}
        row |= {name: value for name, value in self.measure()._asdict().items() if not math.isnan(value)}
        self.reserve = time.monotonic() - begun
        self.history.append(row | {"seconds": round(self.elapsed(), 1)})

    def measure(self) -> Measures:
        """Return what held-out images tell of towers and heads as they are; all NaN where none is held out."""
        stated, learnt, held = self.material.stated, self.material.learnt, self.material.held
        if not len(held):
            return Measures(*(float("nan"),) * 3)
        fitted = np.random.default_rng([self.seed, 0xFAC1]).permutation(learnt)[:PROBED]
        fitted_means, _ = self._look(fitted)
        means, cross = self._look(held)
        fake, forged = stated.fake[held], stated.forged(learnt)
        similarity = cross @ prototypes(stated, learnt, self.material.vectors).T
        return Measures(
            probe=probe_accuracy(fitted_means, stated.fake[fitted], means, fake),
            zero_shot=zero_shot_accuracy(similarity, fake, forged),
            attributes=attributes_found(similarity, stated.stated[held], fake, forged),
        )

    def _look(self, index: Index) -> tuple[Floats, Floats]:
        """Return images' mean tokens (N, widths of the towers together) and their vectors among sentences (N, e)."""
        self.model.eval()
        self.heads.eval()
        means: list[Tensor] = []
        cross: list[Tensor] = []
        for start in range(0, len(index), BATCH):
            pixels = normalised(self.material.images.take(index[start : start + BATCH])).to(self.device)
            with torch.no_grad(), self._autocast():
                tokens = list(self._tokens(self.towers, pixels).values())
                cross.append(self.heads(tokens).cross)
            means.append(torch.cat([one.float().mean(dim=1) for one in tokens], dim=1))
        return torch.cat(means).cpu().numpy(), torch.cat(cross).cpu().numpy()

    def _optimizer(self) -> torch.optim.AdamW:
        """Return AdamW on towers and heads, each at its rate. Groups are in a fixed order, which a state relies on."""
        groups: list[dict[str, Any]] = []
        parts = [(self.towers[name], rate) for name, rate in self.rates.items()]
        for module, peak in [*parts, (self.heads, self.recipe.head_rate)]:
            learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
            matrices = [parameter for parameter in learning if parameter.squeeze().ndim > 1]
            vectors = [parameter for parameter in learning if parameter.squeeze().ndim <= 1]
            for chosen, decay in ((matrices, self.recipe.weight_decay), (vectors, 0.0)):
                groups.append({"params": chosen, "lr": peak, "peak": peak, "weight_decay": decay})
        return torch.optim.AdamW(groups, betas=self.recipe.betas, fused=True)

    def state(self) -> dict[str, Any]:
        """Return all that `restore` needs: tensors and text."""
        counters = {
            "position": self.position,
            "sums": self.sums,
            "history": self.history,
            "seconds": [self.elapsed(), self.reserve],
            "pace": [self.pace.fraction, self.pace.started],
        }
        return {
            "towers": {name: tower.state_dict() for name, tower in self.towers.items()},
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "counters": json.dumps(counters),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()` of the same training."""
        for name, tower in self.towers.items():
            tower.load_state_dict(state["towers"][name])
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        counters = json.loads(state["counters"])
        self.position, self.sums, self.history = counters["position"], counters["sums"], counters["history"]
        before, self.reserve = counters["seconds"]
        self.before += before
        self.pace.fraction, self.pace.started = counters["pace"]
