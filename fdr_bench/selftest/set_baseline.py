"""The contract of set baselines, which are fitted on the evaluated set itself and see no pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from fdr_bench.selftest.detector import answer_fault
from fdr_bench.selftest.result import CheckResult, Inapplicable, Violation, check_count, first_difference, judged
from fdr_bench.types import FileMetadata, Prediction, SetBaseline

BaselineCheck = Callable[[SetBaseline], CheckResult]
_Z = 3.0


def _files(count: int, *, seed: int = 0) -> list[FileMetadata]:
    generator = np.random.default_rng(seed)
    files = []
    for _ in range(count):
        width, height, size = (int(n) for n in generator.integers((64, 64, 2_000), (1025, 1025, 400_000)))
        is_jpeg = bool(generator.integers(2))
        tables = (tuple(int(n) for n in generator.integers(1, 100, 64)),) if is_jpeg else ()
        files.append(FileMetadata("JPEG" if is_jpeg else "PNG", "RGB", width, height, size, tables))
    return files


def _predict(baseline: SetBaseline, files: list[FileMetadata], fake: list[bool], groups: list[str]) -> list[Prediction]:
    predictions = baseline.predict_set(files, fake, groups)
    check_count(predictions, len(files), "predict_set", "files")
    for index, prediction in enumerate(predictions):
        fault = answer_fault(prediction)
        if fault:
            raise Violation(f"file {index}: {fault}.")
    return predictions


def _names(count: int) -> list[str]:
    return [f"{index:064x}" for index in range(count)]


def _one_each(baseline: SetBaseline) -> str:
    # Two fakes allow two folds only, which is what a cross-validated baseline's time goes into.
    files, fake, groups = _files(40), [index % 20 == 1 for index in range(40)], _names(40)
    before = list(files), list(fake), list(groups)
    _predict(baseline, files, fake, groups)
    if (files, fake, groups) != before:
        raise Violation("predict_set changed the lists that it was given; make lists of your own.")
    return "40 valid predictions for 40 files, and the lists are as they were"


def _deterministic(baseline: SetBaseline) -> str:
    fake = [index % 3 == 1 for index in range(40)]
    once = _predict(baseline, _files(40), fake, _names(40))
    found = first_difference(once, _predict(baseline, _files(40), fake, _names(40)), 0.0)
    if found:
        raise Violation(f"{found} on the second call. Seed what is drawn at random.")
    return "two calls agree"


def _small(baseline: SetBaseline) -> str:
    for label in (False, True):
        _predict(baseline, _files(12), [label] * 12, _names(12))
    if baseline.predict_set([], [], []) != []:
        raise Violation("an empty set must give an empty list.")
    for count in (1, 2, 3):
        _predict(baseline, _files(count), [index == 0 for index in range(count)], _names(count))
    return "one label only, and sets of 0 to 3 files"


def _groups(baseline: SetBaseline) -> str:
    """Each file has a twin of the same bytes, and labels are random: only who learnt from the twin can tell them."""
    pairs = 100
    generator = np.random.default_rng(7)
    files = _files(pairs, seed=7)
    fake = [bool(label) for label in generator.integers(0, 2, pairs)]
    predictions = _predict(baseline, files * 2, fake * 2, _names(pairs) * 2)
    pairs_scored = [(p.score, label) for p, label in zip(predictions, fake * 2, strict=True) if p.score is not None]
    fakes = [score for score, label in pairs_scored if label]
    reals = [score for score, label in pairs_scored if not label]
    if not fakes or not reals:
        raise Inapplicable("it gives no scores to judge by")
    area = sum((f > r) + 0.5 * (f == r) for f in fakes for r in reals) / (len(fakes) * len(reals))
    # Twins carry one label, so the independent draws are the pairs, half as many as the scores.
    deviation = math.sqrt((pairs + 1) / (12 * (len(fakes) / 2) * (len(reals) / 2)))
    if area > 0.5 + _Z * deviation:
        raise Violation(
            f"random labels are predicted with AUROC {area:.3f}: files of the same bytes lie on both sides of a fold. "
            "Keep every group in one fold."
        )
    return f"random labels of twins are predicted with AUROC {area:.3f}"


def _check(name: str, body: Callable[[SetBaseline], str]) -> BaselineCheck:
    return lambda baseline: judged(name, lambda: body(baseline))


BASELINE_CHECKS: Mapping[str, BaselineCheck] = {
    name: _check(name, body)
    for name, body in {
        "one prediction a file, and the lists left alone": _one_each,
        "the same files give the same predictions": _deterministic,
        "one label only, and tiny sets, are handled": _small,
        "files of the same bytes are never on both sides of a fold": _groups,
    }.items()
}
"""The contract of `predict_set`: name -> check(baseline)."""
