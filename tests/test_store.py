"""The run folder: logs that survive a torn end, one holder at a time, clear errors."""

import json
import subprocess
import sys
from contextlib import closing

import pytest

from fdr_bench.errors import RunError
from fdr_bench.store import Lock, Log, encode, read_rows, write_atomically

ODD_IDS = ['a"b', "back\\slash", 'end\\"', "ünï/ç ö.png", "tab\there", "0"]


def ids_of(path):
    with closing(Log(path)) as log:
        return log.ids


def test_a_log_gives_back_the_ids_that_were_written_whatever_characters_they_have(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    log.append([{"id": id, "score": 0.5} for id in ODD_IDS])
    log.close()
    assert ids_of(tmp_path / "log.jsonl") == ODD_IDS


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_torn_last_line_is_cut_off_and_whole_lines_stay(tmp_path, cut):
    path = tmp_path / "log.jsonl"
    whole = encode({"id": "a", "score": 0.25}) + encode({"id": "b", "score": 0.75})
    path.write_bytes(whole + encode({"id": "c", "reasoning": "a long text, torn somewhere"})[:cut])
    assert ids_of(path) == ["a", "b"]
    assert path.read_bytes() == whole


def test_a_log_torn_in_its_first_line_is_empty(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"id":"' + b"x" * 200_000)
    assert ids_of(path) == []
    assert path.read_bytes() == b""


def test_scores_keep_all_their_digits(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    score = 0.1 + 0.2
    log.append([{"id": "a", "score": score}])
    log.close()
    assert next(read_rows(log.path))["score"] == score


def test_a_log_changed_by_hand_is_refused(tmp_path):
    (tmp_path / "twice").write_bytes(encode({"id": "a"}) * 2)
    with pytest.raises(RunError, match="stands in it twice"):
        Log(tmp_path / "twice")
    (tmp_path / "other").write_bytes(b'{"score":1,"id":"a"}\n')
    with pytest.raises(RunError, match="line 1: damaged, or not a row of this program"):
        Log(tmp_path / "other")


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"id":"b\n',  # cut off within its id
        b'{"id":"b","sco\n',  # and behind it
        b'{"id":"b\\"}\n',  # the quote that would end the id is escaped
        b'{"id":"\\x","score":1}\n',
        b'{"id":"\xff","score":1}\n',
        b'{"id":"b","score"' + b"\0" * 40 + b"}\n",  # a block that the disk never got
        b"\n",
    ],
)
def test_a_line_damaged_in_the_middle_is_named_with_what_to_do_and_the_file_stays(tmp_path, damaged):
    path = tmp_path / "predictions.jsonl"
    content = encode({"id": "a"}) + damaged + encode({"id": "c"})
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"predictions\.jsonl, line 2: damaged.* remove this line and resume the run"):
        Log(path)
    assert path.read_bytes() == content


def test_rows_that_are_no_json_are_named_by_file_and_line(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(b'{"id":"a"}\nnonsense\n')
    with pytest.raises(RunError, match=r"rows\.jsonl, line 2: not JSON"):
        list(read_rows(tmp_path / "rows.jsonl"))


def test_rewriting_orders_and_filters_and_the_log_can_still_grow(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    log.append([{"id": "b", "error": "broken"}, {"id": "c"}, {"id": "a"}])
    log.rewrite(lambda row: "error" not in row, order=["a", "b", "c"])
    log.append([{"id": "d"}])
    log.close()
    assert [row["id"] for row in read_rows(log.path)] == ["a", "c", "d"]


def test_a_folder_in_use_is_refused_with_who_holds_it(tmp_path):
    hold = "import sys, time\nfrom pathlib import Path\nfrom fdr_bench.store import Lock\n"
    hold += f"lock = Lock(Path({str(tmp_path)!r}))\nprint('held', flush=True)\ntime.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f"in use by process {other.pid} on "):
            Lock(tmp_path)
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    with Lock(tmp_path):  # the kernel let go of it
        pass


def test_a_file_written_atomically_replaces_the_old_one_and_leaves_no_other(tmp_path):
    write_atomically(tmp_path / "a.json", b"1")
    write_atomically(tmp_path / "a.json", json.dumps({"b": 2}).encode())
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"b": 2}
