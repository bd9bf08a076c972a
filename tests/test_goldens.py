"""Agreement with figures that official code gave for weights filled by name: every fixture, whatever its detector.

Fixtures are tests/goldens/*.json, and those of the folder that the variable FDR_BENCH_GOLDENS names. Each lists the
tensors of the official checkpoint, the preprocessing variants (the detector's views) with figures of their tensors, and
the logits. A detector joins by its json; what a fixture calls `detector` is the name of an entry point.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from baselines._torch import TorchDetector
from fdr_bench.images import decode
from tests.goldens.fill import fill_state

HERE = Path(__file__).parent / "goldens"
FOLDERS = [HERE, *(Path(name) for name in [os.environ.get("FDR_BENCH_GOLDENS")] if name)]
FIXTURES = {
    f"{path.name}" if folder == HERE else str(path): path
    for folder in FOLDERS
    for path in sorted(folder.glob("*.json"))
}
VARIANTS = [(name, variant) for name, path in FIXTURES.items() for variant in json.loads(path.read_text())["outputs"]]
NOISE = [
    (name, case) for name, path in FIXTURES.items() for case in json.loads(path.read_text()).get("network_only", {})
]

pytestmark = pytest.mark.goldens


class Golden:
    """One fixture, and its detector with the filled weights, which are loaded through files as a user's would be."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.figures: dict[str, Any] = json.loads(path.read_text())
        self.images = path.parent / "images"
        (entry,) = entry_points(group="fdr_bench.detectors", name=self.figures["detector"])
        self.factory: type[TorchDetector] = entry.load()
        self.detector = self.load(folder)
        self.tolerance = float(self.figures.get("suggested_atol", max(5e-6, 10 * self.figures["float32_noise_max"])))

    def load(self, folder: Path) -> TorchDetector:
        """Write the filled checkpoint in the official wrapping and load it as the preset `official`."""
        seed, wrapping = self.figures["fill_seed"], self.figures["checkpoint"]
        state = fill_state(self.figures["state_dict"], seed)
        key = wrapping.get("network_key")
        torch.save({key: state} if key else state, folder / "official.pth")
        paths = {self.factory.card.presets["official"].weights[0].role: folder / "official.pth"}
        if backbone := self.figures.get("backbone"):
            save_file(fill_state(backbone["huggingface"], seed), folder / "backbone.safetensors")
            paths["backbone"] = folder / "backbone.safetensors"
        return self.factory(preset="official", device="cpu", weights=paths)

    def use(self, variant: str) -> None:
        """Switch to the view of a preprocessing variant."""
        self.detector.view = self.factory.card.presets["official"].views[variant]

    def inputs(self) -> dict[str, np.ndarray]:
        """Return the preprocessed images by name, after checking that each is the fixture's image."""
        arrays = {}
        for name, told in self.figures["images"].items():
            decoded = decode((self.images / name).read_bytes(), name)
            assert hashlib.sha256(decoded.pixels.tobytes()).hexdigest() == told["decoded_rgb_sha256"]
            arrays[name] = self.detector.preprocess(decoded.pixels)
        return arrays

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        """Return the network's logits in float32, (B,)."""
        return self.detector.logits(torch.from_numpy(inputs)).double().numpy()


@pytest.fixture(scope="module")
def golden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    """Load one fixture's detector; pytest groups the tests by it, so that only one lies in memory at a time."""
    return Golden(FIXTURES[request.param], tmp_path_factory.mktemp("golden"))


@pytest.fixture
def float64(golden: Golden) -> Iterator[torch.nn.Module]:
    """Turn the golden's network to float64 for one test."""
    yield golden.detector.network.double()
    golden.detector.network.float()


def differences(figures: Mapping[str, Any], array: np.ndarray) -> float:
    """Return the largest difference of an array from the figures told of it."""
    flat = array.reshape(-1)[figures["flat_index"]] - np.array(figures["value"])
    moments = [array.mean(dtype=np.float64) - figures["mean"], array.std(dtype=np.float64) - figures["std"]]
    extremes = [array.min() - figures["min"], array.max() - figures["max"]]
    return float(np.abs([*flat, *moments, *extremes]).max())


@pytest.mark.parametrize(("golden", "variant"), VARIANTS, indirect=["golden"])
def test_preprocessed_tensors_agree(golden: Golden, variant: str, record_property: Any) -> None:
    golden.use(variant)
    worst = 0.0
    for name, array in golden.inputs().items():
        told = golden.figures["preprocess"][variant]["images"][name]
        assert list(array.shape) == told["shape"]
        worst = max(worst, differences(told, array))
    record_property("largest difference", worst)
    assert worst <= 1e-5


@pytest.mark.parametrize(("golden", "variant"), VARIANTS, indirect=["golden"])
def test_logits_agree_in_float32_one_by_one_and_batched(golden: Golden, variant: str, record_property: Any) -> None:
    golden.use(variant)
    inputs, told = golden.inputs(), golden.figures["outputs"][variant]
    expected = {name: told[name]["logit"][0] for name in inputs}
    worst = max(abs(golden.logits(array[None])[0] - expected[name]) for name, array in inputs.items())
    shapes: dict[tuple[int, ...], list[str]] = {}
    for name, array in inputs.items():
        shapes.setdefault(array.shape, []).append(name)
    for names in shapes.values():
        batch = golden.logits(np.stack([inputs[name] for name in names]))
        worst = max(worst, *(abs(logit - expected[name]) for logit, name in zip(batch, names, strict=True)))
    record_property("largest difference", worst)
    assert worst <= golden.tolerance


@pytest.mark.parametrize(("golden", "variant"), VARIANTS, indirect=["golden"])
def test_logits_agree_in_float64(golden: Golden, float64: torch.nn.Module, variant: str, record_property: Any) -> None:
    check_float64(golden, variant, record_property, large=False)


@pytest.mark.slow
@pytest.mark.parametrize(("golden", "variant"), VARIANTS, indirect=["golden"])
def test_logits_of_large_images_agree_in_float64(
    golden: Golden, float64: torch.nn.Module, variant: str, record_property: Any
) -> None:
    check_float64(golden, variant, record_property, large=True)


def check_float64(golden: Golden, variant: str, record_property: Any, *, large: bool) -> None:
    """Compare in float64 the images of more than 100,000 px, or the others; PyTorch's float64 kernels are slow."""
    golden.use(variant)
    worst = 0.0
    for name, array in golden.inputs().items():
        if (array[0].size > 100_000) == large:
            logit = golden.detector.logits(torch.from_numpy(array[None]).double())
            worst = max(worst, abs(float(logit) - golden.figures["outputs"][variant][name]["logit_float64"][0]))
    record_property("largest difference", worst)
    assert worst <= 1e-7


@pytest.mark.parametrize(("golden", "case"), NOISE, indirect=["golden"])
def test_the_network_alone_agrees_on_noise(golden: Golden, case: str, record_property: Any) -> None:
    told = golden.figures["network_only"][case]
    noise = np.random.RandomState(told["input_seed"]).standard_normal(told["input_shape"]).astype(np.float32)
    inputs = noise * np.float32(told["scale"])
    assert inputs.reshape(-1)[:3].tolist() == told["input_first3"]
    worst = float(np.abs(golden.logits(inputs) - told["logit"]).max())
    record_property("largest difference", worst)
    # Noise moves logits further than photographs do, and rounding with them.
    assert worst <= golden.tolerance * max(1.0, *np.abs(told["logit"]))
