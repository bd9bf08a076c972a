import numpy as np
import pytest
from scipy.stats import binomtest, norm

from fdr_bench.errors import UsageError
from fdr_bench.metrics.detection import auroc, average_precision, balanced_accuracy
from fdr_bench.metrics.resampling import clusters, percentile_interval, resampled, sample_weights
from fdr_bench.metrics.sliced import NAMES, Presorted, cells_of
from fdr_bench.metrics.statistics import holm, mcnemar, paired_bootstrap


def test_mcnemar_agrees_with_scipys_binomial_test():
    draws = np.random.default_rng(0)
    for _ in range(50):
        first, second = draws.random((2, 40)) < draws.random((2, 1))
        found = mcnemar(first, second)
        assert found.only_first + found.only_second == (first != second).sum()
        if found.only_first + found.only_second:
            expected = binomtest(found.only_first, found.only_first + found.only_second).pvalue
            assert found.p_value == pytest.approx(expected)


def test_mcnemar_by_hand():
    # One detector is right alone on 5 images, the other on none: 2 × (1/2)^5 = 1/16.
    assert mcnemar(np.ones(8, bool), np.arange(8) < 3) == (5, 0, pytest.approx(1 / 16))
    assert mcnemar(np.ones(3, bool), np.ones(3, bool)) == (0, 0, 1.0)


def test_holm_by_hand():
    # Sorted .01 .03 .04: 3 × .01 = .03; 2 × .03 = .06; 1 × .04 = .04, which must not fall below .06.
    assert holm(np.array([0.04, 0.01, 0.03])) == pytest.approx([0.06, 0.03, 0.06])
    assert holm(np.array([0.5, np.nan, 0.7])) == pytest.approx([1.0, np.nan, 1.0], nan_ok=True)
    assert len(holm(np.zeros(0))) == 0


def pair(n=300, seed=0):
    draws = np.random.default_rng(seed)
    fake = np.arange(n) % 2 == 1
    common = draws.normal(size=n) + 1.2 * fake
    return fake, *(norm.cdf(common + draws.normal(scale=spread, size=n)) for spread in (0.3, 1.5))


def test_the_paired_bootstrap_is_that_of_repeated_images():
    fake, first, second = pair()
    first[3] = np.nan
    found = paired_bootstrap(fake, first, second, resamples=60, seed=5)
    kept = np.flatnonzero(np.isfinite(first))
    kept = np.concatenate([kept[~fake[kept]], kept[fake[kept]]])  # reals, then fakes: the order of the strata
    fake, first, second = fake[kept], first[kept], second[kept]
    differences = []
    for repeats in sample_weights(clusters(fake, np.full(299, -1), np.arange(299)), 5, range(60)):
        drawn = np.repeat(np.arange(299), repeats)
        one, two = (average_precision(fake[drawn], score[drawn]) for score in (first, second))
        differences.append(one - two)
    assert found.value == pytest.approx(average_precision(fake, first) - average_precision(fake, second))
    assert found.interval[:2] == pytest.approx(np.quantile(differences, [0.025, 0.975]))
    assert found.p_value == pytest.approx(2 * (np.sum(np.array(differences) <= 0) + 1) / 61)


def test_a_detector_does_not_differ_from_itself():
    fake, first, _ = pair()
    found = paired_bootstrap(fake, first, first, metric="auroc", resamples=50)
    assert found.value == 0.0 and found.interval[:2] == (0.0, 0.0) and found.p_value == 1.0


def test_a_comparison_of_one_class_is_undefined():
    found = paired_bootstrap(np.ones(4, bool), np.arange(4) / 4, np.arange(4) / 4)
    assert np.isnan(found.value) and found.interval is None and np.isnan(found.p_value)


def test_metrics_without_scores_are_refused():
    with pytest.raises(UsageError, match=r"'acc' cannot be compared .* ap, auroc"):
        paired_bootstrap(*pair(), metric="acc")


@pytest.mark.slow
@pytest.mark.parametrize("n", [120, 600])
def test_intervals_hold_the_truth_in_95_of_100_cases(n):
    """Normal scores one apart: the truth is known or computed from a very large set."""
    draws = np.random.default_rng(7)
    simulations, threshold, lift = 600, norm.cdf(0.5), 1.0
    large = np.arange(2_000_000) % 2 == 1
    score = norm.cdf(draws.normal(size=len(large)) + lift * large)
    truth = {
        "auroc": norm.cdf(lift / np.sqrt(2)),
        "balanced_acc": norm.cdf(lift / 2),
        "fake_acc": norm.cdf(lift / 2),
        "ap": average_precision(large, score),
    }
    assert auroc(large, score) == pytest.approx(truth["auroc"], abs=1e-3)
    assert balanced_accuracy(large, score > threshold) == pytest.approx(truth["balanced_acc"], abs=1e-3)
    fake, generator, everyone = np.arange(n) >= n // 2, np.full(n, -1), np.ones(n, dtype=bool)
    parts, groups, held = (
        cells_of(fake, generator, ()),
        clusters(fake, generator, np.arange(n)),
        dict.fromkeys(truth, 0),
    )
    for seed in range(simulations):
        score = norm.cdf(draws.normal(size=n) + lift * fake)
        model = Presorted(parts, fake, reached=everyone, answered=everyone, called=score > threshold, score=score)
        values = np.concatenate(resampled(groups, resamples=1000, seed=seed, threads=1, values=model.values))
        for name, value in truth.items():
            interval = percentile_interval(values[:, 0, NAMES.index(name)], level=0.95, method="")
            held[name] += interval.low <= value <= interval.high
    for name, count in held.items():
        assert 0.92 <= count / simulations <= 0.98, (name, count / simulations)
