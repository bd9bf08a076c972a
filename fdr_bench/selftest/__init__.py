"""The detector contract as functions: what every detector owes the harness, for `fdr-bench selftest` and the tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fdr_bench.selftest.construction import card_is_complete, construct, construction_is_repeatable
from fdr_bench.selftest.detector import DETECTOR_CHECKS
from fdr_bench.selftest.images import probe_images
from fdr_bench.selftest.polarity import fakes_score_higher
from fdr_bench.selftest.result import CheckResult, Conditions
from fdr_bench.selftest.set_baseline import BASELINE_CHECKS
from fdr_bench.types import Detector, DetectorFactory, Label, SetBaseline

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["BASELINE_CHECKS", "DETECTOR_CHECKS", "CheckResult", "Conditions", "probe_images", "run_selftest"]


def run_selftest(
    factory: DetectorFactory,
    *,
    preset: str | None = None,
    device: str = "cpu",
    weights: Mapping[str, Path] | None = None,
    view: str | None = None,
    images: Sequence[Image] | None = None,
    labelled: Sequence[tuple[Image, Label]] = (),
    tolerance: float = 1e-5,
) -> list[CheckResult]:
    """Return one result a check, in a fixed order; a detector that cannot be constructed has only the first ones.

    `images` are RGB (None: `probe_images()`), at least three of them; `labelled` are images of both labels for the
    polarity check, which does not apply without them. `tolerance` bounds how far two scores of one image may be
    apart; accelerators choose kernels by batch size and need about 1e-3. A factory whose objects have `predict_set`
    gets the contract of set baselines instead. Nothing that the detector raises gets out of here.
    """
    conditions = Conditions(
        factory=factory,
        preset=preset,
        device=device,
        weights=dict(weights or {}),
        view=view,
        images=tuple(images if images is not None else probe_images()),
        tolerance=tolerance,
    )
    built, result = construct(conditions)
    results = [card_is_complete(factory), result]
    if isinstance(built, SetBaseline):
        return results + [check(built) for check in BASELINE_CHECKS.values()]
    if not isinstance(built, Detector):
        return results
    results += [check(built, conditions) for check in DETECTOR_CHECKS.values()]
    results.append(construction_is_repeatable(built, conditions))
    results.append(fakes_score_higher(built, labelled))
    return results
