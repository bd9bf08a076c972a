import numpy as np
import pytest
from scipy import stats

from fdr_bench.metrics import resampling
from fdr_bench.metrics.resampling import (
    alike_interval,
    clusters,
    debiased_interval,
    draw,
    logit_interval,
    percentile_interval,
    resampled,
    sample_weights,
)


def plain(reals, fakes):
    """Reals of no generator, then the fakes of each, all with distinct bytes."""
    fake = np.repeat([False, True], [reals, sum(fakes)])
    generator = np.concatenate([np.full(reals, -1), np.repeat(np.arange(len(fakes)), fakes)])
    return clusters(fake, generator, np.arange(len(fake)))


def test_a_resample_has_every_class_and_generator_as_often_as_the_set():
    groups = plain(30, [10, 20, 5000])
    assert groups.plain and groups.bounds.tolist() == [0, 30, 40, 60, 5060]
    for resample in range(5):
        counts = draw(groups, 0, resample)
        assert np.add.reduceat(counts, groups.bounds[:-1], dtype=np.int64).tolist() == [30, 10, 20, 5000]


def test_images_with_identical_bytes_are_drawn_together():
    # Reals 0 (generator 0) and 1 (generator 1) are one file; so are fakes 4 and 5 of generator 0.
    fake, generator = np.repeat([False, True], [4, 4]), np.array([0, 1, 0, 1, 0, 0, 1, 1])
    content = np.array([7, 7, 1, 2, 9, 9, 3, 4])
    groups = clusters(fake, generator, content)
    # Strata: real 2 | real 3 | fakes of 0 (one file) | fakes of 1 | the real over two generators.
    assert np.diff(groups.bounds).tolist() == [1, 1, 1, 2, 1]
    weight = sample_weights(groups, 0, range(20))
    assert (weight[:, 0] == weight[:, 1]).all() and (weight[:, 4] == weight[:, 5]).all()
    assert (weight[:, 6] + weight[:, 7] == 2).all() and len(set(weight[:, 6].tolist())) > 1


def test_a_real_shared_by_several_generators_varies_with_the_others_like_it():
    # Ten files, each listed as a real of both generators: one stratum of ten clusters.
    generator = np.repeat([0, 1], 10)
    groups = clusters(np.zeros(20, dtype=bool), generator, np.tile(np.arange(10), 2))
    weight = sample_weights(groups, 0, range(50))
    assert (weight[:, :10] == weight[:, 10:]).all() and (weight[:, :10].sum(axis=1) == 10).all()
    assert weight.max() > 1


def test_the_poisson_table_agrees_with_scipy():
    edges, table = resampling.poisson_table(0.9)
    assert edges == pytest.approx(stats.poisson.cdf(np.arange(len(edges)), 0.9), abs=1e-14)
    middle = (np.arange(65536) + 0.5) / 65536
    decided = table != resampling.OPEN
    assert (table[decided] == stats.poisson.ppf(middle[decided], 0.9)).all()
    assert 65536 - decided.sum() <= len(edges)


def test_counts_drawn_in_one_pass_are_multinomial():
    """Each count of n draws out of n is Binomial(n, 1/n); two counts have covariance -1/n."""
    size, rounds = 5000, 200
    generator = np.random.default_rng(1)
    counts = np.stack([resampling.multinomial_of_many(generator, size) for _ in range(rounds)]).astype(int)
    assert (counts.sum(axis=1) == size).all()
    observed = np.bincount(np.minimum(counts.ravel(), 6), minlength=7)
    expected = stats.binom.pmf(np.arange(6), size, 1 / size)
    expected = np.append(expected, 1 - expected.sum()) * counts.size
    # The counts of one round are all but independent; so is the chi-square all but exact.
    assert stats.chisquare(observed, expected).pvalue > 0.01
    # The sum over any half has the variance of Binomial(n, 1/2), n/4: what the negative covariance gives.
    halves = counts[:, : size // 2].sum(axis=1)
    low, high = stats.chi2.ppf([0.005, 0.995], rounds - 1) / (rounds - 1) * size / 4
    assert low < halves.var(ddof=1) < high


def test_counts_drawn_in_one_pass_have_the_variance_of_plain_draws_for_any_weights():
    size, rounds = 4096, 300
    value = np.random.default_rng(0).exponential(size=size)
    generator = np.random.default_rng(2)
    means = [resampling.multinomial_of_many(generator, size) @ value / size for _ in range(rounds)]
    naive = [value[generator.integers(0, size, size)].mean() for _ in range(rounds)]
    assert stats.ks_2samp(means, naive).pvalue > 0.01


def test_draws_depend_on_the_seed_and_the_resample_alone(monkeypatch):
    groups = plain(200, [50, 5000])

    def weights(threads):
        return np.concatenate(resampled(groups, resamples=20, seed=3, threads=threads, values=lambda w: w.copy()))

    one = weights(1)
    monkeypatch.setattr(resampling, "ELEMENTS", 2 * 5250)
    assert np.array_equal(one, weights(1)) and np.array_equal(one, weights(2))
    assert np.array_equal(one[7], sample_weights(groups, 3, range(7, 8))[0])
    assert not np.array_equal(one, np.concatenate(resampled(groups, resamples=20, seed=4, threads=1, values=np.copy)))


def test_no_samples_have_no_strata():
    assert len(draw(clusters(np.zeros(0, bool), np.zeros(0, int), np.zeros(0, int)), 0, 0)) == 0


def test_the_interval_is_the_central_share_of_the_defined_values():
    values = np.append(np.arange(101.0), np.nan)
    interval = percentile_interval(values, level=0.9, method="by hand")
    assert interval[:2] == pytest.approx((5.0, 95.0)) and interval[2:] == (0.9, "percentiles of by hand")


def test_the_logit_interval_by_hand():
    # Standard error 0.1 (two values 0.1 * sqrt(2) apart) at 0.8: logit 1.3863, error 0.1 / 0.16 = 0.625, times 1.96:
    # 1.3863 -+ 1.2250 = 0.1613 and 2.6113, so 0.5402 and 0.9316.
    values = 0.8 + np.array([-1, 1]) * 0.1 / np.sqrt(2)
    interval = logit_interval(0.8, values, level=0.95, method="by hand")
    assert interval[:2] == pytest.approx((0.5402, 0.9316), abs=1e-4)
    assert logit_interval(1.0, np.array([1.0, 1.0]), level=0.95, method="")[:2] == (1.0, 1.0)
    assert logit_interval(0.3, np.array([0.3, 0.3]), level=0.95, method="")[:2] == pytest.approx((0.3, 0.3))
    assert logit_interval(0.3, np.array([0.3, np.nan]), level=0.95, method="") is None


def test_the_interval_of_a_biased_value_reaches_below_and_holds_it():
    # Resamples at 0.30 on average for a value of 0.20: the truth is sought around 0.10, with error 0.01.
    values = 0.3 + np.array([-1, 1]) * 0.01 / np.sqrt(2)
    interval = debiased_interval(0.2, values, level=0.95, method="by hand")
    assert interval[:2] == pytest.approx((0.1 - 0.0196, 0.2), abs=1e-4)


def test_no_interval_where_too_few_resamples_have_the_value():
    assert percentile_interval(np.array([1.0] * 94 + [np.nan] * 6), level=0.95, method="") is None
    assert percentile_interval(np.array([1.0] * 95 + [np.nan] * 5), level=0.95, method="") is not None
    assert percentile_interval(np.full(3, np.nan), level=0.95, method="") is None


@pytest.mark.parametrize("observations", [1, 2, 50, 10_000])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_images_all_alike_has_scipys_exact_interval(observations, share):
    expected = stats.binomtest(int(share * observations), observations).proportion_ci(0.95, "exact")
    assert alike_interval(share, observations, level=0.95)[:2] == pytest.approx((expected.low, expected.high))
