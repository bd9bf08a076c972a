"""Which records are trained on together: a pure function of seed and epoch, with records of one length side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.intp]

WINDOW = 50
"""Batches out of which records are sorted by length: enough to pad little, few enough to stay random."""


class Batches:
    """The batches of a training over `len(lengths)` records, for `processes` that each run `accumulation` a step.

    Every record is in an epoch at most once; up to one step's records are left out of it, others each epoch. Where
    there are fewer records than a step takes, an epoch is one step and batches repeat.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        batch: int,
        accumulation: int = 1,
        processes: int = 1,
        by_length: bool = True,
        seed: int = 0,
    ) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.batch = min(batch, len(self.lengths))
        self.accumulation, self.processes, self.by_length, self.seed = accumulation, processes, by_length, seed
        self._epoch: tuple[int, list[Index]] | None = None

    @property
    def steps(self) -> int:
        """Steps of the optimizer an epoch."""
        return max(1, len(self.lengths) // self.batch // (self.accumulation * self.processes))

    def step(self, epoch: int, step: int, process: int = 0) -> list[Index]:
        """Return the records (B,) of each forward pass that one process does for a step of an epoch (both from 0)."""
        batches = self._of(epoch)
        first = step * self.accumulation * self.processes + process
        return [batches[(first + turn * self.processes) % len(batches)] for turn in range(self.accumulation)]

    def _of(self, epoch: int) -> list[Index]:
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, self._drawn(epoch))
        return self._epoch[1]

    def _drawn(self, epoch: int) -> list[Index]:
        random = np.random.default_rng([self.seed, epoch])
        order = random.permutation(len(self.lengths))
        order = order[: len(order) - len(order) % self.batch]
        if not self.by_length:
            return np.split(order, len(order) // self.batch)
        batches: list[Index] = []
        for start in range(0, len(order), WINDOW * self.batch):
            window = order[start : start + WINDOW * self.batch]
            # A stable sort: records of one length stay in random order.
            window = window[np.argsort(self.lengths[window], kind="stable")]
            batches += np.split(window, len(window) // self.batch)
        return [batches[i] for i in random.permutation(len(batches))]


def hold_out(images: Sequence[int], share: float, seed: int) -> NDArray[np.bool_]:
    """Return which records (N,) are held out: all of a random `share` of the images, given each record's image.

    At least one image where the share is above 0 and there are two or more; all records of an image go together.
    """
    number = np.asarray(images, dtype=np.intp)
    distinct = np.unique(number)
    if share <= 0 or len(distinct) < 2:
        return np.zeros(len(number), dtype=np.bool_)
    count = min(max(1, round(share * len(distinct))), len(distinct) - 1)
    # A stream of its own: that of the first epoch would hold out what it would have begun with.
    chosen = np.random.default_rng([seed, 0x4E1D]).permutation(distinct)[:count]
    return np.isin(number, chosen)
