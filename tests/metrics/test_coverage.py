"""Simulated sets, whose truth is known from a very large one: how often do 95 % intervals hold it?"""

import numpy as np
import pytest

from fdr_bench.metrics import METRICS
from fdr_bench.metrics.resampling import clusters, debiased_interval, logit_interval, resampled
from fdr_bench.metrics.sliced import NAMES, Presorted, cells_of

SIMULATIONS, RESAMPLES = 1000, 300
CHECKED = ("acc", "fake_acc", "balanced_acc", "ap", "auroc", "eer", "tpr@fpr5", "brier", "ece")
# Steps of whole false alarms make TPR at a fixed FPR conservative; the calibration error's bias is corrected in part.
LOOSE = {"tpr@fpr5": (0.90, 1.0), "ece": (0.85, 1.0)}


def scores(draws, fake, lift):
    """Normal draws, the fakes `lift` higher, made overconfident by the factor 2."""
    return 1 / (1 + np.exp(-2 * (draws.normal(size=len(fake)) + lift * fake - lift / 2)))


def truth(draws, reals, fakes, lift):
    large = np.arange(2_000_000) >= 2_000_000 * reals // (reals + fakes)
    given = {"fake": large, "score": scores(draws, large, lift)}
    given["called"] = given["score"] > 0.5
    return {name: METRICS[name].function(*(given[need] for need in METRICS[name].needs)) for name in CHECKED}


@pytest.mark.slow
@pytest.mark.parametrize(("reals", "fakes", "lift"), [(100, 50, 1.0), (100, 50, 2.5), (500, 500, 1.0)])
def test_intervals_hold_the_truth_about_as_often_as_they_say(reals, fakes, lift):
    draws = np.random.default_rng(3)
    n, known = reals + fakes, truth(draws, reals, fakes, lift)
    fake, generator, everyone = np.arange(n) >= reals, np.full(n, -1), np.ones(n, dtype=bool)
    parts, groups = cells_of(fake, generator, ()), clusters(fake, generator, np.arange(n))
    held = dict.fromkeys(CHECKED, 0)
    for seed in range(SIMULATIONS):
        score = scores(draws, fake, lift)
        model = Presorted(parts, fake, reached=everyone, answered=everyone, called=score > 0.5, score=score)
        table = np.concatenate(resampled(groups, resamples=RESAMPLES, seed=seed, threads=1, values=model.values))
        whole = model.values(np.ones((1, n), dtype=np.uint8))[0, 0]
        for name in CHECKED:
            column, interval = NAMES.index(name), debiased_interval if name == "ece" else logit_interval
            found = interval(whole[column], table[:, 0, column], level=0.95, method="")
            held[name] += found.low <= known[name] <= found.high
    coverage = {name: count / SIMULATIONS for name, count in held.items()}
    for name, share in coverage.items():
        low, high = LOOSE.get(name, (0.92, 0.98))
        assert low <= share <= high, coverage
