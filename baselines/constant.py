"""The prior: every image gets the share of fakes in the evaluated set. What a detector gains is gained over this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from fdr_bench.types import DetectorCard, FileMetadata, Prediction


class Constant:
    """A set baseline that looks at nothing: one score for all."""

    card: ClassVar[DetectorCard] = DetectorCard(
        name="constant",
        title="Constant (the prior)",
        paper="none: the reference point of every metric",
        licence="Apache-2.0",
    )

    def __init__(
        self,
        *,
        preset: str | None = None,
        device: str = "cpu",
        weights: Mapping[str, Path] | None = None,
        view: str | None = None,
    ) -> None:
        pass

    def predict_set(
        self, files: Sequence[FileMetadata], fake: Sequence[bool], groups: Sequence[str]
    ) -> list[Prediction]:
        """Return the share of fakes, once a file; an empty set gives an empty list."""
        if not files:
            return []
        share = sum(fake) / len(fake)
        return [Prediction(score=share, score_source="share of fakes in the set")] * len(files)
