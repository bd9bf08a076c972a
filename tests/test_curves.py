"""Curves of a run: the points of scikit-learn, thinned without moving the curve, and bins with their intervals."""

from __future__ import annotations

import numpy as np
import pytest

from fdr_bench.curves import POINTS, curves, reliability, wilson, write_curves
from fdr_bench.store import read_json
from tests.galleries import write_gallery_run


def test_four_images_give_the_curves_worked_out_by_hand():
    # By falling score: fake 0.9, real 0.8, fake 0.6, real 0.1.
    found = curves(np.array([True, False, True, False]), np.array([0.9, 0.8, 0.6, 0.1]))
    assert found["roc"] == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]
    assert found["pr"] == [[0.5, 1], [0.5, 0.5], [1, 0.66667], [1, 0.5]]


def test_equal_scores_are_one_point():
    found = curves(np.array([True, False, True, False]), np.full(4, 0.5))
    assert found["roc"] == [[0, 0], [1, 1]]
    assert found["pr"] == [[1, 0.5]]


def test_a_long_curve_is_thinned_and_keeps_its_area():
    draws = np.random.default_rng(1)
    fake = draws.random(20_000) < 0.5
    score = 1 / (1 + np.exp(-(draws.normal(size=20_000) + fake)))
    found = curves(fake, score)
    x, y = np.array(found["roc"]).T
    assert len(x) <= 2 * POINTS + 2
    ranks = np.argsort(np.argsort(score)) + 1  # AUROC by the rank sum (Mann-Whitney)
    fakes, reals = fake.sum(), (~fake).sum()
    exact = (ranks[fake].sum() - fakes * (fakes + 1) / 2) / (fakes * reals)
    assert np.trapezoid(y, x) == pytest.approx(exact, abs=0.003)


def test_reliability_has_the_bins_that_hold_images():
    # Bins are 1/15 wide: 0.01 and 0.05 share the first, 0.99 is in the last.
    rows = reliability(np.array([False, True, True]), np.array([0.01, 0.05, 0.99]))
    assert [(row["score"], row["fake"], row["n"]) for row in rows] == [(0.03, 0.5, 2), (0.99, 1.0, 1)]


def test_wilsons_interval_is_that_of_the_literature():
    # Newcombe, Statistics in Medicine 17, 1998, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for hits, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(hits, n) == pytest.approx((low, high), abs=5e-5)


def test_a_model_of_verdicts_alone_has_no_curve(tmp_path):
    run = write_gallery_run(tmp_path / "run", tmp_path / "images")
    assert write_curves(run) == 1
    (entry,) = read_json(run / "curves.json")["curves"]
    assert (entry["model"], entry["dataset"], entry["n"]) == ("scorer", "photos", 5)  # one of six failed
