"""What a training shows on stderr: a bar with loss, validation accuracy and time left, and a line an epoch."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

SCALE = 10_000
"""Ticks of the training bar, which goes by the fraction that is done."""
EVERY = 30.0
"""Seconds from line to line where there is no bar to look at."""


class TrainingProgress:
    """A bar for the images that are read or answered, and one for training.

    Without a terminal a line every half minute says the same, beside those of `line`.
    """

    def __init__(self, quiet: bool = False, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`quiet` prints nothing at all."""
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self.clock = clock
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
            speed_estimate_period=10 * EVERY,
            get_time=clock,
        )
        self._training: TaskID | None = None
        self._images: TaskID | None = None
        self._told = clock()

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def decoding(self, images: int) -> None:
        """Begin the decoding of so many images."""
        self._images = self.bars.add_task("decode", total=images, figures=f"{images:,} images")

    def answering(self, images: int) -> None:
        """Begin to have so many images answered by a model."""
        self._images = self.bars.add_task("answer", total=images, figures=f"{images:,} images")

    def advance(self, images: int) -> None:
        """Count so many images as done."""
        if self._images is None:
            return
        self.bars.advance(self._images, images)
        task = self.bars.tasks[self._images]
        self._tell(self._images, f"{task.description} {task.completed:,.0f} of {task.fields['figures']}")

    def step(self, number: int, fraction: float, *, epoch: int, loss: float, accuracy: float | None = None) -> None:
        """Show a training step: its number and epoch (from 1), the fraction done, the epoch's mean loss so far."""
        known = "" if accuracy is None else f", held-out accuracy {accuracy:.4f}"
        figures = f"step {number:,}, loss {loss:.4f}{known}"
        if self._training is None:
            self._training = self.bars.add_task("train", total=SCALE, figures=figures)
        self.bars.update(self._training, description=f"epoch {epoch}", completed=fraction * SCALE, figures=figures)
        self._tell(self._training, f"epoch {epoch}, {figures}, {fraction:.0%} done")

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(text, markup=False, soft_wrap=True)

    def _tell(self, task: TaskID, text: str) -> None:
        """Print a line with the time that is left, where no bar shows it and the last one is old."""
        if self.console.is_terminal or self.clock() - self._told < EVERY:
            return
        self._told = self.clock()
        seconds = self.bars.tasks[task].time_remaining
        self.line(text if seconds is None else f"{text}, {_duration(seconds)} left")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
