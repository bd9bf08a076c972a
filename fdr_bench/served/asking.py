"""Many requests at a time: a limit on them, tries with growing pauses, a budget, and a journal of what was answered."""

from __future__ import annotations

import heapq
import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

from fdr_bench.errors import RunStopped
from fdr_bench.journal import Journal
from fdr_bench.served.http import Trouble
from fdr_bench.served.limits import Limits

Row = Mapping[str, Any]
LONGEST_PAUSE = 60.0
LONGEST_WAIT = 600.0
"""Seconds beyond which a server's wish to wait is not followed to the letter."""


ENCODERS = 4
"""Threads that make images ready to be sent, so that no request under way waits for that."""


class Heard(Protocol):
    """One answer: what it took, and as a mapping all that is to be kept of it."""

    @property
    def tokens_in(self) -> int:
        """Tokens of the question."""

    @property
    def tokens_out(self) -> int:
        """Tokens of the answer."""

    def _asdict(self) -> dict[str, Any]: ...


class Question(NamedTuple):
    """One image (or text) to be asked about: what names its answer, what encodes it, and what sends that off."""

    key: str
    encode: Callable[[], str]
    ask: Callable[[str], Heard]


class _Job:
    def __init__(self, question: Question) -> None:
        self.question = question
        self.future: Future[Row | Trouble] = Future()
        self.encoded = ""
        self.requests = 0


class Asking:
    """Threads that ask; any thread may hand in questions. An answer comes once, however often it is asked for.

    The threads are daemons: a process that wants to end does not wait for a server.
    """

    def __init__(
        self, options: Limits, name: str, *, about: str = "images", again: str = "resume with --retry-failures"
    ) -> None:
        self._options, self._name, self._about, self._again = options, name, about, again
        self._journal: Journal | None = None
        self._condition = threading.Condition()
        self._waiting: list[tuple[float, int, _Job]] = []
        self._number = itertools.count()
        self._jobs: dict[str, _Job] = {}
        self._threads: list[threading.Thread] = []
        self._encoders = ThreadPoolExecutor(min(ENCODERS, os.cpu_count() or 1))
        self._under_way = self._answers = self._in_vain = 0
        self._spent = {"cost": 0.0, "tokens": 0.0, "requests": 0.0}
        self._pause_until = 0.0
        self._stopped: str | None = None
        self._closed = False

    def keep(self, journal: Journal) -> None:
        """Take over what a journal holds, and add further answers to it. What it took counts against the budget."""
        self._journal = journal
        for row in journal.rows():
            self._count(row["usage"])

    def ask(self, question: Question) -> Future[Row | Trouble]:
        """Return the answer's row, when it comes, or the last `Trouble` when all tries were in vain.

        The future raises `RunStopped` where no more is asked.
        """
        with self._condition:
            if self._journal is not None and (row := self._journal.get(question.key)) is not None:
                known: Future[Row | Trouble] = Future()
                known.set_result(row)
                return known
            if (job := self._jobs.get(question.key)) is not None:
                return job.future
            job = self._jobs[question.key] = _Job(question)
            if self._stopped is not None:
                self._settle(job, RunStopped(self._stopped))
                return job.future
            self._encoders.submit(self._encode, job)
            if len(self._threads) < min(self._options.concurrency, len(self._jobs)):
                self._threads.append(threading.Thread(target=self._work, name=f"asking-{self._name}", daemon=True))
                self._threads[-1].start()
            return job.future

    def close(self) -> None:
        """Ask nothing more; who waits for an answer is told that the run has stopped.

        Where this stopped by itself, answers under way, which cost, are waited for and kept.
        """
        with self._condition:
            if self._stopped is not None and not self._closed:
                self._condition.wait_for(lambda: not self._under_way, self._options.timeout)
            self._closed = True
            self._stopped = self._stopped or f"{self._name} was stopped"
            self._tell_all()
            self._condition.notify_all()
        self._encoders.shutdown(wait=False, cancel_futures=True)
        if self._journal is not None and not self._under_way:
            self._journal.close()
            self._journal = None

    # ---------------------------------------------------------------- in the threads

    def _encode(self, job: _Job) -> None:
        try:
            job.encoded = job.question.encode()
        except BaseException as error:  # whoever waits must hear of it, or would wait for ever
            with self._condition:
                self._settle(job, error)
            return
        with self._condition:
            if self._stopped is None:
                heapq.heappush(self._waiting, (0.0, next(self._number), job))
                self._condition.notify()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job.requests += 1
            try:
                outcome: Heard | Trouble = job.question.ask(job.encoded)
            except Trouble as trouble:
                outcome = trouble
            except BaseException as error:  # whoever waits must hear of it, or would wait for ever
                with self._condition:
                    self._under_way -= 1
                    self._settle(job, error)
                continue
            with self._condition:
                self._under_way -= 1
                if isinstance(outcome, Trouble):
                    self._failed(job, outcome)
                else:
                    self._answered(job, outcome)
                self._condition.notify_all()

    def _next(self) -> _Job | None:
        """Return the job whose turn it is, waiting for it; None when no more is asked."""
        with self._condition:
            while self._stopped is None:
                wait: float | None = None
                if self._waiting:
                    wait = max(self._waiting[0][0], self._pause_until) - time.monotonic()
                    if wait <= 0:
                        if self._may_spend():
                            self._under_way += 1
                            self._spent["requests"] += 1
                            return heapq.heappop(self._waiting)[2]
                        if not self._under_way:
                            self._stop(self._budget_spent())
                            break
                        wait = None
                self._condition.wait(wait)
            if not self._under_way:  # the last answer that was paid for has come
                self._tell_all()
            return None

    def _may_spend(self) -> bool:
        budget = self._options.budget
        if budget is None:
            return True
        spent = self._spent[budget.unit]
        if budget.unit == "requests":
            return spent + 1 <= budget.limit
        usual = spent / self._answers if self._answers else 0.0
        return spent + self._under_way * usual < budget.limit

    def _budget_spent(self) -> str:
        budget = self._options.budget
        assert budget is not None
        unit, digits = ("USD", 4) if budget.unit == "cost" else (budget.unit, 0)
        return (
            f"{self._name}: the budget of {budget.limit:,.{digits}f} {unit} is spent "
            f"({self._spent[budget.unit]:,.{digits}f} so far). What was answered is kept and is not asked again: "
            "resume with a larger --budget."
        )

    def _answered(self, job: _Job, heard: Heard) -> None:
        self._in_vain = 0
        used = {"requests": job.requests, "tokens_in": heard.tokens_in, "tokens_out": heard.tokens_out}
        price = self._options.price
        cost = {} if price is None else {"cost": (heard.tokens_in * price[0] + heard.tokens_out * price[1]) / 1e6}
        row = {**heard._asdict(), "usage": used | cost}
        del row["tokens_in"], row["tokens_out"]
        self._count({**row["usage"], "requests": 0})  # requests were counted as they went out
        if self._journal is not None:
            self._journal.add(job.question.key, {key: value for key, value in row.items() if value is not None})
        self._settle(job, row)
        budget = self._options.budget
        if budget is not None and budget.unit != "requests" and not heard.tokens_in + heard.tokens_out:
            self._stop(
                f"{self._name}: the server does not say how many tokens an answer took, so that no budget in "
                f"{'USD' if budget.unit == 'cost' else 'tokens'} can be kept; give one such as 1000requests."
            )

    def _count(self, used: Mapping[str, float]) -> None:
        self._answers += 1
        self._spent["cost"] += used.get("cost", 0.0)
        self._spent["tokens"] += used.get("tokens_in", 0) + used.get("tokens_out", 0)
        self._spent["requests"] += used.get("requests", 0)

    def _failed(self, job: _Job, trouble: Trouble) -> None:
        if trouble.fatal:
            self._stop(f"{self._name}: {trouble.reason}. What was answered is kept.")
            self._settle(job, RunStopped(self._stopped or ""))
            return
        if not trouble.again or job.requests >= self._options.tries or self._stopped is not None:
            self._in_vain = self._in_vain + 1 if trouble.again else 0
            self._settle(job, trouble)
            enough = max(8, self._options.concurrency) * (1 if trouble.kind == "unreachable" else 4)
            if self._in_vain >= enough:
                self._stop(
                    f"{self._name}: {self._in_vain} {self._about} in a row could not be asked about, the last for "
                    f"{trouble.kind} ({trouble.reason}). What was answered is kept: {self._again}."
                )
            return
        pause = min(LONGEST_PAUSE, self._options.backoff * 2.0 ** (job.requests - 1)) * random.uniform(0.5, 1.0)
        if trouble.after is not None:
            pause = max(pause, min(trouble.after, LONGEST_WAIT))
            self._pause_until = max(self._pause_until, time.monotonic() + min(trouble.after, LONGEST_WAIT))
        heapq.heappush(self._waiting, (time.monotonic() + pause, next(self._number), job))

    def _stop(self, why: str) -> None:
        self._stopped = self._stopped or why
        if not self._under_way:
            self._tell_all()
        self._condition.notify_all()

    def _tell_all(self) -> None:
        for job in list(self._jobs.values()):
            self._settle(job, RunStopped(self._stopped or "stopped"))
        self._waiting.clear()

    def _settle(self, job: _Job, outcome: Row | Trouble | BaseException) -> None:
        self._jobs.pop(job.question.key, None)
        if job.future.done():
            return
        if isinstance(outcome, Trouble) or not isinstance(outcome, BaseException):
            job.future.set_result(outcome)
        else:
            job.future.set_exception(outcome)
