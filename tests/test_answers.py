"""Damaged, hostile and unordered rows, and sets in which files are shared."""

import json

import numpy as np
import pytest

from fdr_bench.answers import contents, read_answers, read_labels
from fdr_bench.errors import RunError
from fdr_bench.scoring import score_run
from tests.runs import digest, make_run, read_lines, write_lines

SET = "fdr-scenes-test"
MODEL = "npr@scenes"
GOOD = '{"id": "a", "key": "k", "image": "i", "score": 0.5}'


def predictions_of(run):
    return run / MODEL / SET / "predictions.jsonl"


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run", 20, (MODEL,), failures=0.0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("not JSON at all", "not JSON"),
        ('{"id": "0_real/0000004.png", "score": 0.5', "not JSON"),
        ("[1, 2]", "not an object"),
        ('{"id": "0_real/0000004.png", "score": NaN}', "score is nan, outside"),
        ('{"id": "0_real/0000004.png", "score": Infinity}', "score is inf, outside"),
        ('{"id": "0_real/0000004.png", "score": 1.0000001}', "score is 1.0000001, outside"),
        ('{"id": "0_real/0000004.png", "score": -0.1}', "score is -0.1, outside"),
        ('{"id": "0_real/0000004.png", "score": "0.5"}', "score is '0.5', not a number"),
        ('{"id": "0_real/0000004.png", "score": true}', "score is True, not a number"),
        ('{"id": "0_real/0000004.png", "verdict": "maybe"}', "verdict is 'maybe', expected"),
        ('{"id": "0_real/0000004.png", "verdict": ["fake"]}', r"verdict is \['fake'\], expected"),
        ('{"id": "0_real/0000004.png", "error": 3}', "error is 3, not a text"),
        ('{"id": "elsewhere.png", "score": 0.5}', "id 'elsewhere.png' is no sample of this set"),
        ('{"id": "0_real/0000000.png", "score": 0.5}', "id '0_real/0000000.png' stands on an earlier line"),
        ('{"score": 0.5}', "id is None, not a text"),
        ('{"id": 7, "score": 0.5}', "id is 7, not a text"),
    ],
)
def test_a_damaged_prediction_is_named_by_file_and_line(run, line, reason):
    path = predictions_of(run)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], line, *lines[3:]]) + "\n")
    with pytest.raises(RunError, match=f"predictions.jsonl, line 3: {reason}"):
        score_run(run, resamples=0)


def test_bytes_that_are_no_text_are_named_by_line(run):
    path = predictions_of(run)
    path.write_bytes(path.read_bytes().replace(b'"id": "0_real/0000002', b'"id": "\xff\xfe', 1))
    with pytest.raises(RunError, match="line 2: not JSON"):
        score_run(run, resamples=0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"label": "FAKE"}, "label is 'FAKE', expected 'real' or 'fake'"),
        ({"label": None}, "label is None"),
        ({"generator": 5}, "generator is 5, not a text or null"),
        ({"id": "0_real/0000000.png"}, "id '0_real/0000000.png' stands on an earlier line too"),
    ],
)
def test_a_damaged_sample_is_named_by_file_and_line(run, change, reason):
    path = run / "datasets" / SET / "samples.jsonl"
    samples = read_lines(path)
    samples[4] |= change
    write_lines(path, samples)
    with pytest.raises(RunError, match=f"samples.jsonl, line 5: {reason}"):
        score_run(run, resamples=0)


def test_missing_samples_are_an_error_that_says_what_to_do(run):
    (run / "datasets" / SET / "samples.jsonl").unlink()
    with pytest.raises(RunError, match="Resume the run"):
        score_run(run, resamples=0)


def test_a_last_line_that_was_cut_off_is_an_error_once_the_run_is_finished(run):
    path = predictions_of(run)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(RunError, match="line 20: not JSON"):
        score_run(run, resamples=0)


def test_the_order_of_rows_and_blank_lines_do_not_matter(run):
    before = score_run(run, resamples=20)
    path = predictions_of(run)
    path.write_text("\n\n".join(reversed(path.read_text().splitlines())) + "\n")
    assert score_run(run, resamples=20) == before


def test_lines_longer_than_any_block_are_read(run):
    before = score_run(run, resamples=0)
    path = predictions_of(run)
    answers = read_lines(path)
    answers[3]["raw"] = "x" * 10_000_000
    write_lines(path, answers)
    assert score_run(run, resamples=0) == before


def test_scores_are_read_to_the_last_bit(run):
    path = predictions_of(run)
    answers, draws = read_lines(path), np.random.default_rng(0)
    for row in answers:
        row["score"] = float(draws.random() ** 9)
    answers[0]["score"], answers[1]["score"], answers[2]["score"] = 0, 1, 5e-324
    write_lines(path, answers)
    labels = read_labels(run / "datasets" / SET / "samples.jsonl")
    found, _ = read_answers(path, labels.ids, finished=True)
    assert found.score.tolist() == [row["score"] for row in answers]


def test_models_that_saw_different_bytes_are_refused(tmp_path):
    run = make_run(tmp_path / "run", 20, ("cnndetection@scenes", MODEL), failures=0.0)
    answers = read_lines(predictions_of(run))
    answers[6]["image"] = digest("another file")
    write_lines(predictions_of(run), answers)
    with pytest.raises(RunError, match="npr@scenes saw other bytes of the image on line 7"):
        score_run(run, resamples=0)


def test_files_with_the_same_bytes_share_a_number_and_unknown_ones_do_not():
    pa = pytest.importorskip("pyarrow")
    one, two = pa.array(["x", None, "y", "x", None], pa.string()), pa.array([None, "y", "y", None, None], pa.string())
    numbers = contents({"one": one, "two": two}, 5)
    assert numbers[0] == numbers[3] and numbers[1] == numbers[2] and len(set(numbers.tolist())) == 3


def test_a_set_of_copies_has_the_intervals_of_its_originals(tmp_path):
    """Every image four times: four times the n, but no more is known."""
    run = make_run(tmp_path / "run", 60, (MODEL,), failures=0.0)
    plain = {(s.slice, s.metric): s for s in score_run(run, resamples=400)}
    samples, answers = run / "datasets" / SET / "samples.jsonl", predictions_of(run)
    for path in (samples, answers):
        copies = [row | {"id": f"{row['id']}-{copy}"} for row in read_lines(path) for copy in range(4)]
        write_lines(path, copies)
    for score in score_run(run, resamples=400):
        original = plain[score.slice, score.metric]
        if score.slice != "macro" and score.metric in ("acc", "auroc", "real_acc", "brier"):
            assert score.n == 4 * original.n and score.value == pytest.approx(original.value)
            assert score.interval[:2] == pytest.approx(original.interval[:2], abs=0.05)


def test_an_empty_set_is_undefined_with_a_reason(run):
    (run / "datasets" / SET / "samples.jsonl").write_text("")
    predictions_of(run).write_text("")
    scores = {score.metric: score for score in score_run(run)}
    assert scores["acc"].reason == "no images in this slice"
    assert json.loads((run / "scores.json").read_bytes())["scores"][0]["n"] == 0
