"""What several tests of FakeReasoning begin with."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fakereasoning.pipeline import Plan
from fakereasoning.sizes import size
from tests.fakereasoning import small
from tests.fakereasoning.test_stage1 import SAMPLES, Letters

DATA = "scenes:train?n=16&size=32"


@pytest.fixture
def plan(tmp_path, monkeypatch) -> Plan:
    """A plan for the small model: two steps a stage on sixteen pictures."""

    def small_size(name, *, vision=None, fusion=None):
        asked = size(name, vision=vision, fusion=fusion)
        config = replace(small.config(320), max_length=512)
        return replace(
            config, vision=asked.vision, fusion=asked.fusion, dino=None if asked.dino is None else config.dino
        )

    for module in ("starting", "pipeline"):
        monkeypatch.setattr(f"fakereasoning.{module}.size", small_size)
    monkeypatch.setattr("fakereasoning.stage1.minilm", Letters)
    monkeypatch.setenv("FDR_BENCH_CACHE", str(tmp_path.parent / "cache"))
    changes = {
        "words": {"batch": 8},
        "base": {"batch": 4},
        "facl": {"batch": 8},
        "tune": {"batch": 4},
    }
    return Plan(data=DATA, out=tmp_path / "out", changes=changes, steps=2, threads=1, quiet=True, command="again")


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Give every fake a mask: its stripes show in the left half, where the right half is made plain."""
    folder = tmp_path_factory.mktemp("regions")
    half = np.zeros((16, 16), dtype=np.uint8)
    half[:, :8] = 255
    Image.fromarray(half).save(folder / "left.png")
    given = []
    for sample in SAMPLES:
        said = [name for name, text in (sample.attributes or {}).items() if text]
        regions = {name: str(folder / "left.png") for name in said} if sample.label == "fake" else None
        given.append(replace(sample, regions=regions, caption="Stripes here."))
    return given
