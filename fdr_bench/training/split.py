"""Hold out a validation split from the training data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fdr_bench.types import Sample


def hold_out(samples: Sequence[Sample], share: float, seed: int) -> NDArray[np.bool_]:
    """Return which samples are held out, (N,): the same share of every generator and class.

    A stratum of two or more samples gives at least one and keeps at least one; of a single sample, none is held out.
    A share of 0 holds out none.
    """
    held = np.zeros(len(samples), dtype=np.bool_)
    strata: dict[tuple[str, str], list[int]] = {}
    for index, sample in enumerate(samples):
        strata.setdefault((sample.label, sample.generator or ""), []).append(index)
    rng = np.random.default_rng(seed)
    for _, members in sorted(strata.items()):
        count = min(max(round(share * len(members)), 1), len(members) - 1) if share > 0 else 0
        held[rng.permutation(members)[:count]] = True
    return held
