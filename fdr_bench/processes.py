"""Work spread over processes, where there is enough of it to pay."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from fdr_bench.errors import RunError

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_processes(
    function: Callable[[Job], Result], jobs: Sequence[Job], *, chunk: int = 16, serial: int = 48
) -> Iterator[Result]:
    """Yield `function` of each job, in the jobs' order, computed in a process a core.

    Up to `serial` jobs are done in this process: starting others would take longer. So are all where there is one core,
    or where this process may have no children. Jobs travel `chunk` at a time; function, jobs and results are pickled.
    The processes do not run the user's script again, as those of `multiprocessing` would, so that it needs no
    `if __name__ == "__main__"`. Raises `RunError` where one of them is killed.
    """
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if len(jobs) <= serial or workers == 1 or multiprocessing.current_process().daemon:
        yield from map(function, jobs)
        return
    from joblib import Parallel, delayed

    pool = Parallel(n_jobs=workers, backend="loky", batch_size=chunk, return_as="generator")
    try:
        yield from pool(delayed(function)(job) for job in jobs)
    except BrokenProcessPool as error:
        raise RunError(
            f"one of {workers} processes that shared the work was killed, most often because memory ran out: {error}. "
            "Run the same command again, with less running beside it"
        ) from error
