"""What a training shows on stderr: a bar with loss, validation accuracy and time left, and a line an epoch."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

SCALE = 10_000
"""Ticks of the training bar, which goes by the fraction that is done."""


class TrainingProgress:
    """A bar for decoding and one for training. Without a terminal only the lines are printed."""

    def __init__(self, quiet: bool = False) -> None:
        """`quiet` prints nothing at all."""
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
        )
        self._training: TaskID | None = None
        self._decoding: TaskID | None = None

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def decoding(self, images: int) -> None:
        """Begin the decoding of so many images."""
        self._decoding = self.bars.add_task("decode", total=images, figures=f"{images:,} images")

    def advance(self, images: int) -> None:
        """Count so many images as decoded."""
        if self._decoding is not None:
            self.bars.advance(self._decoding, images)

    def step(self, epoch: int, fraction: float, loss: float, accuracy: float | None) -> None:
        """Show a training step: its epoch (from 1), the fraction done and the mean loss of the epoch so far."""
        known = "" if accuracy is None else f", held-out accuracy {accuracy:.4f}"
        figures = f"loss {loss:.4f}{known}"
        if self._training is None:
            self._training = self.bars.add_task("train", total=SCALE, figures=figures)
        self.bars.update(self._training, description=f"epoch {epoch}", completed=fraction * SCALE, figures=figures)

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(text, markup=False, soft_wrap=True)
