"""The learning rate over a training, as a function of the fraction that is done."""

from __future__ import annotations

import math

from fdr_bench.training.recipe import Recipe


def rate(recipe: Recipe, fraction: float) -> float:
    """Return the learning rate at a fraction in [0, 1]: a straight rise over the warm-up, then down to 0 at 1."""
    if fraction < recipe.warmup:
        return recipe.lr * fraction / recipe.warmup
    if recipe.warmup >= 1:
        return recipe.lr
    rest = min(1.0, (fraction - recipe.warmup) / (1 - recipe.warmup))
    if recipe.schedule == "one-cycle":
        return recipe.lr * (1 - rest)
    return recipe.lr * (1 + math.cos(math.pi * rest)) / 2


class Pace:
    """The fraction of a training that is done: by steps, or by the clock where a budget would end it earlier.

    It never falls, so that the learning rate only follows its curve; with a budget it reaches 1 when the time is
    spent, whatever the machine's speed. Without one, or where the steps end first, it is a function of the step alone.
    """

    def __init__(self, steps: int, seconds: float | None) -> None:
        """`steps` of the whole training; `seconds` that it may take, or None."""
        self.steps = steps
        self.seconds = seconds
        self.started: float | None = None
        self.fraction = 0.0

    def at(self, step: int, elapsed: float, reserve: float) -> float:
        """Return the fraction before `step` (from 0), `elapsed` seconds in, with `reserve` seconds to do afterwards."""
        fraction = (step + 0.5) / self.steps
        if self.seconds is not None:
            if self.started is None:
                self.started = elapsed
            usable = self.seconds - reserve - self.started
            fraction = max(fraction, (elapsed - self.started) / usable) if usable > 0 else 1.0
        self.fraction = min(1.0, max(self.fraction, fraction))
        return self.fraction

    @property
    def over(self) -> bool:
        """True when the time is spent."""
        return self.fraction >= 1.0
