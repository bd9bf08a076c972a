import numpy as np
import pytest
from scipy.stats import binomtest, norm

from fdr_bench.errors import UsageError
from fdr_bench.metrics.detection import average_precision
from fdr_bench.metrics.resampling import clusters, sample_weights
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
