"""Whether FACL worked, on images that it did not see: pure functions on arrays.

The probe reads the towers' plain tokens without FACL's heads, so it tells what the language model can get to know.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Booleans = NDArray[np.bool_]

RIDGE = 0.1
"""Ridge of the probe, on features of unit variance."""


class Measures(NamedTuple):
    """Shares in [0, 1] over held-out images; NaN where there is none to measure."""

    probe: float
    """Balanced accuracy of real against fake by a linear probe on the mean tokens; 0.5 is chance."""
    zero_shot: float
    """Images whose most similar attribute is one of their own class."""
    attributes: float
    """Of a fake image's attributes, those among as many most similar attributes of fakes."""
    evidence: float = float("nan")
    """Mean average precision of evidence's terms among the places that show something; NaN without evidence."""
    evidence_anywhere: float = float("nan")
    """The same among the fakes."""


def probe_accuracy(learnt: Floats, learnt_fake: Booleans, held: Floats, held_fake: Booleans) -> float:
    """Fit least squares with a ridge on features (N, D) to the classes; return its balanced accuracy on others.

    The classes are -1 and 1. Features are brought to mean 0 and variance 1 by the learnt ones; a constant feature is
    left out of account. NaN where either set lacks a class.
    """
    if any(fake.all() or not fake.any() for fake in (learnt_fake, held_fake)):
        return float("nan")
    features = learnt.astype(np.float64)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    rate = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-9)
    scaled = (features - mean) * rate
    target = np.where(learnt_fake, 1.0, -1.0)
    normal = scaled.T @ scaled / len(scaled) + RIDGE * np.eye(scaled.shape[1])
    weight = np.linalg.solve(normal, scaled.T @ (target - target.mean()) / len(scaled))
    # Halfway between the classes' mean scores: unequal numbers must not move the threshold.
    scores = scaled @ weight
    threshold = (scores[learnt_fake].mean() + scores[~learnt_fake].mean()) / 2
    called = (held.astype(np.float64) - mean) * rate @ weight > threshold
    return float((called[held_fake].mean() + (~called[~held_fake]).mean()) / 2)


def zero_shot_accuracy(similarity: Floats, fake: Booleans, forged: Booleans) -> float:
    """Return the share of images (N,) whose most similar attribute, by `similarity` (N, A), is of their class.

    `forged` (A,) tells the attributes of fakes. NaN without images.
    """
    return float((forged[similarity.argmax(axis=1)] == fake).mean()) if len(fake) else float("nan")


def attributes_found(similarity: Floats, stated: Booleans, fake: Booleans, forged: Booleans) -> float:
    """Return the mean over fakes of the share of their m attributes among the m most similar attributes of fakes.

    `similarity` and `stated` (N, A), `fake` (N,), `forged` (A,). NaN where no fake states an attribute of fakes.
    """
    of_fakes, truth = similarity[fake][:, forged], stated[fake][:, forged]
    truth, of_fakes = truth[truth.any(axis=1)], of_fakes[truth.any(axis=1)]
    if not len(truth):
        return float("nan")
    order = np.argsort(-of_fakes, axis=1, kind="stable")
    ranked = np.take_along_axis(truth, order, axis=1)
    count = truth.sum(axis=1)
    hits = (ranked & (np.arange(truth.shape[1]) < count[:, None])).sum(axis=1)
    return float((hits / count).mean())
