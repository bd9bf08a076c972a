"""kill -9 at any moment, then resume: nothing lost, nothing twice, the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fdr_bench.store import read_rows
from tests.pictures import make_folders

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = f"{ROOT / 'tests' / 'brightness.py'}:Brightness"
DRIVER = """
import sys
from pathlib import Path
from fdr_bench import session
from fdr_bench.plan import Asked
from tests.test_runner import Quiet
if __name__ == "__main__":
    data, out, plugin, workers = sys.argv[1:]
    asked = Asked(models=(), data=(f"folders:{data}",), plugins=(plugin,), batch=8)
    session.run(asked, out=Path(out), workers=int(workers), progress=Quiet())
"""


def start(data, out, workers, seconds=0.003):
    environment = {**os.environ, "BRIGHTNESS_SECONDS_AN_IMAGE": str(seconds), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(data.parent / "driver.py"), str(data), str(out), PLUGIN, str(workers)]
    (data.parent / "driver.py").write_text(DRIVER)  # a file: spawned workers import the main module again
    return subprocess.Popen(words, cwd=ROOT, env={**environment, "PYTHONPATH": str(ROOT)})


def kill_until(kills, data, folder, reference, seed):
    """Kill runs at random moments, resuming each, until `kills` have struck; compare every finished run's bytes."""
    rng = random.Random(seed)
    struck = finished = 0
    while struck < kills:
        out = folder / f"run-{finished}"
        workers = 1 + finished % 2
        while not (out / "run.json").exists():
            process = start(data, out, workers)
            if struck < kills:
                time.sleep(rng.uniform(0.1, 2.5))
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                    struck += 1
            code = process.wait(timeout=120)
            assert code in (0, -signal.SIGKILL)
        (path,) = out.glob("brightness/*/predictions.jsonl")
        assert path.read_bytes() == reference
        finished += 1
    return finished


def reference_run(data, out):
    assert start(data, out, 1).wait(timeout=120) == 0
    (path,) = out.glob("brightness/*/predictions.jsonl")
    return path.read_bytes()


def test_a_killed_run_is_completed_to_the_same_bytes(tmp_path):
    data = make_folders(tmp_path / "pictures", n=15)
    reference = reference_run(data, tmp_path / "whole")
    assert len(reference.splitlines()) == 60
    assert kill_until(3, data, tmp_path, reference, seed=1) >= 1


@pytest.mark.slow
def test_a_hundred_random_kills_lose_nothing_and_double_nothing(tmp_path):
    data = make_folders(tmp_path / "pictures", n=75)
    reference = reference_run(data, tmp_path / "whole")
    ids = [row["id"] for row in read_rows(next((tmp_path / "whole").glob("brightness/*/predictions.jsonl")))]
    assert len(ids) == len(set(ids)) == 300
    finished = kill_until(100, data, tmp_path, reference, seed=2)
    print(f"100 kills over {finished} runs of 300 images")


def test_workers_end_with_a_killed_parent(tmp_path):
    data = make_folders(tmp_path / "pictures", n=75)
    process = start(data, tmp_path / "run", 2, seconds=0.1)  # a quarter of a minute: it must not be over when killed
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.time() + 60
    answers = "brightness/*/predictions.jsonl"  # the file is there before the workers are, and empty
    while not any(path.stat().st_size for path in (tmp_path / "run").glob(answers)):
        assert process.poll() is None and time.time() < deadline
        time.sleep(0.05)
    pids = children.read_text().split()
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=10)
    assert len(pids) >= 2
    deadline = time.time() + 60
    while any(_alive(pid) for pid in pids) and time.time() < deadline:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in pids)


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
