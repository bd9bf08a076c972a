"""Agreement with figures that official code gave for weights filled by name: every fixture, whatever its detector.

Fixtures are tests/goldens/*.json, and those of the folder that the variable FDR_BENCH_GOLDENS names. Each lists the
tensors of the official checkpoint, the preprocessing variants (the detector's views) with figures of their tensors, and
the logits. A detector joins by its json; what a fixture calls `detector` is the name of an entry point, or stands in
tests/goldens/official.py beside the way its checkpoint is laid out.
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

from baselines._torch import TorchDetector
from fdr_bench.images import decode
from tests.goldens.official import preset_of, write_checkpoint

HERE = Path(__file__).parent / "goldens"
FOLDERS = [HERE, *(Path(name) for name in [os.environ.get("FDR_BENCH_GOLDENS")] if name)]
FIXTURES = {
    path.name if folder == HERE else str(path): path
    for folder in FOLDERS
    for path in sorted(folder.glob("*.json"))
    if not path.name.startswith("fakereasoning_")  # another format: tests/fakereasoning/test_goldens_*.py
}

pytestmark = pytest.mark.goldens


class Golden:
    """One fixture, and its detector with the filled weights, which are loaded through files as a user's would be."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.figures: dict[str, Any] = json.loads(path.read_text())
        self.images = path.parent / "images"
        name, self.preset = preset_of(self.figures["detector"])
        (entry,) = entry_points(group="fdr_bench.detectors", name=name)
        self.factory: type[TorchDetector] = entry.load()
        self.detector = self.load(folder)
        self.tolerance = float(self.figures.get("suggested_atol", max(5e-6, 10 * self.figures["float32_noise_max"])))

    @property
    def huge(self) -> bool:
        """Whether the network has over 100 million parameters."""
        return sum(parameter.numel() for parameter in self.detector.network.parameters()) > 100_000_000

    def load(self, folder: Path) -> TorchDetector:
        """Write the filled checkpoint in the official wrapping and load it as its preset."""
        role = self.factory.card.presets[self.preset].weights[0].role
        self.paths = write_checkpoint(self.figures, folder, role)
        return self.factory(preset=self.preset, device="cpu", weights=self.paths)

    def load_own(self) -> None:
        """Load the authors' own file where the filled one was, the rest as before."""
        (role, _), *rest = self.paths.items()
        file = f"{self.figures['detector']}_{Path(self.figures['official_weights']['file']).name}"
        place = next(folder / file for folder in (self.images.parent, HERE) if (folder / file).is_file())
        self.detector = self.factory(preset=self.preset, device="cpu", weights={role: place, **dict(rest)})

    def use(self, variant: str) -> None:
        """Switch to the view of a preprocessing variant."""
        self.detector.view = self.factory.card.presets[self.preset].views[variant]

    def inputs(self) -> dict[str, np.ndarray]:
        """Return the preprocessed images by name, after checking that each is the fixture's image."""
        arrays = {}
        for name, told in self.figures["images"].items():
            decoded = decode((self.images / name).read_bytes(), name)
            assert hashlib.sha256(decoded.pixels.tobytes()).hexdigest() == told["decoded_rgb_sha256"]
            arrays[name] = self.detector.preprocess(decoded.pixels)
        return arrays

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        """Return the network's logits in float32, (B,) or (B, classes)."""
        return self.detector.logits(torch.from_numpy(inputs)).double().numpy()


@pytest.fixture(scope="module", params=FIXTURES)
def golden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    """Load one fixture's detector; pytest groups the tests by it, so that only one lies in memory at a time."""
    return Golden(FIXTURES[request.param], tmp_path_factory.mktemp("golden"))


@pytest.fixture
def float64(golden: Golden) -> Iterator[torch.nn.Module]:
    """Turn the golden's network to float64 for one test."""
    yield golden.detector.network.double()
    golden.detector.network.float()


def test_preprocessed_tensors_agree(golden: Golden) -> None:
    worst = {}
    for variant, told in golden.figures["preprocess"].items():
        golden.use(variant)
        inputs = golden.inputs()
        assert {name: list(array.shape) for name, array in inputs.items()} == {
            name: figures["shape"] for name, figures in told["images"].items()
        }
        worst[variant] = max(differences(told["images"][name], array) for name, array in inputs.items())
    print("largest differences", worst)
    assert max(worst.values()) <= 1e-5, worst


def test_logits_agree_in_float32_one_by_one_and_batched(golden: Golden) -> None:
    worst = {}
    for variant, told in golden.figures["outputs"].items():
        golden.use(variant)
        inputs = golden.inputs()
        # A huge network's batch is the one of noise: these passes take a second each.
        batches = [[name] for name in inputs] + ([] if golden.huge else pairs_of_one_shape(inputs))
        worst[variant] = max(largest_difference(golden, inputs, names, told) for names in batches)
    print("largest differences", worst)
    assert max(worst.values()) <= golden.tolerance, worst


def test_logits_agree_in_float64(golden: Golden, float64: torch.nn.Module) -> None:
    check_float64(golden, costly=False)


@pytest.mark.slow
def test_logits_of_the_other_images_agree_in_float64(golden: Golden, float64: torch.nn.Module) -> None:
    check_float64(golden, costly=True)


def test_the_network_alone_agrees_on_noise(golden: Golden) -> None:
    worst = {}
    for case, told in golden.figures["network_only"].items():
        noise = np.random.RandomState(told["input_seed"]).standard_normal(told["input_shape"]).astype(np.float32)
        inputs = noise * np.float32(told["scale"])
        assert inputs.reshape(-1)[:3].tolist() == told["input_first3"]
        # Noise moves logits further than photographs do, and rounding with them.
        logits = golden.logits(inputs)
        expected = np.reshape(told["logit"], logits.shape)
        worst[case] = float(np.abs(logits - expected).max() / max(1.0, np.abs(expected).max()))
    print("largest differences", worst)
    assert max(worst.values()) <= golden.tolerance, worst


def test_the_authors_own_file_is_read_right(golden: Golden) -> None:
    if "outputs" not in golden.figures.get("official_weights", {}):
        pytest.skip("the fixture has no figures for the authors' own file")
    filled = golden.detector
    golden.load_own()
    worst = {}
    for variant, told in golden.figures["official_weights"]["outputs"].items():
        golden.use(variant)
        inputs = golden.inputs()
        worst[variant] = largest_difference(golden, inputs, list(inputs)[-1:], told)
    golden.detector = filled
    print("largest differences", worst)
    assert max(worst.values()) <= 5e-5, worst  # these logits are about ten times larger than the filled head's


def check_float64(golden: Golden, *, costly: bool) -> None:
    """Compare in float64, whose kernels are slow: the costly images, or the others.

    Costly are images of more than 100,000 px, and all but the last where the network has over 100 million parameters.
    """
    worst = {}
    for variant, told in golden.figures["outputs"].items():
        golden.use(variant)
        inputs = golden.inputs()
        last = list(inputs)[-1]
        for name, array in inputs.items():
            if (array[0].size > 100_000 or (golden.huge and name != last)) == costly:
                logits = golden.detector.logits(torch.from_numpy(array[None]).double()).numpy()
                worst[variant, name] = float(np.abs(logits.ravel() - told[name]["logit_float64"]).max())
    print("largest differences", worst)
    assert max(worst.values(), default=0.0) <= 1e-7, worst


def pairs_of_one_shape(inputs: Mapping[str, np.ndarray]) -> list[list[str]]:
    """Return the first two names of every shape that has two."""
    shapes: dict[tuple[int, ...], list[str]] = {}
    for name, array in inputs.items():
        shapes.setdefault(array.shape, []).append(name)
    return [names[:2] for names in shapes.values() if len(names) > 1]


def largest_difference(
    golden: Golden, inputs: Mapping[str, np.ndarray], names: list[str], told: Mapping[str, Any]
) -> float:
    """Return how far the logits of one batch are from the figures."""
    logits = golden.logits(np.stack([inputs[name] for name in names]))
    return max(float(np.abs(logit - told[name]["logit"]).max()) for logit, name in zip(logits, names, strict=True))


def differences(figures: Mapping[str, Any], array: np.ndarray) -> float:
    """Return the largest difference of an array from the figures told of it."""
    flat = array.reshape(-1)[figures["flat_index"]] - np.array(figures["value"])
    moments = [array.mean(dtype=np.float64) - figures["mean"], array.std(dtype=np.float64) - figures["std"]]
    extremes = [array.min() - figures["min"], array.max() - figures["max"]]
    return float(np.abs([*flat, *moments, *extremes]).max())
