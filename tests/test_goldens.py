"""Agreement with figures that official code gave for weights filled by name: every fixture, whatever its detector.

Fixtures are tests/goldens/*.json, and those of the folder that the variable FDR_BENCH_GOLDENS names. Each lists the
tensors of the official checkpoint, the preprocessing variants (the detector's views) with figures of their tensors, and
the logits. A detector joins by its json; what a fixture calls `detector` is the name of an entry point, or stands in
tests/goldens/official.py beside the way its checkpoint is laid out.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines._torch import TorchDetector
from fdr_bench.images import decode
from tests.goldens import HERE, folders, images_of
from tests.goldens.official import CONSTRUCTED, VIEWS, beside_pixels, preset_of, write_checkpoint
from tests.goldens.precision import a_module_at_a_time
from tests.goldens.tolerances import tolerances

FIXTURES = {
    path.name if folder == HERE else str(path): path
    for folder in folders()
    for path in sorted(folder.glob("*.json"))
    if not path.name.startswith("fakereasoning_")  # another format: tests/fakereasoning/test_goldens_*.py
}

LARGEST = 100_000_000
"""Tensor entries of the largest checkpoint whose tests run by default; `make goldens` runs all."""

LARGEST_IN_FLOAT64 = 600_000_000
"""Parameters of the largest network that is held in float64 as a whole (5 GB)."""

pytestmark = pytest.mark.goldens


class Golden:
    """One fixture, and its detector with the filled weights, which are loaded through files as a user's would be."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.figures: dict[str, Any] = json.loads(path.read_text())
        self.folder, self.images = path.parent, images_of(path)
        name, self.preset = preset_of(self.figures["detector"])
        (entry,) = entry_points(group="fdr_bench.detectors", name=name)
        self.factory: type[TorchDetector] = entry.load()
        self.detector = self.load(folder)
        self.filled: dict[str, torch.Tensor] = {}
        self.tolerances = tolerances(self.figures)

    @property
    def huge(self) -> bool:
        """Whether the network is so large that a pass takes seconds."""
        return sum(parameter.numel() for parameter in self.detector.network.parameters()) > LARGEST

    def load(self, folder: Path) -> TorchDetector:
        """Write the filled checkpoint in the official wrapping and load it as its preset."""
        role = self.factory.card.presets[self.preset].weights[0].role
        self.paths = write_checkpoint(self.figures, folder, role)
        return self.factory(preset=self.preset, device="cpu", weights=self.paths)

    def load_own(self) -> None:
        """Load the authors' own file where the filled one was, the rest as before."""
        (role, _), *rest = self.paths.items()
        file = f"{self.figures['detector']}_{Path(self.figures['official_weights']['file']).name}"
        place = next(folder / file for folder in (self.folder, HERE) if (folder / file).is_file())
        self.detector = self.factory(preset=self.preset, device="cpu", weights={role: place, **dict(rest)})

    def use(self, variant: str) -> None:
        """Switch to the view of a variant, and to the weights that it was measured with."""
        self.detector.view = self.factory.card.presets[self.preset].views[VIEWS.get(variant, variant)]
        self.construct(variant)

    def construct(self, case: str) -> None:
        """Put the tensors that a case has as its constructor makes them into the network, and back what was filled."""
        makers = [makers for ending, makers in CONSTRUCTED.items() if case.endswith(ending)]
        made = {name: make() for each in makers for name, make in each.items()}
        state = self.detector.network.state_dict()
        for name in made:
            self.filled.setdefault(name, state[name].clone())
        for name, value in {**self.filled, **made}.items():
            state[name].copy_(value)

    def inputs(self) -> dict[str, np.ndarray]:
        """Return the preprocessed images by name, after checking that each is the fixture's image."""
        arrays = {}
        for name, told in self.figures["images"].items():
            decoded = decode((self.images / name).read_bytes(), name)
            assert hashlib.sha256(decoded.pixels.tobytes()).hexdigest() == told["decoded_rgb_sha256"]
            arrays[name] = self.detector.preprocess(decoded.pixels)
        return arrays

    def logits(self, inputs: np.ndarray, names: Sequence[str] = ()) -> np.ndarray:
        """Return the logits of the images so named (nameless noise: none), computed in the type of `inputs`."""
        beside = beside_pixels(self.figures, names)
        return self.detector.logits(torch.from_numpy(inputs), *beside).double().numpy()


def sized(path: Path) -> list[pytest.MarkDecorator]:
    """Return the mark of a fixture whose checkpoint is large."""
    told = json.loads(path.read_text())
    rows = [*told["state_dict"], *told.get("backbone", {}).get("huggingface", ())]
    return [pytest.mark.slow] if sum(math.prod(row[1]) for row in rows) > LARGEST else []


@pytest.fixture(scope="module", params=[pytest.param(name, marks=sized(path)) for name, path in FIXTURES.items()])
def golden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    """Load one fixture's detector; pytest groups the tests by it, so that only one lies in memory at a time."""
    return Golden(FIXTURES[request.param], tmp_path_factory.mktemp("golden"))


@pytest.fixture
def float64(golden: Golden) -> Iterator[torch.nn.Module]:
    """Turn the golden's network to float64 for one test."""
    network = golden.detector.network
    if sum(parameter.numel() for parameter in network.parameters()) > LARGEST_IN_FLOAT64:
        with a_module_at_a_time(network, torch.float64):
            yield network
        return
    yield network.double()
    network.float()


def test_preprocessed_tensors_agree(golden: Golden) -> None:
    worst = {}
    for variant, told in golden.figures["preprocess"].items():
        golden.use(variant)
        inputs = {
            # Figures of fewer axes than a network's input of several pictures are those of the last.
            name: array[-1] if array.ndim > len(told["images"][name]["shape"]) else array
            for name, array in golden.inputs().items()
        }
        assert {name: list(array.shape) for name, array in inputs.items()} == {
            name: figures["shape"] for name, figures in told["images"].items()
        }
        worst[variant] = max(differences(told["images"][name], array) for name, array in inputs.items())
        moments = max(differences_of_moments(told["images"][name], array) for name, array in inputs.items())
        assert moments <= golden.tolerances.moments, (variant, moments)
    print("largest differences", worst)
    assert max(worst.values()) <= golden.tolerances.values, worst


def test_logits_agree_in_float32_one_by_one_and_batched(golden: Golden) -> None:
    worst = {}
    for variant, told in golden.figures["outputs"].items():
        golden.use(variant)
        inputs = golden.inputs()
        # A huge network's batch is the one of noise: these passes take a second each.
        batches = [[name] for name in inputs] + ([] if golden.huge else pairs_of_one_shape(inputs))
        worst[variant] = max(largest_difference(golden, inputs, names, told) for names in batches)
    print("largest differences", worst)
    assert max(worst.values()) <= golden.tolerances.images, worst


def test_logits_agree_in_float64(golden: Golden, float64: torch.nn.Module) -> None:
    check_float64(golden, costly=False)


@pytest.mark.slow
def test_logits_of_the_other_images_agree_in_float64(golden: Golden, float64: torch.nn.Module) -> None:
    check_float64(golden, costly=True)


def test_the_network_alone_agrees_on_noise(golden: Golden) -> None:
    if "network_only" not in golden.figures:
        pytest.skip("the fixture has no figures for the network alone")
    worst = {}
    for case, told in golden.figures["network_only"].items():
        inputs = made_input(told)
        golden.construct(case)
        # Noise moves logits further than photographs do, and rounding with them.
        logits = golden.logits(inputs)
        expected = np.reshape(told["logit"], logits.shape)
        worst[case] = float(np.abs(logits - expected).max() / max(1.0, np.abs(expected).max()))
    print("largest differences", worst)
    assert max(worst.values()) <= golden.tolerances.noise, worst


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


def made_input(told: Mapping[str, Any]) -> np.ndarray:
    """Return the input that a case of the network alone describes, after checking that it is that very one."""
    noise = np.random.RandomState(told["input_seed"]).standard_normal(told["input_shape"]).astype(np.float32)
    inputs = noise * np.float32(told["scale"])
    if "clip" in told.get("input_rule", ""):
        inputs = np.clip(np.float32(0.5) + inputs, 0, 1)
    if "input" in told:
        assert differences(told["input"], inputs) <= 1e-6
    else:
        assert inputs.reshape(-1)[:3].tolist() == told["input_first3"]
    return inputs


def check_float64(golden: Golden, *, costly: bool) -> None:
    """Compare in float64, whose kernels are slow: the costly images, or the others.

    Costly are images of more than 100,000 px, and all but the smallest where the network has over 100 million
    parameters.
    """
    worst = {}
    for variant, told in golden.figures["outputs"].items():
        golden.use(variant)
        inputs = golden.inputs()
        smallest = min(reversed(inputs), key=lambda name: inputs[name].size)
        for name, array in inputs.items():
            wanted = (array.shape[-2] * array.shape[-1] > 100_000 or (golden.huge and name != smallest)) == costly
            if wanted and "logit_float64" in told[name]:
                logits = golden.logits(array[None].astype(np.float64), [name])
                worst[variant, name] = float(np.abs(logits.ravel() - told[name]["logit_float64"]).max())
    print("largest differences", worst)
    assert max(worst.values(), default=0.0) <= golden.tolerances.float64, worst


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
    logits = golden.logits(np.stack([inputs[name] for name in names]), names)
    return max(float(np.abs(logit - told[name]["logit"]).max()) for logit, name in zip(logits, names, strict=True))


def differences(figures: Mapping[str, Any], array: np.ndarray) -> float:
    """Return the largest difference of an array from the figures told of it."""
    flat = array.reshape(-1)[figures["flat_index"]] - np.array(figures["value"])
    extremes = [array.min() - figures["min"], array.max() - figures["max"]]
    return max(float(np.abs([*flat, *extremes]).max()), differences_of_moments(figures, array))


def differences_of_moments(figures: Mapping[str, Any], array: np.ndarray) -> float:
    """Return the larger difference of an array's mean and standard deviation from the figures told of it."""
    mean, std = array.mean(dtype=np.float64), array.std(dtype=np.float64)
    return float(max(abs(mean - figures["mean"]), abs(std - figures["std"])))
