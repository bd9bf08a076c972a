"""Whether a model says the same of an image when it is asked again, or asked the other way round."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Verdicts = NDArray[np.int8]


class Rate(NamedTuple):
    """A mean over `n` images; `n_missing` images gave too few verdicts to say. None where that is all of them."""

    value: float | None
    n: int
    n_missing: int


def inconsistency(verdicts: Verdicts) -> Rate:
    """Return the mean share of an image's answers that are in the minority, from 0 (always the same) to 0.5.

    `verdicts`: int8 (K, N), 1 fake, 0 real, -1 none stated, of K askings. The share is over the verdicts that an image
    has; images with fewer than two are missing. Source: the inconsistency rate of FakeReasoning (arXiv 2503.21210).
    """
    fakes, stated = (verdicts == 1).sum(axis=0), (verdicts >= 0).sum(axis=0)
    enough = stated >= 2
    if not enough.any():
        return Rate(None, 0, len(enough))
    minority = np.minimum(fakes, stated - fakes)[enough] / stated[enough]
    return Rate(float(minority.mean()), int(enough.sum()), int((~enough).sum()))


def disagreement(one: Verdicts, other: Verdicts) -> Rate:
    """Return the share of images, of those with a verdict in both, whose two verdicts differ. int8 (N,) as above."""
    both = (one >= 0) & (other >= 0)
    value = float((one != other)[both].mean()) if both.any() else None
    return Rate(value, int(both.sum()), int((~both).sum()))


def called_fake(verdicts: Verdicts) -> Rate:
    """Return the share of fakes among the verdicts stated: how it moves between polarities is the bias. int8 (N,)."""
    stated = verdicts >= 0
    value = float((verdicts == 1)[stated].mean()) if stated.any() else None
    return Rate(value, int(stated.sum()), int((~stated).sum()))
