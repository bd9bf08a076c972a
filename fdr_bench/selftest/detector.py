"""Checks on `predict`: what it returns, that an image is judged by its pixels alone, and that it takes odd images."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Mapping

import numpy as np
from PIL.PngImagePlugin import PngInfo

from fdr_bench.errors import FDRBenchError
from fdr_bench.selftest.images import odd_images
from fdr_bench.selftest.result import (
    CheckResult,
    Conditions,
    DetectorCheck,
    Violation,
    describe,
    first_difference,
    judged,
    predict,
)
from fdr_bench.types import Detector, Prediction

_STRINGS = ("reasoning", "raw", "score_source")


def answer_fault(prediction: Prediction) -> str | None:
    """Return what is wrong with one prediction's values, or None."""
    score = prediction.score
    if score is not None:
        # numpy.float32 and 0-dimensional tensors pass for numbers here and fail later, when they are written as JSON.
        if isinstance(score, bool) or not isinstance(score, float | int):
            return f"score is a {type(score).__module__}.{type(score).__name__}; wrap it in float(…)"
        if not math.isfinite(score) or not 0.0 <= score <= 1.0:
            return f"score is {score}; it must be P(fake) in [0, 1], or None where there is no answer"
    if prediction.verdict not in ("real", "fake", None):
        return f"verdict is {prediction.verdict!r}; it must be 'real', 'fake' or None"
    for name in _STRINGS:
        text = getattr(prediction, name)
        if text is not None and not isinstance(text, str):
            return f"{name} is a {type(text).__name__}; it must be text or None"
    return None


def _one_each(detector: Detector, conditions: Conditions) -> str:
    predictions = predict(detector, conditions.images)
    return f"{len(predictions)} predictions for {len(conditions.images)} images"


def _values(detector: Detector, conditions: Conditions) -> str:
    predictions = predict(detector, conditions.images)
    for index, prediction in enumerate(predictions):
        fault = answer_fault(prediction)
        if fault:
            raise Violation(f"image {index}: {fault}.")
    if all(prediction.score is None and prediction.verdict is None for prediction in predictions):
        raise Violation("no image got a score or a verdict. Are the answers parsed?")
    scores = [prediction.score for prediction in predictions if prediction.score is not None]
    return f"scores from {min(scores):.4f} to {max(scores):.4f}" if scores else "verdicts without scores"


def _empty(detector: Detector, conditions: Conditions) -> str:
    predictions = detector.predict([])
    if predictions != []:
        raise Violation(f"predict([]) returned {predictions!r}; it must return an empty list.")
    return "predict([]) is []"


def _deterministic(detector: Detector, conditions: Conditions) -> str:
    once = predict(detector, conditions.images)
    random.random()
    np.random.random()
    if "torch" in sys.modules:
        sys.modules["torch"].rand(1)
    again = predict(detector, conditions.images)
    found = first_difference(once, again, 0.0 if conditions.device == "cpu" else conditions.tolerance)
    if found:
        raise Violation(f"{found} on the second call. Call eval() on the network; seed what is sampled.")
    if any(a.reasoning != b.reasoning or a.raw != b.raw for a, b in zip(once, again, strict=True)):
        raise Violation("the reasoning changed on the second call. Decode greedily, or seed what is sampled.")
    return "two calls agree"


def _batch(detector: Detector, conditions: Conditions) -> str:
    together = predict(detector, conditions.images)
    alone = [predict(detector, [image])[0] for image in conditions.images]
    found = first_difference(together, alone, conditions.tolerance)
    if found:
        raise Violation(f"{found} when it came alone. An image's prediction must not depend on its batch: call eval().")
    return f"alone and in a batch of {len(together)} agree to {conditions.tolerance:.0e}"


def _order(detector: Detector, conditions: Conditions) -> str:
    forwards = predict(detector, conditions.images)
    backwards = predict(detector, conditions.images[::-1])[::-1]
    found = first_difference(forwards, backwards, conditions.tolerance)
    if found:
        raise Violation(f"{found} with the images in reverse. Return predictions in the order of the images.")
    return "forwards and in reverse agree"


def _untouched(detector: Detector, conditions: Conditions) -> str:
    copies = [image.copy() for image in conditions.images]
    given = list(copies)
    detector.predict(given)
    if [id(image) for image in given] != [id(image) for image in copies]:
        raise Violation("predict changed the list that it was given; make a list of your own.")
    for index, (image, original) in enumerate(zip(copies, conditions.images, strict=True)):
        if image.size != original.size or image.mode != original.mode or image.tobytes() != original.tobytes():
            raise Violation(f"predict changed image {index}; other models see the same object: work on image.copy().")
    return "the images are as they were"


def _metadata(detector: Detector, conditions: Conditions) -> str:
    marked = [image.copy() for image in conditions.images]
    text = PngInfo()
    text.add_text("parameters", "a cat, Steps: 20, Sampler: Euler a")
    for image in marked:
        image.info.update({"parameters": "a cat, Steps: 20", "Software": "generator", "pnginfo": text, "dpi": (72, 72)})
        image.filename = "fake/0001.png"  # type: ignore[attr-defined]  # Pillow sets it on opened files only
    plain = predict(detector, conditions.images)
    found = first_difference(plain, predict(detector, marked), conditions.tolerance)
    if found:
        raise Violation(f"{found} with text chunks and a file name added. Judge the pixels only.")
    return "text chunks and file names change nothing"


def _odd(detector: Detector, conditions: Conditions) -> str:
    refused = []
    for what, image in odd_images():
        try:
            prediction = predict(detector, [image])[0]
        except FDRBenchError as error:
            refused.append(f"{what}: {error}")
            continue
        except Violation as violation:
            raise Violation(f"{what}: {violation}") from None
        except Exception as error:  # foreign code may raise anything; only the harness's own errors explain themselves
            raise Violation(
                f"{what}: {describe(error)}. Answer, or raise fdr_bench.errors.ImageError with why."
            ) from error
        fault = answer_fault(prediction)
        if fault:
            raise Violation(f"{what}: {fault}.")
    return f"refused with a reason: {'; '.join(refused)}" if refused else "all are answered"


def _check(name: str, body: Callable[[Detector, Conditions], str]) -> DetectorCheck:
    def run(detector: Detector, conditions: Conditions) -> CheckResult:
        return judged(name, lambda: body(detector, conditions))

    return run


_BODIES = {
    "one prediction an image": _one_each,
    "scores and verdicts are valid": _values,
    "no images give no predictions": _empty,
    "the same images give the same predictions": _deterministic,
    "a prediction does not depend on its batch": _batch,
    "predictions follow the order of the images": _order,
    "images are left as they were": _untouched,
    "file metadata change nothing": _metadata,
    "odd images are answered or refused with a reason": _odd,
}
DETECTOR_CHECKS: Mapping[str, DetectorCheck] = {name: _check(name, body) for name, body in _BODIES.items()}
"""The contract of `predict`: name -> check(detector, conditions)."""
