"""What a dataset is told about before any model sees it."""

import json

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from fdr_bench.data import open_dataset
from fdr_bench.data.inspect import _best_assignment, _best_threshold, inspect_dataset
from tests.awkward import OK, encoded, make_awkward, photograph


def put(root, name, payload):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(payload)


def facts_of(root, options=""):
    facts = inspect_dataset(open_dataset(f"folders:{root}{options}"))
    assert json.loads(json.dumps(facts)) == facts
    return facts


@pytest.fixture
def pair(tmp_path):
    for number in range(3):
        put(tmp_path, f"sd/0_real/{number}.jpg", encoded(photograph(64, 48, number), "JPEG"))
        put(tmp_path, f"sd/1_fake/{number}.png", encoded(photograph(32, 32, number + 9), "PNG"))
    put(tmp_path, "flux/cat/1_fake/1.png", encoded(photograph(32, 32, 50), "PNG"))
    return tmp_path


def test_counts_formats_and_sizes_by_class(pair):
    facts = facts_of(pair)
    assert (facts["images"], facts["real"], facts["fake"]) == (7, 3, 4)
    assert facts["generators"] == [
        {"generator": "flux", "real": 0, "fake": 1, "categories": 1},
        {"generator": "sd", "real": 3, "fake": 3, "categories": 0},
    ]
    assert facts["files"]["real"]["formats"] == {"JPEG RGB": 3}
    assert facts["files"]["fake"]["sizes"] == {"32x32": 4}
    assert facts["files"]["real"]["width"] == {"min": 64, "median": 64, "max": 64}
    assert facts["files"]["real"]["quantisation_tables"] == 1


def test_a_property_of_the_files_that_separates_the_classes_is_shown(pair):
    shortcuts = facts_of(pair)["shortcuts"]
    assert shortcuts["width"] == shortcuts["format_and_mode"] == shortcuts["quantisation"] == 1.0


def test_identical_bytes_are_found_within_and_across_labels_and_generators(pair):
    put(pair, "sd/1_fake/copy.png", (pair / "sd/1_fake/0.png").read_bytes())
    put(pair, "flux/cat/1_fake/copy.png", (pair / "sd/1_fake/1.png").read_bytes())
    put(pair, "sd/1_fake/leak.jpg", (pair / "sd/0_real/2.jpg").read_bytes())
    duplicates = facts_of(pair)["duplicates"]
    assert duplicates == {
        "groups": 3,
        "images": 6,
        "across_labels": 1,
        "across_generators": 1,
        "examples": [["sd/0_real/2.jpg", "sd/1_fake/leak.jpg"]],
    }


def test_every_failure_stands_with_its_reason(tmp_path):
    expected = make_awkward(tmp_path)
    failures = facts_of(tmp_path)["failures"]
    broken = {identity: reason for identity, reason in expected.items() if reason != OK}
    assert failures["count"] == len(broken)
    for failure in failures["examples"]:
        assert broken[failure["id"]] in failure["reason"]


def test_one_class_alone_has_no_shortcuts_and_says_what_is_undefined(tmp_path):
    put(tmp_path, "1_fake/a.png", encoded(photograph(8, 8), "PNG"))
    facts = facts_of(tmp_path)
    assert facts["shortcuts"] is None
    assert any("no real image" in note for note in facts["notes"])
    assert any("1 fake image(s) name no generator" in note for note in facts["notes"])
    assert not any("name no generator" in note for note in facts_of(tmp_path, "?generator=sd")["notes"])


def test_progress_is_told_for_every_image(pair):
    steps = []
    inspect_dataset(open_dataset(f"folders:{pair}"), advance=steps.append)
    assert steps == [1] * 7


def test_the_best_threshold_is_the_best_of_all():
    random = np.random.default_rng(0)
    for _ in range(20):
        value = random.integers(0, 8, 30).astype(float)
        fake = random.random(30) < 0.4
        fake[:2] = True, False
        tried = [balanced_accuracy_score(fake, value > threshold) for threshold in np.arange(-1, 9)]
        assert _best_threshold(value, fake) == pytest.approx(max(max(tried), 1 - min(tried)))


def test_the_best_assignment_is_the_best_of_all():
    values = ["png", "png", "jpg", "jpg", "jpg", "webp"]
    fake = np.array([True, True, True, False, False, False])
    # png: 2/3 of the fakes; jpg: 2/3 of the reals; webp: 1/3 of the reals. (2/3 + 2/3 + 1/3) / 2
    assert _best_assignment(values, fake) == pytest.approx(5 / 6)
