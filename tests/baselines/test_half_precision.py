"""Every official network on a GPU, in float32 and in half precision, against the figures of its fixture.

The figures are the authors' code's in float32, for weights filled by name: tests/test_goldens.py compares them on a
processor, with the same checkpoints and pictures. No detector has an option for its precision: here its network is
cast, and what it reads with it, which is what a user of the class can do.

A tolerance of half precision is a share of the logits' scale: the largest logit among a variant's pictures, or 1 where
that is less. So nearly all fixtures are held to 1e-2 itself in float16, and the one whose logits go to -27 to a
hundredth of these, because float16 has steps of 0.016 there. The fixtures' notes ask for a few times the rounding noise
of the precision, which grows with the logits; tests/test_goldens.py reads its tolerances of noise in the same way.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.goldens.official import beside_pixels
from tests.test_goldens import FIXTURES, Golden

DEVICE = "cuda"

FLOAT32 = 10
"""How many times the tolerance of a processor a GPU has in float32.

Its kernels add in other orders, and some convolutions (Winograd's) round several times as much as a plain sum.
"""

HALF = {torch.float16: 1e-2, torch.bfloat16: 8e-2}
"""Largest differences as shares of the logits' scale. Bfloat16 has three bits fewer, so its rounding is eight times."""

pytestmark = [
    pytest.mark.gpu,
    # Where PyTorch 2.9 and later are asked for whole float32 in the words that earlier ones understand.
    pytest.mark.filterwarnings("ignore:Please use the new API settings to control TF32:UserWarning"),
]


class Worst(NamedTuple):
    """The largest difference of one variant's logits from the figures, and the scale that it is a share of."""

    difference: float
    scale: float

    @property
    def share(self) -> float:
        return self.difference / self.scale


@pytest.fixture(scope="module", params=list(FIXTURES), ids=lambda name: name.removesuffix(".json"))
def golden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    """Load one fixture's detector onto the GPU; only one lies in memory, and on the disk, at a time."""
    folder = tmp_path_factory.mktemp("half")
    loaded = Golden(FIXTURES[request.param], folder)
    detector: Any = loaded.detector  # whose class makes what the object has under the same name
    detector.device = torch.device(DEVICE)
    detector.network.to(DEVICE)
    for path in folder.iterdir():
        path.unlink()  # 17 GB in all
    return loaded


@pytest.fixture(autouse=True)
def whole_float32() -> Iterator[None]:
    """Keep cuDNN from rounding float32 to TF32, which is its habit; matrix products do not unless told to."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def test_a_gpu_gives_the_figures_in_float32(golden: Golden, record_property: Callable[[str, object], None]) -> None:
    worst = largest_differences(golden, torch.float32)
    tell(worst, "float32", record_property)
    allowed = FLOAT32 * golden.tolerances.images
    # What is no number is not near: `max` could pass over it.
    assert all(each.difference <= allowed for each in worst.values()), (worst, allowed)


@pytest.mark.parametrize("precision", HALF, ids=["float16", "bfloat16"])
def test_half_precision_on_a_gpu_stays_near_the_figures(
    golden: Golden, precision: torch.dtype, record_property: Callable[[str, object], None]
) -> None:
    worst = largest_differences(golden, precision)
    tell(worst, str(precision).removeprefix("torch."), record_property)
    assert all(each.share <= HALF[precision] for each in worst.values()), worst


def largest_differences(golden: Golden, precision: torch.dtype) -> dict[str, Worst]:
    """Return, by variant, how far the logits of the images are from the figures, computed in this precision."""
    found = {}
    for variant, told in golden.figures["outputs"].items():
        golden.use(variant)
        figures = {name: np.array(told[name]["logit"]) for name in golden.figures["images"]}
        scale = max(1.0, *(float(np.abs(each).max()) for each in figures.values()))
        with network_in(golden, precision):
            logits = {name: logit(golden, name, array, precision) for name, array in golden.inputs().items()}
        gaps = np.concatenate([np.abs(logits[name] - figures[name]) for name in figures])
        found[variant] = Worst(float(gaps.max()), scale)
    return found


@contextmanager
def network_in(golden: Golden, precision: torch.dtype) -> Iterator[None]:
    """Have the detector compute in this precision inside, with a copy of its network."""
    detector: Any = golden.detector
    whole = detector.network
    detector.network = copy.deepcopy(whole).to(precision)
    try:
        yield
    finally:
        detector.network = whole


def logit(golden: Golden, name: str, array: np.ndarray, precision: torch.dtype) -> np.ndarray:
    """Return one image's logits (1,) or (2,) in float64, after checking that they were computed as asked."""
    beside = (each.to(DEVICE) for each in beside_pixels(golden.figures, [name]))
    logits: Tensor = golden.detector.logits(torch.from_numpy(array[None]).to(DEVICE, precision), *beside)
    assert logits.dtype == precision and logits.device.type == DEVICE
    flat: np.ndarray = logits.double().cpu().numpy().reshape(-1)
    return flat


def tell(worst: dict[str, Worst], precision: str, record_property: Callable[[str, object], None]) -> None:
    """Show the differences with -s, and put them into a report of --junit-xml."""
    for variant, each in worst.items():
        print(f"{precision} {variant}: {each.difference:.3g} of logits up to {each.scale:.3g}")
        record_property(f"{precision} {variant}", each.difference)
