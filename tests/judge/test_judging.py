"""Judging a run against a real server on loopback: what is asked, kept, scored, and what becomes of failures."""

from __future__ import annotations

import json
import re
import threading

import pytest
from click.testing import CliRunner

from fdr_bench.cli import cli
from fdr_bench.errors import RunError, RunStopped
from fdr_bench.judge import rubrics
from fdr_bench.judge.judging import judge_run
from fdr_bench.judge.options import read_judge
from fdr_bench.scoring import score_run
from fdr_bench.store import read_json, read_rows, read_scores
from fdr_bench.terminal import Bars
from tests.runs import read_lines, write_lines
from tests.scene_texts import MODEL, SET, StubEncoder, make_reasoning_run
from tests.served_server import Misbehaving, completion

N = 24
KEY = "sk-a-key-that-nobody-may-see"
CORRECTNESS = "judge_correctness@reference.v1+m"


@pytest.fixture(autouse=True)
def stub_encoder(monkeypatch):
    monkeypatch.setattr("fdr_bench.metrics.sentences.minilm", StubEncoder)


def say(number, told):
    """Every sample says which it is; the first has no text, and the second one without an answer beside it."""
    if number == 0:
        return {"reasoning": None}
    if number == 1:
        return {"reasoning": "Sample 1.", "score": None, "verdict": None}
    return {"reasoning": f"Sample {number}."}


def marks(correctness: int) -> str:
    return json.dumps({"correctness": correctness, "completeness": 1, "specificity": 5})


class Marking(Misbehaving):
    """Marks the text of sample k with 1 + k % 5, unless `other` has another answer for it."""

    def __init__(self, other=lambda number: None) -> None:
        super().__init__()
        self.asked: list[int] = []
        self.seen = threading.Lock()

        def respond(request):
            number = int(re.search(r"Explanation: \"Sample (\d+)\.", request["messages"][-1]["content"])[1])
            with self.seen:
                self.asked.append(number)
            return other(number) or (200, {}, completion(marks(1 + number % 5)))

        self.respond = respond


def judge(url: str, rubric: str = "reference", **said: str):
    options = {"base-url": url, "backoff": "0", "tries": "2", **said}
    return read_judge("m", rubrics.load(rubric), options)


def judged(run, server, rubric: str = "reference", *, limit: int | None = None, **said: str):
    with server.running() as url, Bars() as bars:
        return judge_run(run, judge(url, rubric, **said), progress=bars, limit=limit)


def all_scores(run, **settings):
    return {
        score.metric: score
        for score in score_run(run, resamples=0, **settings)
        if score.slice == "all" and score.model == MODEL
    }


@pytest.fixture
def run(tmp_path):
    return make_reasoning_run(tmp_path / "run", N, say=say)[0]


def test_every_text_is_asked_about_once_with_its_reference_and_scored(run):
    server = Marking()
    done = judged(run, server)
    assert sorted(server.asked) == list(range(2, N))
    references = {row["reasoning"] for row in read_lines(run / "datasets" / SET / "samples.jsonl")}
    for request in server.requests:
        quoted = re.search(r"^Reference: (.*)$", request["messages"][-1]["content"], re.MULTILINE)[1]
        assert json.loads(quoted) in references
    (cell,) = done.cells
    assert (cell["texts"], cell["marked"], cell["no_text"], cell["missing"]) == (N - 2, N - 2, 2, {})
    scores = all_scores(run)
    # A mark m counts (m - 1) / 4, and that of sample k is 1 + k % 5.
    values = [(number % 5) / 4 for number in range(2, N)]
    official, strict = scores[CORRECTNESS], scores[f"{CORRECTNESS}@strict"]
    assert official.value == pytest.approx(sum(values) / len(values))
    assert (official.n, official.n_missing) == (N - 2, 2)
    assert strict.value == pytest.approx(sum(values) / N)  # no text to be marked counts as the lowest
    assert strict.n == N
    assert scores["judge_completeness@reference.v1+m"].value == 0
    assert scores["judge_specificity@reference.v1+m"].value == 1


def test_failures_are_missing_with_their_reason_and_never_replaced(run):
    answers = {
        4: (200, {}, completion("I'd say four.")),
        5: (200, {}, completion(marks(9))),
        6: (200, {}, completion('{"correctness": 4', finish_reason="length")),
        7: (200, {}, completion("", finish_reason="content_filter")),
        8: (500, {}, "oops"),
        9: (200, {}, "{"),
    }
    done = judged(run, Marking(answers.get))
    assert done.cells[0]["missing"] == {
        "malformed answer": 1, "off-format": 2, "refused": 1, "server error": 1, "truncated": 1,
    }  # fmt: skip
    rows = {row["id"]: row for row in read_rows(done.folder / MODEL / f"{SET}.jsonl")}
    ids = [row["id"] for row in read_lines(run / "datasets" / SET / "samples.jsonl")]
    assert rows[ids[5]]["reason"] == "correctness is 9, not a whole number from 1 to 5"
    assert "marks" not in rows[ids[4]]
    kept = [number for number in range(2, N) if number not in answers]
    scores = all_scores(run)
    assert scores[CORRECTNESS].value == pytest.approx(sum((number % 5) / 4 for number in kept) / len(kept))
    assert (scores[CORRECTNESS].n, scores[CORRECTNESS].n_missing) == (len(kept), N - len(kept))
    strict = scores[f"{CORRECTNESS}@strict"]  # the two without a text count, what the judge failed at does not
    assert (strict.n, strict.n_missing) == (len(kept) + 2, N - len(kept))


def test_no_answer_is_asked_for_twice_and_what_failed_is_asked_again(run):
    judged(run, Marking(lambda number: (500, {}, "oops") if number == 8 else None))
    again = Marking()
    done = judged(run, again)
    assert again.asked == [8]
    assert done.cells[0]["missing"] == {}
    third = Marking()
    judged(run, third)
    assert third.asked == []
    answers = list(read_rows(done.folder / "answers.jsonl"))
    assert len(answers) == N - 2
    assert {answer["text"] for answer in answers} <= {marks(number) for number in range(1, 6)}
    assert done.usage == {"answers": N - 2, "requests": N - 2, "tokens_in": 100 * (N - 2), "tokens_out": 10 * (N - 2)}


def test_a_budget_stops_and_the_same_command_goes_on(run):
    first, second = Marking(), Marking()
    with pytest.raises(RunStopped, match="the same command goes on from there"):
        judged(run, first, budget="7requests", concurrency="2")
    assert len(first.asked) == 7
    assert all_scores(run)[CORRECTNESS].n == 7  # what was answered counts
    judged(run, second)
    assert sorted(first.asked + second.asked) == list(range(2, N))
    assert all_scores(run)[CORRECTNESS].n == N - 2


def test_marks_of_another_text_than_the_present_one_do_not_count(run):
    judged(run, Marking())
    path = run / MODEL / SET / "predictions.jsonl"
    rows = read_lines(path)
    rows[3]["reasoning"] = "Sample 30."
    write_lines(path, rows)
    assert all_scores(run)[CORRECTNESS].n == N - 3
    again = Marking()
    judged(run, again)
    assert again.asked == [30]


def test_the_record_has_model_rubric_and_hash_and_another_judge_of_its_name_is_refused(run):
    done = judged(run, Marking())
    record = read_json(done.folder / "judge.json")
    reference = rubrics.shipped()["reference"]
    assert (record["model"], record["rubric_sha256"]) == ("m", reference.sha256)
    assert rubrics.checked(record["rubric"], "record") == reference  # the rubric, word for word
    with pytest.raises(RunError, match=r"another judge of this name \(differing: temperature\)"):
        judged(run, Marking(), temperature="0.5")
    assert judged(run, Marking(), rubric="standalone").folder != done.folder


def test_a_limit_takes_the_same_samples_and_the_rest_is_missing(run):
    server = Marking()
    done = judged(run, server, limit=10)
    (cell,) = done.cells
    assert (cell["texts"] + cell["no_text"], cell["left_out"]) == (10, N - 10)
    assert len(server.asked) == cell["texts"]
    scores = all_scores(run)
    assert scores[CORRECTNESS].n == cell["texts"]
    assert scores[f"{CORRECTNESS}@strict"].n == 10  # missing texts beyond the limit are not held against the model


def test_nothing_to_judge_says_why(tmp_path):
    run, _ = make_reasoning_run(tmp_path / "run", N, say=say)
    path = run / "datasets" / SET / "samples.jsonl"
    write_lines(path, [{k: v for k, v in row.items() if k != "reasoning"} for row in read_lines(path)])
    with pytest.raises(RunError, match="try --rubric standalone"):
        judged(run, Marking())
    (cell,) = judged(run, Marking(), rubric="standalone").cells
    assert (cell["texts"], cell["missing"]) == (N - 2, {"off-format": N - 2})  # marked by the other rubric's criteria


def test_a_run_without_any_reasoning_is_not_told_to_take_another_rubric(tmp_path):
    run, _ = make_reasoning_run(tmp_path / "run", N, say=lambda number, told: {"reasoning": None}, reasons=[MODEL])
    server = Marking()
    with server.running() as url, Bars() as bars, pytest.raises(RunError, match="none of the models gave reasoning"):
        judge_run(run, judge(url), progress=bars, models=[MODEL])
    assert server.asked == []


def test_an_empty_text_beside_an_answer_counts_as_the_lowest_like_none_at_all(tmp_path):
    def blank(number, told):
        return {"reasoning": "  "} if number == 2 else say(number, told)

    run, _ = make_reasoning_run(tmp_path / "run", N, say=blank)
    server = Marking()
    (cell,) = judged(run, server).cells
    assert (cell["texts"], cell["no_text"]) == (N - 3, 3) and 2 not in server.asked
    scores = all_scores(run)
    strict = scores[f"{CORRECTNESS}@strict"]
    assert (scores[CORRECTNESS].n, strict.n) == (N - 3, N)
    assert strict.value == pytest.approx(sum((number % 5) / 4 for number in range(3, N)) / N)


def test_a_damaged_mark_is_an_error_and_no_number(run):
    done = judged(run, Marking())
    path = done.folder / MODEL / f"{SET}.jsonl"
    rows = [{**row, "marks": {"correctness": 99}} if "marks" in row else row for row in read_rows(path)]
    write_lines(path, rows)
    with pytest.raises(RunError, match="has no mark for correctness on the rubric's scale"):
        score_run(run, resamples=0)


def test_the_command_writes_scores_and_board_and_no_file_has_the_key(run, monkeypatch):
    monkeypatch.setenv("FDR_BENCH_API_KEY", KEY)
    score_run(run, resamples=100, seed=3)
    server = Marking(lambda number: (200, {}, completion(f"No. {KEY}")) if number == 4 else None)
    with server.running() as url:
        words = ["judge", str(run), "--base-url", url, "--model", "m", "--option", "backoff=0"]
        said = CliRunner().invoke(cli, words, catch_exceptions=False, standalone_mode=False)
    assert said.return_value == 0
    assert "1 off-format" in said.output and "reference.v1+m" in said.output
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    (score,) = (row for row in read_scores(run) if row["metric"] == CORRECTNESS and row["slice"] == "all")
    assert score["interval"]["low"] < score["value"] < score["interval"]["high"]
    assert read_json(run / "scores.json")["settings"]["seed"] == 3  # as it was scored before
    page = (run / "index.html").read_text(encoding="utf-8")
    assert "Correctness (judge)" in page and "by the judge reference.v1+m" in page
    for path in run.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path


def test_a_run_scored_with_a_validation_run_is_left_as_it_is(run, tmp_path):
    other, _ = make_reasoning_run(tmp_path / "validation", N, say=say)
    score_run(run, resamples=0, validation=other)
    before = (run / "scores.json").read_bytes()
    server = Marking()
    with server.running() as url:
        words = ["judge", str(run), "--base-url", url, "--model", "m", "--json"]
        said = CliRunner().invoke(cli, words, catch_exceptions=False, standalone_mode=False)
    assert (run / "scores.json").read_bytes() == before
    assert "made with a validation run" in said.output
