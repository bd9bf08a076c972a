"""Execute batches on this machine: in this process, or in several that each hold all the models.

A worker decodes a batch once and shows it to every model that lacks it, so images and tensors never cross processes.
Several single-threaded workers beat one multi-threaded forward at the sizes where decoding matters.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fdr_bench import families, plugins
from fdr_bench.engines import Model, Outcome, Seen, Task
from fdr_bench.engines.shared import SharedWork
from fdr_bench.errors import FDRBenchError, ImageError, RunError, RunStopped
from fdr_bench.families import Failure, KeepsAnswers
from fdr_bench.images import decode
from fdr_bench.types import DecodedImage, Detector, ImageFile, Prediction

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

    from PIL.Image import Image

PIXELS_AT_ONCE = 48_000_000
"""Decoded pixels that a batch may hold at a time (144 MB); a single larger image is held alone."""


def load(model: Model) -> Detector:
    """Load one detector as its model says."""
    as_file = ".py:" in model.target
    factory = plugins.load_file(model.target) if as_file else families.load_detector(model.target, model.options)
    paths = {role: Path(path) for role, path in model.weights.items()}
    detector = factory(preset=model.preset, device=model.device, weights=paths, view=model.view)
    if model.folder is not None and isinstance(detector, KeepsAnswers):
        detector.keep_in(Path(model.folder))
    return detector


def execute(
    task: Task,
    detectors: Mapping[str, Detector],
    *,
    shared: SharedWork | None = None,
    pool: ThreadPoolExecutor | None = None,
) -> Outcome:
    """Decode a batch, in chunks of bounded size, and show each chunk to every model that lacks it.

    The seconds of a model hold those that another spent on what both need.
    """
    shared = shared or SharedWork()
    seen: list[Seen] = []
    predictions: dict[str, list[Prediction | str]] = {model: [] for model in task.models}
    seconds = dict.fromkeys(task.models, 0.0)
    chunk: list[DecodedImage | str] = []

    def show() -> None:
        images = [image.pixels for image in chunk if isinstance(image, DecodedImage)]
        for model in task.models:
            started = time.perf_counter()
            answers = iter(_predict(detectors[model], images))
            predictions[model] += [image if isinstance(image, str) else next(answers) for image in chunk]
            seconds[model] += time.perf_counter() - started + shared.saved_seconds()
        shared.forget()
        chunk.clear()

    pixels = 0
    for what, image in pool.map(_see, task.images) if pool else map(_see, task.images):
        seen.append(what)
        size = image.metadata.width * image.metadata.height if isinstance(image, DecodedImage) else 0
        if pixels and pixels + size > PIXELS_AT_ONCE:
            show()
            pixels = 0
        chunk.append(image)
        pixels += size
    show()
    return Outcome(seen, predictions, seconds)


def _see(image: ImageFile) -> tuple[Seen, DecodedImage | str]:
    payload = None
    try:
        payload = image.read()
        decoded = decode(payload, image.location)
    except ImageError as error:
        digest = hashlib.sha256(payload).hexdigest() if payload is not None else None
        reason = str(error).removeprefix(f"{image.location}: ")  # where it lies differs between machines
        return Seen(digest, None, reason), reason
    return Seen(decoded.sha256, decoded.metadata, None), decoded


def _predict(detector: Detector, images: Sequence[Image]) -> list[Prediction | str]:
    """Return one prediction or reason an image; one image that a plugin cannot take fails alone, not its batch."""
    if not images:
        return []
    try:
        predictions: Sequence[Prediction | Failure] = detector.predict(images)
    except RunStopped:
        raise
    except Exception as error:  # a plugin may raise anything; its batch must not end the run
        if len(images) > 1:
            return [answer for image in images for answer in _predict(detector, [image])]
        return [f"the detector raised {type(error).__name__}: {error}"]
    if len(predictions) != len(images):
        return [f"the detector gave {len(predictions)} predictions for {len(images)} images"] * len(images)
    return [_check(prediction) for prediction in predictions]


def _check(prediction: Prediction | Failure) -> Prediction | str:
    if isinstance(prediction, Failure):
        return f"{prediction.kind}: {prediction.reason}"
    if prediction.score is not None and not 0.0 <= prediction.score <= 1.0:
        return f"the detector gave the score {prediction.score}, which is not within [0, 1]"
    return prediction


AHEAD = 4
"""Batches that are under way at a time where all the models wait for answers from elsewhere."""


class InProcess:
    """One batch after another in this process. On an accelerator, threads decode beside it.

    Where all the models keep their answers (`KeepsAnswers`), several batches are under way: none waits for the slowest
    answer of the one before it, nor for its decoding.
    """

    def __init__(self, models: Sequence[Model], *, threads: int, device: str = "cpu") -> None:
        self._detectors, self._problems, self._shared = _load_all(models, threads)
        self._pool = None if device == "cpu" else ThreadPoolExecutor(min(8, os.cpu_count() or 1))

    def problems(self) -> dict[str, str]:
        """Return the models that could not be loaded, with the reason."""
        return self._problems

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Yield outcomes in order. Raises `RunStopped` where a model cannot go on."""
        if self._detectors and all(isinstance(detector, KeepsAnswers) for detector in self._detectors.values()):
            yield from self._overlapping(tasks)
            return
        for task in tasks:
            yield execute(task, self._detectors, shared=self._shared, pool=self._pool)

    def _overlapping(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        pending: deque[Future[Outcome]] = deque()
        before = time.perf_counter()
        with ThreadPoolExecutor(AHEAD) as ahead:
            try:
                for outcome in _in_order(tasks, ahead, self._detectors, pending):
                    before, since = time.perf_counter(), before
                    # Batches that overlap have no seconds of their own: told is how long after the last one it came.
                    share = (before - since) / max(1, len(outcome.seconds))
                    yield outcome._replace(seconds=dict.fromkeys(outcome.seconds, share))
            except BaseException:
                self._stop()  # before the threads are waited for
                raise
            finally:
                for future in pending:
                    future.cancel()

    def _stop(self) -> None:
        for detector in self._detectors.values():
            if isinstance(detector, KeepsAnswers):
                detector.close()

    def close(self) -> None:
        """Stop the decoding threads, and what the models have under way."""
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
        self._stop()


def _in_order(
    tasks: Iterable[Task],
    ahead: ThreadPoolExecutor,
    detectors: Mapping[str, Detector],
    pending: deque[Future[Outcome]],
) -> Iterator[Outcome]:
    for task in tasks:
        pending.append(ahead.submit(execute, task, detectors))
        if len(pending) >= AHEAD:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


class Processes:
    """Several worker processes, each with all the models; at most two batches a worker are under way."""

    def __init__(self, models: Sequence[Model], *, workers: int, threads: int) -> None:
        self._workers = workers
        spawning = multiprocessing.get_context("spawn")
        # The executor starts a worker only for a task that finds none idle; the barrier starts all of them at once.
        ready = spawning.Barrier(workers)
        self._executor = ProcessPoolExecutor(workers, spawning, _start_worker, (list(models), threads, ready))

    def problems(self) -> dict[str, str]:
        """Return the models that could not be loaded, with the reason; `RunError` where loading kills a worker."""
        try:
            reports = [self._executor.submit(_report) for _ in range(self._workers)]
            return reports[0].result()
        except BrokenProcessPool:
            raise RunError("a worker process died while loading the models; try --workers 1 to see why") from None

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Yield outcomes in order. Raises `RunError` where a worker died (killed for memory, or a crash in C code)."""
        pending: deque[Future[Outcome]] = deque()
        try:
            for task in tasks:
                pending.append(self._executor.submit(_work, task))
                if len(pending) >= 2 * self._workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise RunError(
                "a worker process died: out of memory, killed, or a crash in a library. What was done is kept; "
                "resume the run, with fewer --workers or a smaller --batch if memory was short."
            ) from None
        finally:
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """End the workers."""
        self._executor.shutdown(wait=True, cancel_futures=True)


class _Loaded(NamedTuple):
    detectors: dict[str, Detector]
    problems: dict[str, str]
    shared: SharedWork


_worker = _Loaded({}, {}, SharedWork())


def _start_worker(models: Sequence[Model], threads: int, ready: Barrier) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_die_with_parent, daemon=True).start()
    global _worker
    _worker = _load_all(models, threads)
    ready.wait()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _report() -> dict[str, str]:
    return _worker.problems


def _work(task: Task) -> Outcome:
    return execute(task, _worker.detectors, shared=_worker.shared)


def _load_all(models: Sequence[Model], threads: int) -> _Loaded:
    detectors: dict[str, Detector] = {}
    problems: dict[str, str] = {}
    shared = SharedWork()
    for model in models:
        try:
            detector = load(model)
            if not isinstance(detector, KeepsAnswers):  # which several threads may ask at a time
                shared.invite(detector)
            detectors[model.label] = detector
        except FDRBenchError as error:
            problems[model.label] = str(error)
        except Exception as error:  # a plugin may raise anything; it must not hide the other models
            problems[model.label] = f"loading it raised {type(error).__name__}: {error}"
    if "torch" in sys.modules:  # a detector that does without it should not pay for its import
        sys.modules["torch"].set_num_threads(threads)
    return _Loaded(detectors, problems, shared)
