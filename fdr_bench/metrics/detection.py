"""Detection metrics as pure functions on arrays: `fake: bool (N,)`, `score: float64 (N,)`, `called: bool (N,)`.

Fake is the positive class. `called` is what the model calls each image: True is fake. A metric that does not exist for
its input (no sample, or a class is absent) is NaN; `fdr_bench.scoring` turns that into None with a reason.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]
NAN = float("nan")


def call(score: Floats, threshold: float = 0.5) -> Booleans:
    """Return `called: bool (N,)`: fake where the score is strictly above the threshold. NaN scores are called real."""
    return np.asarray(score > threshold, dtype=np.bool_)


def accuracy(fake: Booleans, called: Booleans) -> float:
    """Return the share of images called rightly, in [0, 1]. One class is enough; NaN where there is no image."""
    return float(np.mean(fake == called)) if len(fake) else NAN


def accuracy_at(fake: Booleans, score: Floats, threshold: float) -> float:
    """Return the accuracy where scores strictly above `threshold` are called fake. NaN where there is no image."""
    return accuracy(fake, call(score, threshold))


def real_accuracy(fake: Booleans, called: Booleans) -> float:
    """Return the share of real images called real (true negative rate). NaN where there is no real image."""
    return accuracy(fake[~fake], called[~fake])


def fake_accuracy(fake: Booleans, called: Booleans) -> float:
    """Return the share of fake images called fake (true positive rate). NaN where there is no fake image."""
    return accuracy(fake[fake], called[fake])


def balanced_accuracy(fake: Booleans, called: Booleans) -> float:
    """Return the mean of real and fake accuracy, one half for a constant call. NaN where a class is absent."""
    return (real_accuracy(fake, called) + fake_accuracy(fake, called)) / 2


def strict_accuracy(fake: Booleans, called: Booleans, answered: Booleans) -> float:
    """Return the share of all images answered and called rightly: no answer counts as wrong. NaN without images.

    `called` may hold anything where `answered` is False.
    """
    return float(np.mean((fake == called) & answered)) if len(fake) else NAN


def failure_rate(answered: Booleans) -> float:
    """Return the share of images without an answer, in [0, 1]. NaN where there is no image."""
    return float(np.mean(~answered)) if len(answered) else NAN


def forced_score_rate(forced: Booleans) -> float:
    """Return the share of scores that were forced, in [0, 1]. NaN where there is no score."""
    return float(np.mean(forced)) if len(forced) else NAN


class OperatingPoints(NamedTuple):
    """True and false positives when every score at or above `threshold` is called fake, one a distinct score."""

    threshold: Floats  # (K,) falling
    true_positives: NDArray[np.int64]  # (K,) rising
    false_positives: NDArray[np.int64]  # (K,) rising


def operating_points(fake: Booleans, score: Floats) -> OperatingPoints:
    """Return the counts at each of the K distinct scores; images with equal scores always fall together."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    last = np.append(ranked[1:] != ranked[:-1], True) if len(ranked) else np.zeros(0, dtype=np.bool_)
    positives = np.cumsum(fake[order], dtype=np.int64)
    above = np.arange(1, len(ranked) + 1)
    return OperatingPoints(ranked[last], positives[last], (above - positives)[last])


def average_precision(fake: Booleans, score: Floats) -> float:
    """Return the area under the precision-recall curve, fake being the positive class.

    Step-wise sum over distinct thresholds without interpolation, as in scikit-learn: precision at each threshold times
    the rise in recall. Equal scores are one step. NaN where one class is absent.
    """
    if fake.all() or not fake.any():
        return NAN
    _, hits, alarms = operating_points(fake, score)
    rise = np.diff(hits, prepend=0)
    return float(np.sum(rise * (hits / (hits + alarms))) / hits[-1])


def auroc(fake: Booleans, score: Floats) -> float:
    """Return the chance that a fake outscores a real, equal scores counting one half. NaN where a class is absent."""
    if fake.all() or not fake.any():
        return NAN
    _, hits, alarms = operating_points(fake, score)
    rise, before = np.diff(hits, prepend=0), np.append(0, alarms[:-1])
    beaten = alarms[-1] - (before + alarms) / 2
    return float(np.sum(rise * beaten) / (float(hits[-1]) * float(alarms[-1])))


def equal_error_rate(fake: Booleans, score: Floats) -> float:
    """Return the rate at which false alarms and misses are equal, on the ROC curve joined by straight lines.

    0 is perfect, one half is chance. Joining lines run through groups of equal scores, as in the AUROC. NaN where a
    class is absent.
    """
    if fake.all() or not fake.any():
        return NAN
    _, hits, alarms = operating_points(fake, score)
    recall = np.append(0.0, hits / hits[-1])
    false_rate = np.append(0.0, alarms / alarms[-1])
    total = recall + false_rate
    after = int(np.argmax(total >= 1.0))  # misses = 1 - recall, so equality is where the two rates add up to one
    share = (1.0 - total[after - 1]) / (total[after] - total[after - 1])
    return float(false_rate[after - 1] + share * (false_rate[after] - false_rate[after - 1]))


def tpr_at_fpr(fake: Booleans, score: Floats, limit: float) -> float:
    """Return the largest share of fakes found by any threshold whose false positive rate is at most `limit`.

    No interpolation: with fewer than 1 / limit reals no false alarm is allowed at all. 0 where the highest scores are
    reals. NaN where a class is absent.
    """
    if fake.all() or not fake.any():
        return NAN
    _, hits, alarms = operating_points(fake, score)
    allowed = int(np.searchsorted(alarms, allowed_alarms(int(alarms[-1]), limit), side="right"))
    return float(hits[allowed - 1] / hits[-1]) if allowed else 0.0


def tpr_at_fpr_1(fake: Booleans, score: Floats) -> float:
    """Return `tpr_at_fpr` at a false positive rate of at most 1 %."""
    return tpr_at_fpr(fake, score, 0.01)


def tpr_at_fpr_5(fake: Booleans, score: Floats) -> float:
    """Return `tpr_at_fpr` at a false positive rate of at most 5 %."""
    return tpr_at_fpr(fake, score, 0.05)


def allowed_alarms(reals: int, limit: float) -> int:
    """Return how many of `reals` may be called fake at a false positive rate of at most `limit`.

    The slack keeps 0.01 × 300 at 3 although 0.01 has no exact binary form.
    """
    return int(np.floor(reals * limit + 1e-9))


def best_threshold(fake: Booleans, score: Floats) -> float:
    """Return the threshold with the highest accuracy on a validation set, to be used on another set.

    Halfway between the two scores it separates; among equally good ones that nearest to 0.5 (then the lower). May lie
    just below the lowest score where calling all of them fake is best. NaN where a class is absent: one class alone
    says nothing of where to cut.
    """
    if fake.all() or not fake.any():
        return NAN
    level, hits, alarms = operating_points(fake, score)
    right = np.append(0, hits) + (alarms[-1] - np.append(0, alarms))
    lower = np.append(level, np.nextafter(level[-1], -np.inf))
    upper = np.append(level[0], level)
    middle = lower + (upper - lower) / 2
    middle = np.where(middle < upper, middle, lower)  # neighbouring floats have no middle; the lower one separates them
    middle[0], middle[-1] = level[0], lower[-1]
    best = middle[right == right.max()]
    return float(min(best, key=lambda threshold: (abs(threshold - 0.5), threshold)))
