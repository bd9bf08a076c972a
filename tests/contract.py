"""Detectors that keep the contract, and what the self-test says of a detector, for the tests of both."""

from __future__ import annotations

import numpy as np

from fdr_bench.selftest import CheckResult, run_selftest
from fdr_bench.types import DetectorCard, Prediction


class Sound:
    """Mean brightness: a function of the pixels alone."""

    card = DetectorCard(name="sound", paper="none", licence="MIT")

    def __init__(self, *, preset, device, weights, view):
        pass

    def predict(self, images):
        return [Prediction(score=self.judge(image)) for image in images]

    def judge(self, image):
        return float(np.asarray(image).mean() / 255)


def results(factory, **options) -> dict[str, CheckResult]:
    return {result.name: result for result in run_selftest(factory, **options)}


def failed(factory, **options) -> dict[str, str]:
    return {name: result.detail for name, result in results(factory, **options).items() if result.passed is False}
