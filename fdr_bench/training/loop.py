"""The training loop: AdamW on cross-entropy or a network's own loss, validated every epoch, the best weights kept.

Everything random is a function of (seed, epoch, step), and torch's own state travels in `state()`: a training that is
stopped after any step and continued ends with the same bytes as one that was not.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdr_bench.training.augment import Pixels, augment
from fdr_bench.training.evaluate import Validation, evaluate
from fdr_bench.training.network import OwnLoss, fake_logit, features_ahead, read_samples
from fdr_bench.training.pixels import ImageSet, normalised
from fdr_bench.training.recipe import Recipe
from fdr_bench.training.schedule import Pace, rate

if TYPE_CHECKING:
    import torch
    from torch import nn


class Batch(NamedTuple):
    """Augmented images (B, H, W, 3), or features (B, D), with classes (B,) and places in the training set (B,)."""

    pixels: Pixels | torch.Tensor
    fake: NDArray[np.bool_]
    rows: NDArray[np.intp]


class Loop:
    """One training under way."""

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        training: ImageSet,
        validation: ImageSet,
        *,
        seed: int,
        device: str,
        seconds: float | None = None,
    ) -> None:
        """`seconds` is the budget, counted in `elapsed`; the network is trained in place."""
        import torch

        self.recipe, self.training, self.validation, self.seed = recipe, training, validation, seed
        self.device = torch.device(device)
        self.network = network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        freeze(network, recipe.freeze)
        self.beside = read_samples(network, training.samples)
        self.beside_validation = read_samples(network, validation.samples)
        self.features, self.held_features = features_ahead(network, recipe, training, validation, self.device)
        self.averaged = copy.deepcopy(network) if recipe.ema else network
        self.optimizer = _optimizer(network, recipe)
        self.precision, self.scaler = _mixed_precision(self.device)
        self.batch = min(recipe.batch, len(training.fake))
        self.steps = len(training.fake) // self.batch
        self.pace = Pace(self.steps * recipe.epochs, seconds)
        self.weight = _class_weights(training.fake, recipe.balance)
        self.epoch = self.step = self.best_epoch = 0
        self.loss_sum = self.reserve = self.before = self.cpu_before = 0.0
        self.history: list[dict[str, float]] = []
        self.best: dict[str, torch.Tensor] = {}
        self.best_validation: Validation | None = None
        self._started, self._cpu_started = time.monotonic(), processor_seconds()

    @property
    def elapsed(self) -> float:
        """Wall seconds since `__init__`, with those of earlier, interrupted parts."""
        return self.before + time.monotonic() - self._started

    @property
    def cpu_seconds(self) -> float:
        """Processor seconds since `__init__`, of all threads and ended child processes, with those of earlier parts."""
        return self.cpu_before + processor_seconds() - self._cpu_started

    def run(self, report: Callable[[Loop], None], checkpoint: Callable[[], None]) -> None:
        """Train to the end. `report` and `checkpoint` are called after every step; the latter after every epoch too."""
        while not self.finished:
            self._one_epoch(report, checkpoint)
            # The time may be spent before the first step of an epoch; there is nothing new to validate then.
            if self.step or not self.history:
                self._end_epoch()
            checkpoint()

    @property
    def finished(self) -> bool:
        """True when the epochs or the time are spent, or the validation accuracy has stopped to rise."""
        patience = self.recipe.patience
        stale = patience is not None and self.epoch - self.best_epoch > patience
        return self.epoch >= self.recipe.epochs or self.pace.over or stale

    def _one_epoch(self, report: Callable[[Loop], None], checkpoint: Callable[[], None]) -> None:
        for batch in self._batches():
            position = self.epoch * self.steps + self.step
            fraction = self.pace.at(position, self.elapsed, self.reserve)
            if self.pace.over:
                return
            self.loss_sum += self._train_on(batch, rate(self.recipe, fraction), position)
            self.step += 1
            report(self)
            checkpoint()

    def _batches(self) -> Iterator[Batch]:
        """Yield the rest of the epoch's batches, each made while the one before it is trained on."""
        if self.step == self.steps:
            return
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.training.fake))

        def make(step: int) -> Batch:
            index = order[step * self.batch : (step + 1) * self.batch]
            rng = np.random.default_rng([self.seed, self.epoch, step])
            fake = self.training.fake[index]
            if self.features is not None:
                mirrored = (rng.random(len(index)) < self.recipe.flip).astype(np.intp)
                return Batch(self.features[index, mirrored].to(self.device), fake, index)
            return Batch(augment(self.training.take(index), self.recipe, rng), fake, index)

        with ThreadPoolExecutor(1) as ahead:
            pending = ahead.submit(make, self.step)
            for step in range(self.step, self.steps):
                batch = pending.result()
                if step + 1 < self.steps:
                    pending = ahead.submit(make, step + 1)
                yield batch

    def _train_on(self, batch: Batch, learning_rate: float, position: int) -> float:
        """Take one step of the optimiser and return the loss."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        set_training(self.network)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        fake = torch.from_numpy(batch.fake).to(self.device)
        target = fake.float() * (1 - self.recipe.label_smoothing) + self.recipe.label_smoothing / 2
        weight = torch.where(fake, self.weight[1], self.weight[0])
        beside = [given[batch.rows].to(self.device) for given in self.beside]

        def classify(output: torch.Tensor) -> torch.Tensor:
            return binary_cross_entropy_with_logits(fake_logit(output).float(), target, weight=weight)

        with torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision is not None):
            x = self._input(batch.pixels)
            if isinstance(self.network, OwnLoss):
                loss = self.network.training_loss(x, *beside, fake=fake, classify=classify)
            else:
                loss = classify(self.network(x, *beside))
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self.scaler.scale(loss))
        if self.recipe.clip is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.recipe.ema:
            average(self.averaged, self.network, min(self.recipe.ema, (1 + position) / (10 + position)))
        return loss.item()

    def _input(self, pixels: Pixels | torch.Tensor) -> torch.Tensor:
        return normalised(pixels, self.recipe.view, self.device) if isinstance(pixels, np.ndarray) else pixels

    def _end_epoch(self) -> None:
        """Validate, keep the weights where they are the best so far, and go to the next epoch."""
        begun = time.monotonic()
        row = {"epoch": self.epoch + 1, "steps": self.step, "loss": self.loss_sum / max(self.step, 1)}
        validation: Validation | None = None
        if len(self.validation.fake):
            validation = self._validate(self.averaged)
            row |= {"validation_loss": validation.loss, "validation_accuracy": validation.accuracy}
        if validation is None or self.best_validation is None or validation.better_than(self.best_validation):
            self.best = {name: value.detach().cpu().clone() for name, value in self.averaged.state_dict().items()}
            self.best_validation, self.best_epoch = validation, self.epoch + 1
        self.history.append(row | {"seconds": round(self.elapsed, 1)})
        self.reserve = time.monotonic() - begun
        self.epoch, self.step, self.loss_sum = self.epoch + 1, 0, 0.0

    def finish(self) -> None:
        """Put the best weights into the network, rounded as they will be stored, and validate them so."""
        if self.recipe.storage == "float16":
            self.best = {n: v.half().to(v.dtype) if v.is_floating_point() else v for n, v in self.best.items()}
        self.network.load_state_dict(self.best)
        if self.best_validation is not None:
            self.best_validation = self._validate(self.network)

    def _validate(self, network: nn.Module) -> Validation:
        beside, features = self.beside_validation, self.held_features
        return evaluate(network, self.validation, self.recipe.view, self.device, beside, features)

    def state(self) -> dict[str, Any]:
        """Return all that `restore` needs: tensors, numbers and text only."""
        import torch

        return {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict() if self.recipe.ema else {},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
            "position": [self.epoch, self.step, self.best_epoch],
            "sums": [self.loss_sum, self.reserve, self.elapsed, self.cpu_seconds],
            "pace": [self.pace.fraction, self.pace.started],
            "history": self.history,
            "best": self.best,
            "best_validation": None if self.best_validation is None else list(self.best_validation),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state()` of the same training."""
        import torch

        self.network.load_state_dict(state["network"])
        if self.recipe.ema:
            self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state_all(state["random_cuda"])
        self.epoch, self.step, self.best_epoch = state["position"]
        self.loss_sum, self.reserve, before, cpu_before = state["sums"]
        self.before, self.cpu_before = self.before + before, self.cpu_before + cpu_before
        self.pace.fraction, self.pace.started = state["pace"]
        self.history, self.best = state["history"], state["best"]
        self.best_validation = None if state["best_validation"] is None else Validation(*state["best_validation"])


def processor_seconds() -> float:
    """Return the user and system seconds of this process and of its ended children."""
    return sum(os.times()[:4])


def freeze(network: nn.Module, patterns: tuple[str, ...]) -> None:
    """Exclude the parameters whose name matches a shell pattern from training."""
    for name, parameter in network.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)


def set_training(network: nn.Module) -> None:
    """Put the network into training mode, but for modules all of whose parameters are frozen (dropout, statistics)."""
    network.train()
    for module in network.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """Move `averaged` towards the network: x * decay + new * (1 - decay); integers are copied."""
    import torch

    with torch.no_grad():
        current = network.state_dict()
        for name, value in averaged.state_dict().items():
            if value.is_floating_point():
                value.lerp_(current[name], 1 - decay)
            else:
                value.copy_(current[name])


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    import torch

    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=recipe.lr, betas=recipe.betas, fused=True)


def _mixed_precision(device: torch.device) -> tuple[torch.dtype | None, torch.amp.GradScaler]:
    """Return the reduced type for the forward pass (None on a processor) and the scaler that float16 needs."""
    import torch

    if device.type != "cuda":
        return None, torch.amp.GradScaler(device.type, enabled=False)
    precision = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return precision, torch.amp.GradScaler(device.type, enabled=precision == torch.float16)


def _class_weights(fake: NDArray[np.bool_], balance: bool) -> tuple[float, float]:
    """Return the weights of (real, fake): 1 each, or such that both classes weigh half of all."""
    if not balance:
        return 1.0, 1.0
    n, n_fake = len(fake), int(fake.sum())
    return n / (2 * (n - n_fake)), n / (2 * n_fake)
