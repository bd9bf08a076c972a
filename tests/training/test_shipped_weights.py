"""The weights in this repository: small, described, and above chance on the generator they were trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fdr_bench import plugins
from fdr_bench.data import open_dataset
from fdr_bench.images import decode
from fdr_bench.store import read_json
from fdr_bench.weights import resolve_preset

WEIGHTS = Path(__file__).resolve().parents[2] / "baselines" / "weights"
SHIPPED = sorted(folder.name for folder in WEIGHTS.glob("*-scenes") if folder.name != "clip-scenes")
LARGEST = 2_000_000
AT_CHANCE = ("de-fake-scenes", "fatformer-scenes", "spai-scenes")
"""What the paper's recipe did not teach to this size, and what the documentation says so of."""


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_are_small_and_tell_how_they_came_about(name):
    folder = WEIGHTS / name
    assert {path.name for path in folder.iterdir()} == {"card.json", "model.safetensors"}
    assert (folder / "model.safetensors").stat().st_size <= LARGEST
    card = read_json(folder / "card.json")
    assert card["detector"] == name.removesuffix("-scenes")
    assert card["size"] == "scenes"
    assert len(card["trained_on"]["generators"]) == 1
    assert card["command"].startswith("fdr-bench train")
    assert card["cpu_seconds"] <= 1200  # ten minutes on two cores


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_detector_is_a_preset_that_loads_and_scores(name):
    detector = plugins.load_detector(name.removesuffix("-scenes"))
    weights = resolve_preset(detector.card, "scenes")
    assert weights["weights"] == WEIGHTS / name
    loaded = detector(preset="scenes", device="cpu", weights=weights, view=None)
    images = [Image.new("RGB", size, (200, 90, 10)) for size in ((128, 128), (200, 300))]
    assert all(0 < prediction.score < 1 for prediction in loaded.predict(images))


def test_all_weights_of_the_detectors_together_are_small():
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*.safetensors")) <= 13_000_000


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SHIPPED if name not in AT_CHANCE])
def test_shipped_weights_are_above_chance_on_their_own_generator(name):
    detector = plugins.load_detector(name.removesuffix("-scenes"))
    generator = read_json(WEIGHTS / name / "card.json")["trained_on"]["generators"][0]
    samples = open_dataset(f"scenes:test?fakes=100&generator={generator}").samples
    loaded = detector(preset="scenes", device="cpu", weights={"weights": WEIGHTS / name}, view=None)
    images = [decode(sample.image.read(), sample.id).pixels for sample in samples]
    said = np.array([(each.score or 0) > 0.5 for each in loaded.predict(images)])
    fake = np.array([sample.label == "fake" for sample in samples])
    balanced = (said[fake].mean() + (~said[~fake]).mean()) / 2
    # 100 of each class at chance: 0.5 with a standard error of 0.035, so 0.61 is three of them above.
    assert balanced > 0.61
