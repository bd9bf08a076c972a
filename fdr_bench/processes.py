"""Work spread over processes, where there is enough of it to pay."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_processes(
    function: Callable[[Job], Result], jobs: Sequence[Job], *, chunk: int = 16, serial: int = 48
) -> Iterator[Result]:
    """Yield `function` of each job, in the jobs' order, computed in a process a core.

    Up to `serial` jobs are done in this process: starting others would take longer. So are all where there is one core,
    or where this process may have no children. Jobs travel `chunk` at a time; function, jobs and results are pickled.
    """
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if len(jobs) <= serial or workers == 1 or multiprocessing.current_process().daemon:
        yield from map(function, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(function, jobs, chunksize=chunk)
