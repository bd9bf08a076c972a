"""Work is spread over processes without the user's script knowing, and a killed one is told of."""

import os
import signal
import subprocess
import sys
from functools import partial

import pytest

from fdr_bench.errors import RunError
from fdr_bench.processes import in_processes

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shifted(by: int, number: int) -> tuple[int, int]:
    return number + by, os.getpid()


def killed_at(last: int, number: int) -> int:
    if number == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_results_come_in_the_jobs_order_from_other_processes_where_there_are_enough_of_them():
    few = list(in_processes(partial(shifted, 5), range(20), serial=20))
    assert few == [(number + 5, os.getpid()) for number in range(20)]
    many = list(in_processes(partial(shifted, 5), range(400), chunk=10, serial=20))
    assert [number for number, _ in many] == [number + 5 for number in range(400)]
    if CORES > 1:
        assert os.getpid() not in {process for _, process in many}


@pytest.mark.skipif(CORES < 2, reason="one core: nothing is spread")
def test_a_killed_process_is_an_error_and_not_an_endless_wait():
    with pytest.raises(RunError, match="was killed, most often because memory ran out"):
        list(in_processes(partial(killed_at, 60), range(100), chunk=10, serial=20))
    assert list(in_processes(partial(killed_at, -1), range(100), serial=20)) == list(range(100))


def test_a_script_without_a_main_guard_renders_scenes(tmp_path):
    script = tmp_path / "first.py"
    script.write_text(
        "from fdr_bench.data import open_dataset\nprint(len(open_dataset('scenes:train?n=60&size=32').samples))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"FDR_BENCH_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout.strip(), done.returncode) == ("60", 0), done.stderr
