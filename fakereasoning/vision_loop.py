"""The loop over the steps of a stage that trains towers under heads of its own.

All that is random is a function of (seed, epoch, step).
"""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fakereasoning.facl_recipe import Precision, Tower
from fakereasoning.model import FakeReasoning
from fakereasoning.optimisation import optimizer_of, set_rates
from fakereasoning.pixels import TrainingImages, normalised
from fdr_bench.errors import RunError
from fdr_bench.training.schedule import Pace

Index = NDArray[np.intp]
Floats = NDArray[np.floating]
Pixels = NDArray[np.uint8]
BATCH = 128
"""Images in a forward pass without gradients."""


class Optimisation(Protocol):
    """What a recipe says of the optimizer."""

    @property
    def head_rate(self) -> float: ...

    @property
    def epochs(self) -> float: ...

    @property
    def steps(self) -> int | None: ...

    @property
    def batch(self) -> int: ...

    @property
    def weight_decay(self) -> float: ...

    @property
    def betas(self) -> tuple[float, float]: ...

    @property
    def warmup(self) -> float: ...

    @property
    def clip(self) -> float | None: ...

    @property
    def muon(self) -> float | None: ...

    @property
    def precision(self) -> Precision: ...


class VisionLoop(ABC):
    """One training of towers under way; those of the model are trained in place."""

    names: tuple[str, ...]
    """Of the losses that are told, in order."""

    def __init__(
        self,
        model: FakeReasoning,
        images: TrainingImages,
        learnt: Index,
        heads: Callable[[list[int]], nn.Module],
        *,
        recipe: Optimisation,
        rates: Mapping[Tower, float],
        seed: int,
        device: str = "cpu",
        seconds: float | None = None,
    ) -> None:
        """`heads` makes them for the widths of the towers that learn, those of `rates`, in this order.

        `seconds` is the budget, counted in `elapsed`.
        """
        torch.manual_seed(seed)
        self.images, self.learnt, self.rates = images, learnt, dict(rates)
        self.optimisation, self.seed, self.device = recipe, seed, torch.device(device)
        self.model = model.to(self.device)
        model.set_trainable(tuple(self.rates))
        # Weights out of a half-precision file have to be widened to learn; parts that are frozen stay as they are.
        self.towers: dict[Tower, nn.Module] = {name: getattr(model, name).float() for name in self.rates}
        keywords = {"clip": model.config.clip, "dino": model.config.dino or {}}
        self.heads = heads([int(keywords[name]["hidden_size"]) for name in self.rates]).to(self.device)
        self.optimizer = self._optimizer()
        self.batch = min(recipe.batch, len(learnt))
        self.steps = len(learnt) // self.batch
        self.total = recipe.steps or max(1, round(recipe.epochs * self.steps))
        self.pace = Pace(self.total, seconds)
        self.position = 0
        self.sums = [0.0] * len(self.names)
        self.history: list[dict[str, float]] = []
        self.before = self.reserve = 0.0
        self._beside = ThreadPoolExecutor(1)
        self._coming: tuple[int, Future[tuple[Index, Pixels]]] | None = None
        self._started = time.monotonic()

    @abstractmethod
    def losses(self, index: Index, seen: Pixels) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the loss of the images at `index` (B,), which carries the gradient, and those that are told.

        `seen` are their pixels, as `views` gives them.
        """

    def views(self, index: Index, random: np.random.Generator) -> Pixels:
        """Return the images at `index` (B,) as a step sees them, 8-bit (B, side, side, 3); called in a thread."""
        return self.images.take(index)

    @abstractmethod
    def measures(self) -> Mapping[str, float]:
        """Return what held-out images tell of towers and heads as they are; NaN for what does not exist."""

    def finish_step(self) -> None:  # noqa: B027 -- most heads have nothing to do
        """Bring the heads back into their limits after a step of the optimizer."""

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

    def run(self, report: Callable[[VisionLoop], None], save: Callable[[VisionLoop], None]) -> None:
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
        recipe = self.optimisation
        set_rates(self.optimizer, fraction, recipe.warmup)
        self.model.train()
        self.heads.train()
        index, seen = self._batch()
        total, parts = self.losses(index, seen)
        told = [part.item() for part in parts]
        if not all(map(math.isfinite, told)):
            shown = ", ".join(f"{value} ({name})" for value, name in zip(told, self.names, strict=True))
            raise RunError(
                f"the loss is {shown} at step {self.position + 1}: the training has diverged. Lower the recipe's "
                "rates, or train in fp32"
            )
        self.optimizer.zero_grad()
        torch.autograd.backward(total)
        if recipe.clip is not None:
            learning = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
            torch.nn.utils.clip_grad_norm_(learning, recipe.clip)
        self.optimizer.step()
        self.finish_step()
        self.sums = [sum_ + one for sum_, one in zip(self.sums, told, strict=True)]
        self.position += 1

    def _batch(self) -> tuple[Index, Pixels]:
        """Return the images of the step under way; those of the next are made ready beside it."""
        here, self._coming = self._coming, (self.position + 1, self._beside.submit(self._drawn, self.position + 1))
        return here[1].result() if here is not None and here[0] == self.position else self._drawn(self.position)

    def _drawn(self, position: int) -> tuple[Index, Pixels]:
        epoch, step = divmod(position, self.steps)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.learnt)
        index = order[step * self.batch : (step + 1) * self.batch]
        return index, self.views(index, np.random.default_rng([self.seed, epoch, step]))

    def tokens(self, towers: Mapping[Tower, nn.Module], pixels: Tensor) -> dict[Tower, Tensor]:
        """Return the patch tokens (B, N, width) of each tower."""
        tokens: dict[Tower, Tensor] = {}
        for name, tower in towers.items():
            given = tower.features(pixels)  # type: ignore[operator]
            tokens[name] = given[0] if isinstance(given, tuple) else given
        return tokens

    def autocast(self) -> torch.autocast:
        """Return the context in which the recipe's precision holds."""
        enabled = self.optimisation.precision == "bf16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def look(self, index: Index, see: Callable[[list[Tensor]], Tensor]) -> tuple[Floats, Floats]:
        """Return images' mean tokens (N, widths of the towers together) and what `see` makes of their tokens (N, …)."""
        self.model.eval()
        self.heads.eval()
        means: list[Tensor] = []
        seen: list[Tensor] = []
        for start in range(0, len(index), BATCH):
            pixels = normalised(self.images.take(index[start : start + BATCH]), self.device)
            with torch.no_grad(), self.autocast():
                tokens = list(self.tokens(self.towers, pixels).values())
                seen.append(see(tokens).float())
            means.append(torch.cat([one.float().mean(dim=1) for one in tokens], dim=1))
        return torch.cat(means).cpu().numpy(), torch.cat(seen).cpu().numpy()

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

    def _end_epoch(self, steps: int) -> None:
        self._add_row({name: sum_ / steps for name, sum_ in zip(self.names, self.sums, strict=True)})
        self.sums = [0.0] * len(self.names)

    def _add_row(self, losses: Mapping[str, float]) -> None:
        """Write losses and measures into the history; what does not exist is left out."""
        begun = time.monotonic()
        row = {"epoch": self.position / self.steps, "steps": self.position, **losses}
        row |= {name: value for name, value in self.measures().items() if not math.isnan(value)}
        self.reserve = time.monotonic() - begun
        self.history.append(row | {"seconds": round(self.elapsed(), 1)})

    def _optimizer(self) -> torch.optim.Optimizer:
        """Return the optimizer of towers and heads, each at its rate, in groups of a fixed order: a state needs it."""
        groups: list[dict[str, Any]] = []
        recipe = self.optimisation
        parts = [(self.towers[name], rate) for name, rate in self.rates.items()]
        for module, peak in [*parts, (self.heads, recipe.head_rate)]:
            learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
            matrices = [parameter for parameter in learning if parameter.squeeze().ndim > 1]
            vectors = [parameter for parameter in learning if parameter.squeeze().ndim <= 1]
            for chosen, decay in ((matrices, recipe.weight_decay), (vectors, 0.0)):
                groups.append({"params": chosen, "lr": peak, "peak": peak, "weight_decay": decay})
        return optimizer_of(groups, self.model, recipe.muon, recipe.betas)
