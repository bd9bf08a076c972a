"""Choose a part of a dataset without favouring a generator, a class or a file name."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from fdr_bench.errors import UsageError
from fdr_bench.types import Sample


def sample_evenly(samples: Sequence[Sample], limit: int) -> list[Sample]:
    """Return `limit` samples, as evenly over (generator, label) as their sizes allow, sorted by id.

    Within a stratum the order is that of the sha256 of the id, so a smaller limit is a subset of a larger one and
    nothing depends on how files are named. Raises `UsageError` where the limit is below 1.
    """
    if limit < 1:
        raise UsageError(f"--limit must be at least 1, not {limit}")
    strata: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        strata[sample.generator or "", sample.label].append(sample)
    ordered: list[tuple[int, int, Sample]] = []
    for rank, name in enumerate(sorted(strata)):
        members = sorted(strata[name], key=lambda sample: hashlib.sha256(sample.id.encode()).digest())
        ordered += [(place, rank, sample) for place, sample in enumerate(members)]
    ordered.sort(key=lambda each: each[:2])
    return sorted((sample for _, _, sample in ordered[:limit]), key=lambda sample: sample.id)
