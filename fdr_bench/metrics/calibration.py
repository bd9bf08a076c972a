"""How far scores are probabilities: expected calibration error and Brier score.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017; Brier, Monthly Weather Review 78, 1950.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdr_bench.metrics.detection import NAN, Booleans, Floats

BINS = 15


def calibration_bin(score: Floats) -> NDArray[np.int64]:
    """Return each score's bin, 0 … 14: fifteen equal widths over [0, 1], each closed on the right, 0 in the first."""
    edges = np.linspace(0.0, 1.0, BINS + 1)
    return np.searchsorted(edges[1:-1], score, side="left")


def expected_calibration_error(fake: Booleans, score: Floats) -> float:
    """Return the mean gap between the score P(fake) and the share of fakes, over bins weighted by their images.

    In [0, 1], 0 is calibrated. Defined with one class; NaN where there is no image. The gap is of P(fake), not of the
    confidence in the called class: in two-class problems the latter hides errors of opposite sign.
    """
    if not len(fake):
        return NAN
    gap = np.bincount(calibration_bin(score), weights=score - fake, minlength=BINS)
    return float(np.abs(gap).sum() / len(fake))


def brier(fake: Booleans, score: Floats) -> float:
    """Return the mean squared difference of P(fake) and the truth. 0 is perfect, 0.25 is always 0.5. NaN if empty."""
    return float(np.mean((score - fake) ** 2)) if len(fake) else NAN
