import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from fdr_bench.metrics.calibration import BINS, brier, calibration_bin, expected_calibration_error


@pytest.mark.parametrize("seed", range(20))
def test_calibration_error_agrees_with_scikit_learns_calibration_curve(seed):
    draws = np.random.default_rng(seed)
    fake, score = draws.random(200) < 0.4, np.round(draws.random(200), seed % 4 + 1)
    share, mean = calibration_curve(fake, score, n_bins=BINS)  # of the bins that hold an image, in order
    weight = np.bincount(calibration_bin(score), minlength=BINS)
    weight = weight[weight > 0] / 200
    assert expected_calibration_error(fake, score) == pytest.approx(np.sum(weight * np.abs(share - mean)), abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_brier_agrees_with_scikit_learn(seed):
    draws = np.random.default_rng(seed)
    fake, score = draws.random(50) < 0.4, draws.random(50)
    assert brier(fake, score) == pytest.approx(brier_score_loss(fake, score))


def test_bins_are_closed_on_the_right():
    # Edges are k / 15: 1/15 ends bin 0, a hair above starts bin 1; 0 is in the first bin and 1 in the last.
    assert calibration_bin(np.array([0.0, 1 / 15, 0.0667, 14.5 / 15, 1.0])).tolist() == [0, 0, 1, 14, 14]


def test_calibration_error_by_hand():
    # 0.9 (fake), 0.9 (real) share a bin: |1.8 - 1| = 0.8; 0.2 (real) alone: 0.2; (0.8 + 0.2) / 3 images.
    score = np.array([0.9, 0.9, 0.2])
    assert expected_calibration_error(np.array([True, False, False]), score) == pytest.approx(1 / 3)


def test_calibration_exists_with_one_class():
    assert expected_calibration_error(np.ones(2, bool), np.array([1.0, 1.0])) == 0.0
    assert brier(np.zeros(2, bool), np.array([0.5, 0.5])) == 0.25
