"""Checks on a detector's card and on constructing it: complete, offline, and the same each time."""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import NoReturn
from unittest import mock

import numpy as np

from fdr_bench.cards import card_faults
from fdr_bench.errors import FDRBenchError
from fdr_bench.selftest.result import CheckResult, Conditions, Violation, describe, first_difference, judged, predict
from fdr_bench.types import Detector, DetectorCard, DetectorFactory, SetBaseline

HEAVY = ("torch", "transformers", "pandas", "scipy", "sklearn", "nltk", "plotly", "evaluate", "tensorflow", "jax")


def card_is_complete(factory: DetectorFactory) -> CheckResult:
    """Check name, paper, licence, threshold, presets and views of the card."""

    def check() -> str:
        card = getattr(factory, "card", None)
        if not isinstance(card, DetectorCard):
            raise Violation("there is no card. Give the class: card = DetectorCard(name=…, paper=…, licence=…).")
        faults = card_faults(card)
        if faults:
            raise Violation(f"{'; '.join(faults)}. Complete the card.")
        return f"{card.paper}; {card.licence}; threshold {card.threshold}; presets: {', '.join(card.presets) or 'none'}"

    return judged("card is complete", check)


def construct(conditions: Conditions) -> tuple[Detector | SetBaseline | None, CheckResult]:
    """Call the factory as the runner does, with the network closed; return what it built (None where it failed)."""
    name = "can be constructed, without the network"
    with _closed_network():
        try:
            built = _build(conditions)
        except (Violation, FDRBenchError) as error:
            return None, CheckResult(name, False, str(error))
        except Exception as error:  # foreign code may raise anything; the reason is the result
            called = " It is called with preset=, device=, weights= and view=." if isinstance(error, TypeError) else ""
            return None, CheckResult(name, False, describe(error) + called)
    if not isinstance(built, Detector | SetBaseline):
        reason = f"a {type(built).__name__} has neither predict(images) nor predict_set(files, fake, groups)."
        return None, CheckResult(name, False, reason)
    return built, CheckResult(name, True, f"{type(built).__name__} on {conditions.device}")


def construction_is_repeatable(detector: Detector, conditions: Conditions) -> CheckResult:
    """Check that a second detector, made after the random generators moved on, gives the same predictions."""

    def check() -> str:
        random.random()
        np.random.random()
        if "torch" in sys.modules:
            sys.modules["torch"].rand(1)
        other = _build(conditions)
        if not isinstance(other, Detector):
            raise Violation("the second construction gave no detector.")
        once, again = predict(detector, conditions.images), predict(other, conditions.images)
        found = first_difference(once, again, conditions.tolerance)
        if found:
            raise Violation(f"{found}. Are some weights left at their random initialisation?")
        return "two constructions agree"

    return judged("a second construction predicts the same", check)


def import_is_light(module: str) -> CheckResult:
    """Check in a fresh interpreter that importing `module` does not import torch or the like; takes a second."""

    def check() -> str:
        program = f"import sys, {module}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            raise Violation(f"importing {module} fails: {done.stderr.strip().splitlines()[-1]}")
        if done.stdout.strip():
            loaded = ", ".join(done.stdout.split())
            raise Violation(
                f"importing {module} also imports {loaded}; import them inside the functions that use them."
            )
        return f"importing {module} loads none of {', '.join(HEAVY)}"

    return judged("importing it is light", check)


def _build(conditions: Conditions) -> object:
    return conditions.factory(
        preset=conditions.preset, device=conditions.device, weights=conditions.weights, view=conditions.view
    )


@contextlib.contextmanager
def _closed_network() -> Iterator[None]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise Violation("it opens the network. Name the file in the card's Weights: the harness fetches and checks it.")

    with (
        mock.patch.object(socket.socket, "connect", refuse),
        mock.patch.object(socket.socket, "connect_ex", refuse),
        mock.patch.object(socket, "getaddrinfo", refuse),
    ):
        yield
