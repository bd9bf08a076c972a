"""What a check returns, what it is given, and how a call into foreign code becomes a result."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fdr_bench.types import Detector, DetectorFactory, Prediction

if TYPE_CHECKING:
    from PIL.Image import Image


class CheckResult(NamedTuple):
    """One check: `passed` is None where it does not apply; `detail` says what was seen or is wrong."""

    name: str
    passed: bool | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What the checks are run with: how the detector is constructed, the images, the tolerance on scores."""

    factory: DetectorFactory
    preset: str | None
    device: str
    weights: Mapping[str, Path]
    view: str | None
    images: tuple[Image, ...]
    tolerance: float


class Violation(Exception):
    """The contract is broken; the message says how. Only raised and caught within the self-test."""


class Inapplicable(Exception):
    """The check says nothing of this detector; the message says why. Only raised and caught within the self-test."""


DetectorCheck = Callable[[Detector, Conditions], CheckResult]


def judged(name: str, check: Callable[[], str]) -> CheckResult:
    """Run `check`, which returns what it saw or raises; whatever a plugin raises is the reason of the failure."""
    try:
        return CheckResult(name, True, check())
    except Inapplicable as reason:
        return CheckResult(name, None, str(reason))
    except Violation as violation:
        return CheckResult(name, False, str(violation))
    except Exception as error:  # foreign code may raise anything; it must not end the other checks
        return CheckResult(name, False, describe(error))


def describe(error: BaseException) -> str:
    """Return an exception as "Type: message (file, line n)", the place being the innermost one."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


def predict(detector: Detector, images: Sequence[Image]) -> list[Prediction]:
    """Return the predictions for copies of `images`; raises `Violation` unless they are one `Prediction` an image.

    Copies, so that a detector that paints on its images fails the one check that is about that, and no other.
    """
    predictions = detector.predict([image.copy() for image in images])
    check_count(predictions, len(images), "predict", "images")
    return predictions


def check_count(predictions: object, wanted: int, function: str, noun: str) -> None:
    """Raise `Violation` unless `predictions` is a list of `wanted` `Prediction`s."""
    if not isinstance(predictions, list):
        raise Violation(f"{function} returned a {type(predictions).__name__}; it must return a list of Prediction.")
    if len(predictions) != wanted:
        raise Violation(f"{function} returned {len(predictions)} predictions for {wanted} {noun}; return one each.")
    odd = next((p for p in predictions if not isinstance(p, Prediction)), None)
    if odd is not None:
        raise Violation(f"{function} returned a {type(odd).__name__} in its list; it must be fdr_bench.Prediction.")


def difference(one: Prediction, other: Prediction, tolerance: float) -> str | None:
    """Return how two predictions of one image differ, or None: scores within `tolerance`, verdicts equal."""
    if (one.score is None) != (other.score is None):
        return f"score {one.score} became {other.score}"
    if one.score is not None and other.score is not None and not abs(one.score - other.score) <= tolerance:
        apart = abs(one.score - other.score)
        return f"score {one.score:.6g} became {other.score:.6g} ({apart:.2g} apart, {tolerance:.0e} allowed)"
    if one.verdict != other.verdict:
        return f"verdict {one.verdict} became {other.verdict}"
    return None


def first_difference(ones: Sequence[Prediction], others: Sequence[Prediction], tolerance: float) -> str | None:
    """Return "image i: …" for the first pair that differs, or None."""
    for index, (one, other) in enumerate(zip(ones, others, strict=True)):
        found = difference(one, other, tolerance)
        if found:
            return f"image {index}: {found}"
    return None
