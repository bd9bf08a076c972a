"""Every installed detector keeps the contract: the registry is swept, so a new one is tested by being installed."""

from __future__ import annotations

import pytest

from fdr_bench import plugins
from fdr_bench.errors import PluginError, WeightsError
from fdr_bench.selftest import BASELINE_CHECKS, DETECTOR_CHECKS, run_selftest
from fdr_bench.weights import resolve_preset


def installed() -> list[object]:
    """Return a case for each installed detector and preset; those whose weights are not shipped are slow."""
    cases = []
    for name in plugins.all_names():
        try:
            presets = plugins.load_detector(name).card.presets
        except PluginError:
            presets = {}  # the test itself reports why
        for preset_name, preset in presets.items():
            is_shipped = all(weights.packaged for weights in preset.weights)
            marks = [] if is_shipped else [pytest.mark.slow]
            cases.append(pytest.param(name, preset_name, id=f"{name}@{preset_name}", marks=marks))
        if not presets:
            cases.append(pytest.param(name, None, id=name))
    return cases


@pytest.mark.parametrize(("name", "preset"), installed())
def test_an_installed_detector_keeps_the_contract(name, preset):
    factory = plugins.load_detector(name)
    try:
        weights = resolve_preset(factory.card, preset, None) if preset else {}
    except WeightsError as error:
        pytest.skip(f"{name}@{preset} has no weights here: {error}")
    results = run_selftest(factory, preset=preset, weights=weights)
    assert {result.name: result.detail for result in results if result.passed is False} == {}
    contract = BASELINE_CHECKS if hasattr(factory, "predict_set") else DETECTOR_CHECKS
    assert set(contract) <= {result.name for result in results}
