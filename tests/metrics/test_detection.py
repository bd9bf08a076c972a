import warnings

import numpy as np
import pytest
from sklearn import metrics as reference

from fdr_bench.metrics import METRICS, NEEDS
from fdr_bench.metrics import detection as ours

SCORED = [name for name, metric in METRICS.items() if metric.needs == ("fake", "score")]


def cases(count=24):
    """Random labels and scores; most have many ties, within a class and across."""
    for seed in range(count):
        draws = np.random.default_rng(seed)
        n = int(draws.integers(2, 60))
        fake = draws.random(n) < draws.uniform(0.2, 0.8)
        fake[:2] = (True, False)
        score = draws.random(n)
        levels = int(draws.integers(1, 12)) if seed % 4 else 10**9
        yield fake, np.round(score * levels) / levels


@pytest.fixture(scope="module", params=range(24))
def case(request):
    return list(cases())[request.param]


def at_or_above(fake, score, threshold):
    hits = sum(f and s >= threshold for f, s in zip(fake, score, strict=True))
    alarms = sum(not f and s >= threshold for f, s in zip(fake, score, strict=True))
    return hits, alarms


def test_accuracies_agree_with_scikit_learn(case):
    fake, score = case
    called = ours.call(score, 0.5)
    assert ours.accuracy(fake, called) == pytest.approx(reference.accuracy_score(fake, called))
    assert ours.real_accuracy(fake, called) == pytest.approx(reference.recall_score(~fake, ~called, zero_division=0))
    assert ours.fake_accuracy(fake, called) == pytest.approx(reference.recall_score(fake, called, zero_division=0))
    assert ours.balanced_accuracy(fake, called) == pytest.approx(reference.balanced_accuracy_score(fake, called))
    assert ours.accuracy_at(fake, score, 0.3) == pytest.approx(reference.accuracy_score(fake, score > 0.3))


def test_average_precision_agrees_with_scikit_learn(case):
    assert ours.average_precision(*case) == pytest.approx(reference.average_precision_score(*case), abs=1e-12)


def test_average_precision_agrees_with_a_sum_over_thresholds(case):
    fake, score = case
    total, before = 0.0, 0
    for threshold in sorted(set(score), reverse=True):
        hits, alarms = at_or_above(fake, score, threshold)
        total += (hits - before) / fake.sum() * hits / (hits + alarms)
        before = hits
    assert ours.average_precision(fake, score) == pytest.approx(total, abs=1e-12)


def test_auroc_agrees_with_scikit_learn_and_with_counting_pairs(case):
    fake, score = case
    pairs = [(f > r) + (f == r) / 2 for f in score[fake] for r in score[~fake]]
    assert ours.auroc(fake, score) == pytest.approx(float(np.mean(pairs)), abs=1e-12)
    assert ours.auroc(fake, score) == pytest.approx(reference.roc_auc_score(fake, score), abs=1e-12)


@pytest.mark.parametrize("limit", [0.0, 0.01, 0.05, 0.25, 1.0])
def test_tpr_at_fpr_agrees_with_scikit_learns_roc_curve(case, limit):
    fake, score = case
    false_rate, recall, _ = reference.roc_curve(fake, score, drop_intermediate=False)
    expected = recall[false_rate <= limit + 1e-12].max()
    assert ours.tpr_at_fpr(fake, score, limit) == pytest.approx(expected)


def test_equal_error_rate_lies_where_scikit_learns_roc_curve_meets_the_line_of_equal_errors(case):
    fake, score = case
    false_rate, recall, _ = reference.roc_curve(fake, score, drop_intermediate=False)
    # Walk the curve in fine steps; false alarms minus misses rises along it and changes sign at the EER.
    fine = np.linspace(0, len(false_rate) - 1, 1_000 * len(false_rate) + 1)
    along = np.arange(len(false_rate))
    alarms, misses = np.interp(fine, along, false_rate), 1 - np.interp(fine, along, recall)
    nearest = np.argmin(np.abs(alarms - misses))
    assert ours.equal_error_rate(fake, score) == pytest.approx(alarms[nearest], abs=1e-3)


def test_equal_error_rate_of_a_hand_made_set():
    # Falling scores: F R F R. ROC points (0, .5) (.5, .5) (.5, 1) (1, 1): FPR + TPR = 1 at (.5, .5), so EER = .5.
    fake = np.array([True, False, True, False])
    assert ours.equal_error_rate(fake, np.array([0.9, 0.8, 0.7, 0.6])) == pytest.approx(0.5)
    # All equal: the curve is the diagonal, which meets the line of equal errors at one half.
    assert ours.equal_error_rate(fake, np.full(4, 0.3)) == pytest.approx(0.5)
    assert ours.equal_error_rate(fake, np.array([0.9, 0.1, 0.8, 0.2])) == 0.0


def test_a_score_at_the_threshold_is_real():
    assert ours.call(np.array([0.5, np.nextafter(0.5, 1), np.nan]), 0.5).tolist() == [False, True, False]


def test_one_percent_of_three_hundred_reals_is_three():
    # 300 reals at 0.001 … 0.300 and one fake below the third highest and above the fourth.
    reals = np.arange(1, 301) / 1000
    fake = np.append(np.zeros(300, dtype=bool), True)
    assert ours.tpr_at_fpr(fake, np.append(reals, 0.2975), 0.01) == 1.0
    assert ours.tpr_at_fpr(fake, np.append(reals, 0.2965), 0.01) == 0.0


@pytest.mark.parametrize("name", SCORED)
def test_a_metric_of_both_classes_is_undefined_with_one(name):
    metric = METRICS[name]
    for fake in (np.ones(3, dtype=bool), np.zeros(3, dtype=bool)):
        assert np.isnan(metric.function(fake, np.array([0.1, 0.5, 0.9]))) == (metric.classes == "both")


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_undefined_without_images_and_never_warns(name):
    empty = {"fake": np.zeros(0, bool), "called": np.zeros(0, bool), "answered": np.zeros(0, bool), "threshold": 0.5}
    arguments = empty | {"score": np.zeros(0), "forced": np.zeros(0, bool)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(METRICS[name].function(*(arguments[need] for need in METRICS[name].needs)))


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_what_it_is(name):
    metric = METRICS[name]
    assert metric.name == name and metric.title and metric.source
    assert metric.definition.endswith(".") and set(metric.needs) <= set(NEEDS)


@pytest.mark.parametrize("name", METRICS)
def test_a_perfect_answer_is_no_worse_than_any_other(name, case):
    metric, (fake, score) = METRICS[name], case
    known = {"fake": fake, "answered": np.ones_like(fake), "forced": np.zeros_like(fake), "threshold": 0.5}
    perfect = known | {"called": fake, "score": fake.astype(float)}
    other = known | {"called": score > 0.5, "score": score}
    best, value = (metric.function(*(given[need] for need in metric.needs)) for given in (perfect, other))
    assert best >= value if metric.higher_is_better else best <= value


def test_no_answer_is_wrong_in_the_strict_reading_only():
    # Four images: right, right, wrong, unanswered: 2/4 strictly, 2/3 officially.
    fake, called = np.array([True, False, True, True]), np.array([True, False, False, True])
    answered = np.array([True, True, True, False])
    assert ours.strict_accuracy(fake, called, answered) == 0.5
    assert ours.accuracy(fake[answered], called[answered]) == pytest.approx(2 / 3)
    assert ours.failure_rate(answered) == 0.25


def test_the_best_threshold_beats_every_other(case):
    fake, score = case
    threshold = ours.best_threshold(fake, score)
    tried = [-1.0, 2.0, *score, *(score - 1e-9), *(score + 1e-9)]
    assert ours.accuracy_at(fake, score, threshold) == max(ours.accuracy_at(fake, score, other) for other in tried)


def test_the_best_threshold_lies_halfway_and_near_one_half():
    fake = np.array([False, False, True, True])
    assert ours.best_threshold(fake, np.array([0.1, 0.2, 0.4, 0.9])) == pytest.approx(0.3)
    # F at .2, R at .8: calling both fake or both real is right once each; 0.8 is as far from 0.5 as 0.2 is, the lower
    # one wins, just below the lowest score.
    threshold = ours.best_threshold(np.array([True, False]), np.array([0.2, 0.8]))
    assert threshold < 0.2 and threshold == pytest.approx(0.2)


def test_neighbouring_floats_are_separated():
    low, high = 0.3, np.nextafter(0.3, 1)
    threshold = ours.best_threshold(np.array([False, True]), np.array([low, high]))
    assert ours.call(np.array([low, high]), threshold).tolist() == [False, True]
