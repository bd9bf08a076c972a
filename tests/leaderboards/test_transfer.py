"""The train × test matrix: means over the models of a training, flagged where training and test are of one family."""

from __future__ import annotations

import pytest

from leaderboards import site
from leaderboards.load import load_runs
from leaderboards.tables import dataset_boards
from leaderboards.transfer import trainings
from tests.leaderboards.boards import score, write_run
from tests.leaderboards.test_site import Reader

MODELS = {
    "a": {"trained_on": {"dataset": "photo-train", "generators": ["one"]}},
    "b": {"trained_on": {"dataset": "photo-train", "generators": ["one"]}},
    "c": {"trained_on": {"dataset": "faces", "generators": []}},
    "d": {},
}


def run_of(tmp_path, values):
    rows = [score(m, "balanced_acc", v, dataset=d, reason="none") for (m, d), v in values.items()]
    return write_run(tmp_path / "run", rows, models=MODELS)


def test_models_of_one_training_share_a_row(tmp_path):
    run = run_of(tmp_path, {("a", "photo-test"): 0.9, ("b", "photo-test"): 0.7, ("c", "photo-test"): 0.6,
                            ("d", "photo-test"): 0.99, ("a", "other"): 0.5, ("c", "other"): None})  # fmt: skip
    faces, photo = trainings(dataset_boards(load_runs([run])))
    assert (faces.title, faces.models, photo.title, photo.models) == ("faces", ("c",), "photo-train: one", ("a", "b"))
    first, second = photo.cells
    assert (first.value, first.models, first.low, first.high, first.familiar) == (pytest.approx(0.8), 2, 0.7, 0.9, True)
    assert (second.value, second.models, second.familiar) == (0.5, 1, False)
    assert faces.cells[1] is None and not faces.cells[0].familiar
    text = Reader(site.build([run], tmp_path / "out").read_text()).text
    assert "Trained on × tested on" in text and "70.0 to 90.0" in text


def test_one_dataset_or_one_training_makes_no_matrix(tmp_path):
    one = run_of(tmp_path / "x", {("a", "photo-test"): 0.9, ("c", "photo-test"): 0.7})
    assert trainings(dataset_boards(load_runs([one]))) == ()
    same = run_of(tmp_path / "y", {("a", "photo-test"): 0.9, ("b", "other"): 0.7})
    assert trainings(dataset_boards(load_runs([same]))) == ()
