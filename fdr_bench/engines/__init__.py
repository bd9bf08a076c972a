"""Where batches execute. An engine takes tasks and yields their outcomes in the order of the tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from fdr_bench.types import FileMetadata, ImageFile, Prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """How any process loads one detector: an entry point's name, "family:NAME" or "file.py:Class", and its arguments.

    `options` are for a family; `folder` is where a detector that keeps its answers does so.
    """

    label: str
    target: str
    preset: str | None
    view: str | None
    device: str
    weights: Mapping[str, str]
    options: Mapping[str, str] = field(default_factory=dict)
    folder: str | None = None

    @property
    def of_family(self) -> bool:
        """Whether `target` is "family:NAME"."""
        return ":" in self.target and ".py:" not in self.target


class Task(NamedTuple):
    """One batch: the images, and the labels of the models that see it."""

    images: Sequence[ImageFile]
    models: Sequence[str]


class Seen(NamedTuple):
    """What one file was: its sha256 (None where it could not be read), and its metadata or the reason of failure."""

    sha256: str | None
    metadata: FileMetadata | None
    error: str | None


class Outcome(NamedTuple):
    """A batch done: per image what was seen; per model one prediction or reason an image; seconds per model."""

    seen: list[Seen]
    predictions: dict[str, list[Prediction | str]]
    seconds: dict[str, float]


class Engine(Protocol):
    """Executes batches."""

    def problems(self) -> dict[str, str]:
        """Return the models that could not be loaded, with the reason; they must not be named in a task."""

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Yield outcomes in the order of the tasks, holding a bounded number in memory."""

    def close(self) -> None:
        """Let go of processes and models."""
