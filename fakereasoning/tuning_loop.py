"""The loop over the steps of a tuning. All that is random is a function of (seed, epoch, step) or of torch's state."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast

from fakereasoning.batches import Batches, Index, hold_out
from fakereasoning.cpm import CPMTokens
from fakereasoning.frozen import FrozenFeatures
from fakereasoning.model import FakeReasoning
from fakereasoning.objective import Heads, Losses, Objective
from fakereasoning.optimisation import optimizer, set_rates
from fakereasoning.pixels import TrainingImages
from fakereasoning.recipe import TuneRecipe
from fakereasoning.rows import Rows
from fdr_bench.errors import RunError
from fdr_bench.training.schedule import Pace


class TuningLoop:
    """One tuning under way; the model is trained in place."""

    def __init__(
        self,
        model: FakeReasoning,
        rows: Rows,
        images: TrainingImages,
        features: FrozenFeatures | None,
        *,
        recipe: TuneRecipe,
        tokens: CPMTokens | None,
        heads: Heads,
        accelerator: Accelerator,
        seed: int,
        seconds: float | None,
    ) -> None:
        """`tokens` None leaves the verdict's loss out; `seconds` is the budget, counted in `elapsed`."""
        self.rows, self.images, self.features, self.recipe = rows, images, features, recipe
        self.accelerator, self.seconds, self.seed = accelerator, seconds, seed
        held = hold_out(list(rows.images), recipe.held_out, seed)
        self.learnt, self.held = np.flatnonzero(~held), np.flatnonzero(held)
        lengths = np.asarray(rows.lengths)
        self.batches = Batches(
            list(lengths[self.learnt]),
            batch=recipe.batch,
            accumulation=recipe.accumulation,
            processes=accelerator.num_processes,
            by_length=recipe.group_by_length,
            seed=seed,
        )
        # Held-out rows are padded little too: in order of their lengths.
        self.held = self.held[np.argsort(lengths[self.held], kind="stable")]
        self.dtype = next(model.clip.parameters()).dtype
        objective = Objective(model, recipe, tokens, heads)
        self.objective, self.optimizer = accelerator.prepare(objective, optimizer(model, recipe, heads))
        self.total = recipe.steps or max(1, round(recipe.epochs * self.batches.steps))
        self.pace = Pace(self.total, seconds)
        self.position = 0
        self.sums = [0.0] * 4
        self.history: list[dict[str, float]] = []
        self.before = self.reserve = 0.0
        self._started = time.monotonic()

    @property
    def epoch(self) -> int:
        """The epoch under way, from 0."""
        return self.position // self.batches.steps

    @property
    def in_epoch(self) -> int:
        """Steps done of the epoch under way."""
        return self.position % self.batches.steps

    def elapsed(self) -> float:
        """Return wall seconds since `__init__` and of earlier, interrupted parts: the main process's, in all of them.

        With several processes all must call it, so that they end and save at the same step.
        """
        seconds = self.before + time.monotonic() - self._started
        if self.accelerator.num_processes == 1:
            return seconds
        told = torch.tensor([seconds], device=self.accelerator.device, dtype=torch.float32)
        return float(broadcast(told).item())

    def run(self, report: Callable[[TuningLoop], None], save: Callable[[float], None]) -> None:
        """Train to the end. After every step `report` is called, then `save` with the seconds elapsed."""
        while self.position < self.total:
            elapsed = self.elapsed()
            fraction = self.pace.at(self.position, elapsed, self.reserve)
            if self.pace.over:
                break
            self._advance(fraction)
            report(self)
            if self.in_epoch == 0:
                self._end_epoch(self.batches.steps)
            save(elapsed)
        # The end of a part of an epoch: of the steps asked for, or of the time.
        if self.in_epoch and (not self.history or self.history[-1]["steps"] != self.position):
            self._end_epoch(self.in_epoch)

    def _advance(self, fraction: float) -> None:
        """Do one step of the optimizer."""
        set_rates(self.optimizer, fraction, self.recipe.warmup)
        self.objective.train()
        parts = self.batches.step(self.epoch, self.in_epoch, self.accelerator.process_index)
        self.optimizer.zero_grad()
        for turn, index in enumerate(parts):
            last = turn == len(parts) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.objective):
                # A stream of each batch's own: what is drawn hangs on nothing that came before.
                drawn = [self.seed, self.epoch, self.in_epoch, turn, self.accelerator.process_index]
                losses = self._losses(self.learnt[index], np.random.default_rng(drawn))
                self.accelerator.backward(losses.total / len(parts))
            told = [losses.language.item(), losses.cpm.item(), losses.evidence.item(), losses.places.item()]
            if not all(map(math.isfinite, told)):
                raise RunError(
                    f"the loss is {told[0]} (language), {told[1]} (verdict), {told[2]} (evidence) and {told[3]} "
                    f"(places) at step {self.position + 1}: the training has diverged. Lower 'lr', or train in fp32"
                )
            self.sums = [sum_ + one / len(parts) for sum_, one in zip(self.sums, told, strict=True)]
        if self.recipe.clip is not None:
            self.accelerator.clip_grad_norm_(self.objective.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.position += 1

    def _losses(self, index: Index, random: np.random.Generator | None = None) -> Losses:
        like = torch.empty(0, device=self.accelerator.device, dtype=self.dtype)
        batch = self.rows.batch(index, self.images, self.features, like=like, random=random, learnt=self.learnt)
        losses: Losses = self.objective(batch)
        return losses

    def _end_epoch(self, steps: int) -> None:
        """Write the epoch's losses, and those of what is held out, into the history."""
        begun = time.monotonic()
        language, cpm, shown, stands = (sum_ / steps for sum_ in self.sums)
        row = {"epoch": self.position / self.batches.steps, "steps": self.position, "language": language, "cpm": cpm}
        if self.recipe.evidence_weight:
            row["evidence"] = shown
        if self.recipe.places_weight:
            row["places"] = stands
        if len(self.held):
            held = self._held_out()
            row |= {"held_out_language": held[0], "held_out_cpm": held[1]}
        self.sums = [0.0] * 4
        self.reserve = time.monotonic() - begun
        self.history.append(row | {"seconds": round(self.elapsed(), 1)})

    def _held_out(self) -> list[float]:
        """Return the mean losses over the held-out rows; every process computes the same."""
        self.objective.eval()
        sums = np.zeros(2)
        with torch.no_grad():
            for start in range(0, len(self.held), self.recipe.batch):
                index = self.held[start : start + self.recipe.batch]
                losses = self._losses(index)
                sums += len(index) * np.array([losses.language.item(), losses.cpm.item()])
        return [float(one) for one in sums / len(self.held)]

    def counters(self) -> dict[str, Any]:
        """Return the numbers that `restore` needs beside model, optimizer and random state, as JSON data."""
        return {
            "position": self.position,
            "sums": self.sums,
            "history": self.history,
            "seconds": [self.elapsed(), self.reserve],
            "pace": [self.pace.fraction, self.pace.started],
        }

    def restore(self, counters: dict[str, Any]) -> None:
        """Go on from the counters of the same training."""
        self.position, self.sums, self.history = counters["position"], counters["sums"], counters["history"]
        before, self.reserve = counters["seconds"]
        self.before += before
        self.pace.fraction, self.pace.started = counters["pace"]
