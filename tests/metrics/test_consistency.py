"""Consistency: the minority's share over repeats, and what changes when a question is put the other way round."""

from __future__ import annotations

import numpy as np
import pytest

from fdr_bench.metrics.consistency import Rate, called_fake, disagreement, inconsistency


def verdicts(*rows: str) -> np.ndarray:
    return np.array([[{"f": 1, "r": 0, "-": -1}[letter] for letter in row] for row in rows], dtype=np.int8)


def test_the_minority_share_of_five_repeats():
    # Images: fffff -> 0/5, ffffr -> 1/5, ffrrr -> 2/5, rrrrr -> 0/5: (0 + 0.2 + 0.4 + 0) / 4
    asked = verdicts("fffr", "fffr", "ffrr", "ffrr", "frrr")
    assert inconsistency(asked) == Rate(pytest.approx(0.15), 4, 0)


def test_repeats_without_a_verdict_leave_the_share_and_images_with_one_verdict_are_missing():
    # Images: f-r -> 1/2; f-- -> missing; --- -> missing; ff- -> 0/2
    asked = verdicts("ff-f", "---f", "r---")
    assert inconsistency(asked) == Rate(pytest.approx(0.25), 2, 2)
    assert inconsistency(verdicts("f-", "--")) == Rate(None, 0, 2)
    assert inconsistency(verdicts("ffff")) == Rate(None, 0, 4)


def test_polarities_differ_where_both_have_a_verdict():
    one, other = verdicts("ffrr-f", "frrf--")
    assert disagreement(one, other) == Rate(pytest.approx(0.5), 4, 2)
    assert called_fake(one) == Rate(pytest.approx(3 / 5), 5, 1)
    assert disagreement(one[4:5], other[4:5]) == Rate(None, 0, 1)
    assert called_fake(one[4:5]) == Rate(None, 0, 1)
