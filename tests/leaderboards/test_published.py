"""Printed numbers: each belongs to a detector and preset that exist, and comes with its source."""

from __future__ import annotations

import csv
import math
import re

import pytest

from fdr_bench import plugins
from leaderboards.published import DATASETS, FOLDER, METHODS, published

FILES = sorted(path.name for path in FOLDER.glob("*.csv"))
OURS = re.compile(
    r"npr|unifd|univ[fd]|ojha|cnnspot|cnndetection|wang|lgrad|gram-?net|freqnet|fatformer|drct|c2p|aide|spai|effort"
    r"|de-?fake|fakereasoning|\bours\b(?! w/o)",
    re.IGNORECASE,
)
NOT_OURS = {
    "DDA (ours)",  # a detector that is no plugin here
    "FakeReasoning DINO layer 12 vs 24",  # a difference
}


def rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def methods() -> list[dict[str, str]]:
    with METHODS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", FILES)
def test_every_row_of_a_file_has_a_source_and_a_number(name: str) -> None:
    found = rows(name)
    assert found
    for row in found:
        assert list(row) == ["source", "method", "dataset", "generator", "metric", "value"]
        assert all(row.values()) and math.isfinite(float(row["value"]))


@pytest.mark.parametrize("name", FILES)
def test_every_method_that_is_a_detector_here_is_known_as_one(name: str) -> None:
    printed = {row["method"] for row in rows(name)}
    known = {row["method"] for row in methods() if row["file"] == name}
    assert known <= printed
    assert {method for method in printed - NOT_OURS if OURS.search(method)} - known == set()


def test_methods_are_named_once_a_file() -> None:
    pairs = [(row["file"], row["method"]) for row in methods()]
    assert len(pairs) == len(set(pairs)) and {file for file, _ in pairs} == set(FILES)


@pytest.mark.parametrize("detector", sorted({row["detector"] for row in methods()}))
def test_a_known_method_is_an_entry_point_with_that_preset(detector: str) -> None:
    presets = plugins.load_detector(detector).card.presets
    assert {row.preset for row in published(detector) if row.preset} <= set(presets)
    assert published(detector) and all(row.weights and row.source for row in published(detector))


def test_every_known_dataset_is_printed_somewhere() -> None:
    assert set(DATASETS) <= {row["dataset"] for name in FILES for row in rows(name)}


def test_a_row_is_given_as_printed_with_its_source() -> None:
    (row,) = [
        row
        for row in published("cnndetection", preset="official", dataset="ForenSynths test")
        if (row.generator, row.metric, row.weights) == ("StyleGAN", "AP (crop 224)", "the authors'")
    ]
    # In cnndetection_readme.csv: source,CNNDetection Blur+JPEG(0.5),ForenSynths test,StyleGAN,AP (crop 224),98.5
    assert (row.method, row.printed, row.value) == ("CNNDetection Blur+JPEG(0.5)", "98.5", 98.5)
    assert row.source == "github PeterWang512/CNNDetection README.md"


def test_a_dataset_is_known_by_its_name_here() -> None:
    by_name = published("npr", dataset="mmfr_mini-eval")
    assert by_name == published("npr", dataset="MMFR-Dataset eval")
    assert {row.dataset for row in by_name} == {"MMFR-Dataset eval"}
    # The paper's Table II: ten generators and their mean.
    assert len([row for row in by_name if row.file == "fakereasoning_table2.csv"]) == 11
    assert published("npr", dataset="genimage-degraded") == ()
    assert {row.dataset for row in published("gramnet", dataset="genimage-degraded")} == {"GenImage degraded"}


def test_the_name_of_a_mean_over_sets_is_no_dataset_but_can_be_asked_for() -> None:
    assert {row.metric for row in published("drct", dataset="Avg ACC")} == {"ACC"}
    assert published("drct", dataset="avg-acc") == ()


def test_a_preset_leaves_out_the_numbers_of_another_and_keeps_those_of_none_in_particular() -> None:
    everything = published("drct")
    convnext, clip = published("drct", preset="official"), published("drct", preset="official-clip")
    assert {row.method for row in everything} - {row.method for row in convnext} == {"DRCT/UnivFD"}
    assert {row.method for row in everything} - {row.method for row in clip} == {"DRCT/Conv-B"}
    retrained = [row for row in published("npr", preset="official", dataset="mmfr") if row.preset is None]
    assert "retrained on MMFR-Dataset" in {row.weights for row in retrained}


def test_nothing_printed_is_nothing() -> None:
    assert published("constant") == () and published("npr", dataset="cifake") == ()
