"""Ranks with ties: who shares one, what counts as an observation, and how rarely chance parts equal detectors."""

from __future__ import annotations

import time

import numpy as np
import pytest

from fdr_bench.metrics.statistics import holm, mcnemar
from fdr_bench.ranking import Entrant, pairwise_p, rank, ranks_of
from tests.runs import make_run, read_lines, write_lines

SET = "fdr-scenes-test"


def reached(right):
    return np.ones_like(right)


def apart(n):
    return np.arange(n)


def wrong_on(n, *spans):
    """Return K rows of right answers to n images, each wrong on its span."""
    rows = np.ones((len(spans), n), dtype=bool)
    for row, (start, stop) in zip(rows, spans, strict=True):
        row[start:stop] = False
    return rows


def test_p_values_are_those_of_each_pair_alone_corrected_together():
    draws = np.random.default_rng(0)
    right = draws.random((5, 300)) < np.array([[0.9], [0.88], [0.8], [0.8], [0.6]])
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    expected = holm(np.array([mcnemar(right[i], right[j]).p_value for i, j in pairs]))
    found = pairwise_p(reached(right), right, apart(300))
    assert [found[pair] for pair in pairs] == pytest.approx(expected.tolist(), rel=1e-9)
    assert (found == found.T).all() and (np.diag(found) == 1).all()


def test_detectors_share_a_rank_until_one_is_worse_than_any_that_has_it():
    # Wrong on 0, 5, 10 and 60 images, each a part of the next one's. One against none: p = 2 / 2^count, times Holm's
    # factor of six pairs or fewer: 5 → 0.0625, not significant; 10 → 0.002 · 3 = 0.006, significant.
    right = wrong_on(200, (0, 0), (0, 5), (0, 10), (0, 60))
    ranks = ranks_of(reached(right), right, apart(200))
    assert [each.place for each in ranks] == [1, 1, 3, 4]
    assert [each.shared for each in ranks] == [(1,), (0,), (), ()]
    # The third is worse than the first, and yet cannot be told apart from the second.
    assert [each.alike for each in ranks] == [(), (2,), (1,), ()]


def test_the_order_of_the_list_is_not_the_order_of_the_ranks():
    right = wrong_on(200, (0, 60), (0, 0), (0, 120))
    assert [each.place for each in ranks_of(reached(right), right, apart(200))] == [2, 1, 3]


def test_equal_detectors_are_rarely_parted_by_chance():
    """Six detectors right on 80 % of 300 images, each on its own: at most 5 % of the boards may part any of them."""
    draws = np.random.default_rng(1)
    parted = 0
    for _ in range(200):
        right = draws.random((6, 300)) < 0.8
        parted += any(each.place > 1 for each in ranks_of(reached(right), right, apart(300)))
    assert parted <= 10  # of 200; the exact test is conservative, so fewer are expected


def test_identical_bytes_are_one_observation():
    right = wrong_on(200, (0, 0), (0, 10))
    assert ranks_of(reached(right), right, apart(200))[1].place == 2
    copies = np.concatenate([np.zeros(10, dtype=int), np.arange(1, 191)])  # the ten are one image
    assert ranks_of(reached(right), right, copies)[1].place == 1


def test_images_that_one_of_two_did_not_reach_do_not_part_them():
    right = wrong_on(200, (0, 0), (0, 60))
    seen = reached(right)
    seen[0, :60] = False
    right[0, :60] = False
    assert [each.place for each in ranks_of(seen, right, apart(200))] == [1, 1]


def test_a_detector_that_reached_nothing_is_refused():
    with pytest.raises(ValueError, match="reached no image"):
        ranks_of(np.zeros((1, 4), dtype=bool), np.zeros((1, 4), dtype=bool), apart(4))


def test_twelve_detectors_on_a_hundred_thousand_images_take_no_time():
    right = np.random.default_rng(2).random((12, 100_000)) < 0.8
    begun = time.process_time()
    ranks_of(reached(right), right, apart(100_000))
    assert time.process_time() - begun < 2.0  # 0.1 s as a rule


# ---------------------------------------------------------------- from run folders


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "monday", 240, models=("npr@scenes", "univfd@scenes"))


def test_an_image_without_an_answer_counts_as_wrong(tmp_path):
    run = make_run(tmp_path / "run", 240, models=("npr@scenes", "univfd@scenes"), failures=0.0)
    path = run / "npr@scenes" / SET / "predictions.jsonl"
    right = [{**row, "score": 1.0 if "1_fake" in str(row["id"]) else 0.0} for row in read_lines(path)]
    write_lines(path, right)
    write_lines(run / "univfd@scenes" / SET / "predictions.jsonl", right)
    both = [Entrant(run, model) for model in ("npr@scenes", "univfd@scenes")]
    assert [each.place for each in rank(both, SET)] == [1, 1]
    failed = [{"id": row["id"], "key": row["key"], "image": row["image"], "error": "broken"} for row in right[:40]]
    write_lines(path, failed + right[40:])
    assert [each.place for each in rank(both, SET)] == [2, 1]


def test_models_of_several_runs_are_ranked_together_and_those_of_other_samples_not(run, tmp_path):
    tuesday = make_run(tmp_path / "tuesday", 240, models=("npr@scenes",))
    other = make_run(tmp_path / "other", 200, models=("npr@scenes",))
    entrants = [Entrant(run, "npr@scenes"), Entrant(tuesday, "npr@scenes"), Entrant(other, "npr@scenes")]
    one, two, three = rank(entrants, SET)
    assert (one.place, one.shared, two.place, two.shared, three) == (1, (1,), 1, (0,), None)


@pytest.mark.parametrize("model", ["gone@scenes", "", "..", "../monday/npr@scenes"])
def test_a_model_without_answers_has_no_rank_whatever_its_name(run, model):
    assert rank([Entrant(run, model), Entrant(run, "npr@scenes")], SET)[0] is None
    assert rank([Entrant(run, model)], SET) == [None]
    assert rank([], SET) == []
