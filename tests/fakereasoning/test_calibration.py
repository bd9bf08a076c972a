"""Calibration: the temperature is the likeliest one, changes no ranking, and is measured where it was not fitted."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.metrics import brier_score_loss, log_loss

from fakereasoning.calibration import (
    FILE,
    HIGHEST,
    LOWEST,
    Margins,
    calibrate,
    fit_temperature,
    measure,
    read_temperature,
    reliability_diagram,
    write_calibration,
)
from fdr_bench.errors import DataError, WeightsError
from fdr_bench.metrics.calibration import expected_calibration_error


def overconfident(factor: float, n: int = 4000, seed: int = 0) -> Margins:
    """Return margins that are `factor` times too large: labels are drawn with the sigmoid of the margin before it."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(0, 2, n)
    return Margins(factor * honest, rng.random(n) < 1 / (1 + np.exp(-honest)))


def likelihood(margins: Margins, temperature: float) -> float:
    """Return the negative log likelihood, by scikit-learn."""
    return float(log_loss(margins.fake, 1 / (1 + np.exp(-margins.margin / temperature))))


@pytest.mark.parametrize("factor", [0.5, 1.0, 10.0])
def test_the_temperature_undoes_what_margins_are_too_large_by(factor):
    # 4,000 labels fix the slope of a logistic regression to about 3 %.
    assert fit_temperature(overconfident(factor)) == pytest.approx(factor, rel=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_the_temperature_is_the_likeliest_that_a_library_finds(seed):
    margins = overconfident(4.0, n=300, seed=seed)
    found = minimize_scalar(
        lambda log: likelihood(margins, np.exp(log)), bounds=(-2, 4), method="bounded", options={"xatol": 1e-9}
    )
    assert fit_temperature(margins) == pytest.approx(np.exp(found.x), rel=1e-4)


def test_without_errors_or_without_skill_the_temperature_stops_at_its_bounds():
    fake = np.array([True, True, False, False])
    assert fit_temperature(Margins(np.array([3.0, 2.0, -1.0, -4.0]), fake)) == pytest.approx(LOWEST)
    assert fit_temperature(Margins(np.array([-3.0, -2.0, 1.0, 4.0]), fake)) == pytest.approx(HIGHEST)


def test_figures_are_those_of_the_harness_and_of_a_library():
    margins = overconfident(3.0, n=500)
    score = 1 / (1 + np.exp(-margins.margin / 2))
    found = measure(margins, temperature=2.0)
    assert found.n == 500
    assert found.ece == pytest.approx(expected_calibration_error(margins.fake, score))
    assert found.nll == pytest.approx(likelihood(margins, 2.0))
    assert found.brier == pytest.approx(brier_score_loss(margins.fake, score))
    assert sum(each.n for each in found.bins) == 500 and len(found.bins) == 15
    # The expected calibration error is the bins' gaps, weighted by their images.
    gaps = sum(each.n * abs((each.score or 0) - (each.fakes or 0)) for each in found.bins)
    assert gaps / 500 == pytest.approx(found.ece)


def test_calibration_is_measured_on_halves_it_was_not_fitted_on():
    margins = overconfident(6.0, n=401)
    found = calibrate(margins)
    assert found.temperature == pytest.approx(fit_temperature(margins))
    assert found.before == measure(margins)
    half = np.zeros(401, dtype=bool)
    for label in (True, False):
        for number, index in enumerate(np.flatnonzero(margins.fake == label)):
            half[index] = number % 2 == 1
    scaled = np.empty(401)
    for mine in (half, ~half):
        scaled[mine] = margins.margin[mine] / fit_temperature(Margins(margins.margin[~mine], margins.fake[~mine]))
    assert found.after == measure(Margins(scaled, margins.fake))
    assert found.after.ece < found.before.ece / 2 and found.after.nll < found.before.nll


def test_a_temperature_changes_no_ranking_and_no_verdict():
    margins = overconfident(3.0, n=200)
    before, after = (1 / (1 + np.exp(-margins.margin / each)) for each in (1.0, 7.3))
    assert (np.argsort(before) == np.argsort(after)).all()
    assert ((before > 0.5) == (after > 0.5)).all()


def test_huge_margins_overflow_nowhere():
    fake = np.array([True, False, True, False])
    found = measure(Margins(np.array([1e5, -1e5, -2000.0, 3000.0]), fake))
    assert found.nll == pytest.approx(5000 / 4) and found.brier == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("margin", "fake", "message"),
    [
        ([1.0, 2.0], [True, True], "2 fakes and 0 reals"),
        ([], [], "0 fakes and 0 reals"),
        ([1.0, np.nan], [True, False], "1 margins are not finite"),
        ([1.0, 2.0, 3.0], [True, False], "one each"),
    ],
)
def test_sets_that_cannot_calibrate_are_refused(margin, fake, message):
    with pytest.raises(DataError, match=message):
        fit_temperature(Margins(np.array(margin, dtype=float), np.array(fake, dtype=bool)))


def test_halves_need_both_classes():
    with pytest.raises(DataError, match="at least 2 of each"):
        calibrate(Margins(np.array([1.0, 2.0, -1.0]), np.array([True, True, False])))


def test_a_folder_keeps_its_temperature_and_what_it_was_fitted_on(tmp_path):
    assert read_temperature(tmp_path) == 1.0
    found = calibrate(overconfident(5.0, n=100), fitted_on={"dataset": "val"})
    write_calibration(tmp_path, found)
    assert read_temperature(tmp_path) == found.temperature
    content = json.loads((tmp_path / FILE).read_text())
    assert content["fitted_on"]["dataset"] == "val" and content["fitted_on"]["n"] == 100
    assert content["before"]["ece"] == found.before.ece and len(content["after"]["bins"]) == 15
    assert content["after"]["bins"][0].keys() == {"low", "high", "n", "score", "fakes"}


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"temperature": 2}', '{"format": "fakereasoning-calibration-1", "temperature": -1}']
)
def test_a_damaged_calibration_is_named(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(WeightsError, match=r"calibration\.json"):
        read_temperature(tmp_path)


def test_the_diagram_shows_both_curves_against_the_diagonal():
    found = replace(calibrate(overconfident(5.0, n=200)), temperature=5.0)
    figure = reliability_diagram(found)
    names = [trace.name for trace in figure.data]
    assert names[0] == "calibrated" and names[1].startswith("before: ECE") and names[2].startswith("after: ECE")
    filled = [each for each in found.before.bins if each.n]
    assert list(figure.data[1].x) == [each.score for each in filled]
    assert list(figure.data[1].y) == [each.fakes for each in filled]
    assert "T = 5.00" in figure.layout.title.text
