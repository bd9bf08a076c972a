"""What docs/your-own-detector.md shows is true: its file runs, and its names are those that are made."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import fdr_bench
from fdr_bench.engines.shared import SharedWork
from fdr_bench.plugins import load_file
from fdr_bench.scaffold import new_detector
from fdr_bench.selftest import run_selftest

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "your-own-detector.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


def test_the_file_on_the_page_is_a_detector_that_keeps_the_contract(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(blocks("python")[0])
    factory = load_file(f"{tmp_path}/mine.py:Smoothness")
    assert {result.name: result.detail for result in run_selftest(factory) if result.passed is False} == {}


def test_the_card_on_the_page_can_be_made():
    card = blocks("python")[1].split("\n\n\n")[0]
    names: dict[str, object] = {name: getattr(fdr_bench, name) for name in fdr_bench.__all__}
    exec(card, names)
    assert names["card"].presets["official"].trained_on.generators == ("progan",)


def test_the_entry_point_on_the_page_is_what_is_scaffolded(tmp_path):
    folder = new_detector("spectrum", tmp_path / "spectrum")
    (shown,) = blocks("toml")
    assert shown in (folder / "pyproject.toml").read_text()
    assert (folder / "src/fdr_bench_spectrum/detector.py").is_file()


def test_detectors_that_share_as_on_the_page_compute_once():
    names = {"Prediction": fdr_bench.Prediction}
    exec(blocks("python")[2], names)
    made = []

    class Bright(names["Mine"]):
        key = "brightness"

        def features(self, images):
            made.append(len(images))
            return [np.asarray(image).mean() for image in images]

        def judge(self, row):
            return row / 255

    images = [Image.new("RGB", (4, 4), (level, level, level)) for level in (51, 102)]
    one, other = Bright(), Bright()
    assert [each.score for each in one.predict(images)] == [0.2, 0.4]
    SharedWork([one, other])
    assert one.predict(images) == other.predict(images)
    assert made == [2, 2]
