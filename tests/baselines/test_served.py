"""A served model against a real server that misbehaves: every image answered or failed by its kind, none twice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fdr_bench import session
from fdr_bench.engines.local import AHEAD
from fdr_bench.errors import RunStopped
from fdr_bench.plan import Asked
from fdr_bench.store import read_json, read_rows
from tests.served_server import WAYS, Misbehaving, numbered_folders, usual
from tests.test_runner import Quiet

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-secret-0123456789abcdef"
KINDS = {"429": "rate limited", "500": "server error", "slow": "timeout", "cut": "connection cut"}
KINDS |= {"malformed": "malformed answer"}
USUAL = {"concurrency": "32", "timeout": "1.2", "tries": "3", "backoff": "0.01"}
DRIVER = """
import sys
from pathlib import Path
from fdr_bench import session
from fdr_bench.plan import Asked
from tests.test_runner import Quiet
data, out, url = sys.argv[1:]
options = {"base-url": url, "concurrency": "16", "timeout": "60"}
asked = Asked(models=("openai:m",), data=(f"folders:{data}",), options=options, batch=32)
session.run(asked, out=Path(out), workers=2, progress=Quiet())
"""


def way_of(number: int, attempt: int) -> str | None:
    """Of twenty images, six fail, each in its way; half of these whenever they are asked for, half only at first."""
    if number % 20 >= len(WAYS):
        return None
    always = (number // 20) % 2 == 1
    return WAYS[number % 20] if always or attempt == 1 else None


def run(data: Path, out: Path, url: str, *, models: tuple[str, ...] = ("openai:m",), batch: int = 32, **options: str):
    said = {**USUAL, "base-url": url, **{name.replace("_", "-"): value for name, value in options.items()}}
    asked = Asked(models=models, data=(f"folders:{data}",), options=said, batch=batch)
    return session.run(asked, out=out, workers=2, progress=Quiet())


def rows_by_number(out: Path, label: str = "openai-m@reasoned") -> dict[int, dict]:
    (path,) = (out / label).glob("*/predictions.jsonl")
    rows = list(read_rows(path))
    found = {int(re.search(r"(\d{4})\.png", row["id"])[1]): row for row in rows}
    assert len(found) == len(rows)
    return found


def journal_numbers(out: Path) -> list[int]:
    path = out / "openai-m@reasoned" / "answers.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    whole = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return [int(re.search(r"Number (\d+)", row["text"])[1]) for row in whole]


def test_of_500_images_each_has_one_answer_or_one_failure_of_its_kind(tmp_path):
    data = numbered_folders(tmp_path / "data", 500)
    server = Misbehaving(way_of)
    with server.running() as url:
        finished = run(data, tmp_path / "run", url, batch=128)
    rows = rows_by_number(tmp_path / "run")
    assert sorted(rows) == list(range(500))
    for number, row in rows.items():
        way = way_of(number, attempt=3)
        if way in KINDS:
            assert row["error"].startswith(f"{KINDS[way]}: "), (number, row)
            assert server.attempts[number] == 3  # no try too many
        elif way_of(number, attempt=1) == "refusal":  # it is an answer, so it is not asked for again
            assert (row["problem"], row.get("verdict"), row.get("score")) == ("refused", None, None)
            assert server.attempts[number] == 1
        else:
            assert row["verdict"] == ("fake" if number % 2 == 0 else "real")
            assert row["score"] == pytest.approx(0.9 if number % 2 == 0 else 0.2)
            assert (row["score_source"], row["reasoning"]) == ("label-logprobs", f"Number {number}.")
            assert server.answered[number] == 1
    # 25 of 500 images in each of six ways; 12 blocks of twenty out of 25 fail whenever they are asked for.
    assert list(finished.manifest["failures"].values()) == [5 * 12]
    assert list(finished.manifest["problems"].values()) == [{"refused": 25}]
    used = finished.manifest["models"]["openai-m@reasoned"]["usage"]
    assert used["answers"] == 500 - 60
    assert used["tokens_in"] == 440 * 100
    # Answered at the first try: all but the five ways' 13 images that fail once.
    assert used["requests"] == 440 + 5 * 13


def test_failures_can_be_tried_again_without_asking_for_what_is_there(tmp_path):
    data = numbered_folders(tmp_path / "data", 40)
    server = Misbehaving(way_of)
    with server.running() as url:
        run(data, tmp_path / "run", url, tries="2")
        server.way, before = (lambda number, attempt: None), server.answered.copy()
        session.resume(tmp_path / "run", workers=1, progress=Quiet(), retry_failures=True)
    again = server.answered - before
    assert set(again) == {number for number in range(20, 25)}
    assert not any("error" in row for row in rows_by_number(tmp_path / "run").values())


def test_a_run_killed_in_the_middle_asks_again_for_nothing_that_it_has(tmp_path):
    data = numbered_folders(tmp_path / "data", 300)
    (tmp_path / "driver.py").write_text(DRIVER)
    in_order = [*range(1, 300, 2), *range(0, 300, 2)]  # the reals stand before the fakes
    held = set(in_order[5::32])  # one of each batch, so that none is complete when the run is killed
    server = Misbehaving(lambda number, attempt: "hold" if number in held else None)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with server.running() as url:
        words = [sys.executable, str(tmp_path / "driver.py"), str(data), str(tmp_path / "run"), url]
        process = subprocess.Popen(words, cwd=ROOT, env=environment)
        deadline = time.time() + 60
        while len(kept := journal_numbers(tmp_path / "run")) < AHEAD * 31 and time.time() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
        first = server.answered.copy()
        server.answered.clear()
        server.way = lambda number, attempt: None
        assert subprocess.run(words, cwd=ROOT, env=environment, timeout=60, check=False).returncode == 0
    assert sorted(kept) == sorted(first) == sorted(set(in_order[: AHEAD * 32]) - held)
    assert set(first.values()) == {1}
    assert sorted(server.answered) == sorted(set(range(300)) - set(kept))
    assert set(server.answered.values()) == {1}
    rows = rows_by_number(tmp_path / "run")
    assert {number for number, row in rows.items() if row.get("verdict")} == set(range(300))


@pytest.mark.parametrize("limit", [1, 5, 24])
def test_as_many_requests_are_under_way_as_the_limit_says_and_never_more(tmp_path, limit):
    data = numbered_folders(tmp_path / "data", 4 * limit)
    server = Misbehaving()
    server.gate = threading.Barrier(limit)  # nobody is answered before so many ask
    with server.running() as url:
        finished = run(data, tmp_path / "run", url, concurrency=str(limit), timeout="60")
    assert server.most_under_way == limit
    assert list(finished.manifest["failures"].values()) == [0]


@pytest.mark.parametrize(
    ("budget", "answers", "spent"),
    [("40requests", 40, "40 requests"), ("4400tokens", 40, "4,400 tokens"), ("0.01USD", 40, "0.0100 USD")],
)
def test_a_budget_stops_the_run_and_a_larger_one_resumes_it(tmp_path, budget, answers, spent):
    data = numbered_folders(tmp_path / "data", 96)
    server = Misbehaving(delay=0.01)
    price = "1.5,10"  # 100 tokens in and 10 out: 0.00025 USD an answer, so 40 for a cent
    with server.running() as url:
        with pytest.raises(RunStopped, match=f"the budget of {re.escape(spent)} is spent.*larger --budget"):
            run(data, tmp_path / "run", url, budget=budget, price=price, concurrency="1")
        assert sum(server.answered.values()) == len(journal_numbers(tmp_path / "run")) == answers
        assert not (tmp_path / "run" / "run.json").exists()
        with pytest.raises(RunStopped):  # the same again asks for nothing
            session.resume(tmp_path / "run", workers=1, progress=Quiet())
        assert sum(server.answered.values()) == answers
        finished = session.resume(
            tmp_path / "run", workers=1, progress=Quiet(), options={"budget": "1USD", "concurrency": "8"}
        )
    assert set(server.answered.values()) == {1}
    used = finished.manifest["models"]["openai-m@reasoned"]["usage"]
    assert (used["answers"], used["requests"], used["tokens_in"], used["tokens_out"]) == (96, 96, 9600, 960)
    assert used["cost"] == pytest.approx(96 * 0.00025)


def test_a_budget_with_many_under_way_is_exceeded_by_no_request(tmp_path):
    data = numbered_folders(tmp_path / "data", 96)
    server = Misbehaving(delay=0.02)
    with server.running() as url, pytest.raises(RunStopped):
        run(data, tmp_path / "run", url, budget="50requests", concurrency="16")
    assert sum(server.attempts.values()) == 50
    assert len(journal_numbers(tmp_path / "run")) == 50  # what was paid for is kept


def test_a_budget_of_tokens_that_the_server_does_not_count_stops_with_the_answer_kept(tmp_path):
    data = numbered_folders(tmp_path / "data", 8)
    server = Misbehaving(answer=lambda number: {**usual(number), "usage": None})
    with server.running() as url, pytest.raises(RunStopped, match=r"no budget in tokens can be kept(.|\n)*resume"):
        run(data, tmp_path / "run", url, budget="1000tokens", concurrency="1")
    assert sum(server.attempts.values()) == len(journal_numbers(tmp_path / "run")) == 1


def test_an_interrupted_run_ends_at_once_and_keeps_what_came(tmp_path):
    data = numbered_folders(tmp_path / "data", 40)
    server = Misbehaving(lambda number, attempt: "hold" if number % 4 else None)
    words = [sys.executable, "-m", "fdr_bench", "run", "--models", "openai:m", "--data", f"folders:{data}"]
    with server.running() as url:
        words += ["--base-url", url, "--out", str(tmp_path / "run"), "--concurrency", "40"]
        process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        deadline = time.time() + 60
        while len(journal_numbers(tmp_path / "run")) < 10 and time.time() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=15)  # thirty requests are held for much longer
    assert process.returncode == 130
    assert "What is done is kept" in said
    assert sorted(journal_numbers(tmp_path / "run")) == list(range(0, 40, 4))


def test_the_key_is_sent_and_stands_in_no_file_and_no_message(tmp_path, monkeypatch):
    monkeypatch.setenv("FDR_BENCH_API_KEY", KEY)
    data = numbered_folders(tmp_path / "data", 12)
    server = Misbehaving(answer=lambda number: {"error": f"your key {KEY} is odd", "choices": []})
    with server.running() as url:
        finished = run(data, tmp_path / "run", url, tries="1")
        server.respond = lambda request: (401, {}, {"error": {"message": f"Incorrect API key provided: {KEY}."}})
        with pytest.raises(RunStopped, match="the key in FDR_BENCH_API_KEY is not accepted") as caught:
            run(data, tmp_path / "other", url)
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    assert list(finished.manifest["failures"].values()) == [12]
    assert KEY not in str(caught.value)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert (tmp_path / "run" / "run.json") in files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_polarities_and_repeats_are_models_of_their_own(tmp_path):
    data = numbered_folders(tmp_path / "data", 4)
    server = Misbehaving()
    models = ("openai:m@verdict", "openai:m@verdict:fake-first")
    with server.running() as url:
        finished = run(data, tmp_path / "run", url, models=models, repeats="2", temperature="0.2")
    assert sorted(finished.manifest["models"]) == [
        "openai-m@verdict",
        "openai-m@verdict:fake-first",
        "openai-m@verdict:fake-first.2",
        "openai-m@verdict:real-first.2",
    ]
    assert set(server.attempts.values()) == {4}
    assert {(request["seed"], request["temperature"]) for request in server.requests} == {(1, 0.2), (2, 0.2)}
    texts = {request["messages"][-1]["content"][1]["text"].split("?")[0] for request in server.requests}
    assert texts == {"Is this image real or fake", "Is this image fake or real"}
    hashes = {each["settings"]["prompt_sha256"] for each in finished.manifest["models"].values()}
    assert len(hashes) == 2
    assert read_json(tmp_path / "run" / "run.json")["spec"]["asked"]["options"]["repeats"] == "2"
