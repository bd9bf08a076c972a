"""Choose a part of a dataset without favouring a generator, a class or a file name."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol, TypeVar

from fdr_bench.errors import UsageError


class Labelled(Protocol):
    """What choosing looks at: a `Sample`, or a row about one."""

    @property
    def id(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def generator(self) -> str | None: ...


Each = TypeVar("Each", bound=Labelled)


def sample_evenly(samples: Sequence[Each], limit: int) -> list[Each]:
    """Return `limit` samples, as evenly over (generator, label) as their sizes allow, sorted by id.

    Within a stratum the order is that of the sha256 of the id, so a smaller limit is a subset of a larger one and
    nothing depends on how files are named. Raises `UsageError` where the limit is below 1.
    """
    if limit < 1:
        raise UsageError(f"--limit must be at least 1, not {limit}")
    strata: dict[tuple[str, str], list[Each]] = defaultdict(list)
    for sample in samples:
        strata[sample.generator or "", sample.label].append(sample)
    ordered: list[tuple[int, int, Each]] = []
    for rank, name in enumerate(sorted(strata)):
        members = sorted(strata[name], key=lambda sample: hashlib.sha256(sample.id.encode()).digest())
        ordered += [(place, rank, sample) for place, sample in enumerate(members)]
    ordered.sort(key=lambda each: each[:2])
    return sorted((sample for _, _, sample in ordered[:limit]), key=lambda sample: sample.id)
