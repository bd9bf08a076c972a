"""The check that a high score means fake: a swapped label is the commonest mistake, and looks like a bad detector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fdr_bench.selftest.result import CheckResult, Inapplicable, Violation, judged, predict
from fdr_bench.types import Detector, Label, Prediction

if TYPE_CHECKING:
    from PIL.Image import Image

_BATCH = 16
# One-sided 1 % point of the normal distribution: an honest detector at chance is accused once in a hundred sets.
_Z = 2.326


def fakes_score_higher(detector: Detector, labelled: Sequence[tuple[Image, Label]]) -> CheckResult:
    """Check that fakes do not score significantly lower than reals (AUROC below 0.5 at the 1 % level).

    The statistic is Mann-Whitney's with its normal approximation; ties count half. Of an answer without a score its
    verdict counts, fake as 1 and real as 0. It does not apply with fewer than 5 answered images of a label.
    """
    name = "a high score means fake"

    def check() -> str:
        scores: dict[Label, list[float]] = {"real": [], "fake": []}
        for start in range(0, len(labelled), _BATCH):
            batch = labelled[start : start + _BATCH]
            for (_, label), prediction in zip(batch, predict(detector, [image for image, _ in batch]), strict=True):
                if (answer := _fakeness(prediction)) is not None:
                    scores[label].append(answer)
        reals, fakes = scores["real"], scores["fake"]
        if min(len(reals), len(fakes)) < 5:
            raise Inapplicable(f"needs 5 answered images a label, got {len(reals)} real and {len(fakes)} fake")
        area = _auroc(fakes, reals)
        deviation = math.sqrt((len(fakes) + len(reals) + 1) / (12 * len(fakes) * len(reals)))
        if area < 0.5 - _Z * deviation:
            raise Violation(
                f"probably inverted: fakes score lower than reals, AUROC {area:.3f} on {len(fakes)} fakes and "
                f"{len(reals)} reals, where a guess gets 0.5. A score is P(fake): are the labels swapped? If not, it "
                "takes these fakes for real; try it on others."
            )
        return f"AUROC {area:.3f} on {len(fakes)} fakes and {len(reals)} reals"

    return judged(name, check)


def _fakeness(prediction: Prediction) -> float | None:
    if prediction.score is not None:
        return float(prediction.score)
    return None if prediction.verdict is None else float(prediction.verdict == "fake")


def _auroc(fakes: Sequence[float], reals: Sequence[float]) -> float:
    wins = sum((fake > real) + 0.5 * (fake == real) for fake in fakes for real in reals)
    return wins / (len(fakes) * len(reals))
