"""The self-test's probe of a score's polarity, and its contract of set baselines."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from baselines.npr import NPR
from fdr_bench.data import open_dataset
from fdr_bench.images import decode
from fdr_bench.selftest import BASELINE_CHECKS, probe_images
from fdr_bench.selftest.construction import import_is_light
from fdr_bench.selftest.polarity import _auroc, fakes_score_higher
from fdr_bench.types import DetectorCard, Prediction
from fdr_bench.weights import resolve_preset
from tests.contract import Sound, failed, results

# ---------------------------------------------------------------- polarity


def labelled(count=12):
    bright = [(image.point(lambda value: 128 + value // 2), "fake") for image in probe_images(count, seed=1)]
    dark = [(image.point(lambda value: value // 2), "real") for image in probe_images(count, seed=2)]
    return [*bright, *dark]


def test_the_polarity_of_a_score_is_probed():
    assert results(Sound, labelled=labelled())["a high score means fake"].passed
    swapped = type("Swapped", (Sound,), {"judge": lambda self, image: 1 - float(np.asarray(image).mean() / 255)})
    assert failed(swapped, labelled=labelled())["a high score means fake"].startswith("probably inverted: ")


def test_of_a_model_that_states_verdicts_only_these_are_probed():
    def states(fake, real):
        return lambda self, images: [
            Prediction(verdict=fake if np.asarray(image).mean() > 127 else real) for image in images
        ]

    right, wrong = (
        type("Stating", (Sound,), {"predict": states(*words)}) for words in (("fake", "real"), ("real", "fake"))
    )
    found = results(right, labelled=labelled())["a high score means fake"]
    assert found.passed and "12 fakes and 12 reals" in found.detail
    assert failed(wrong, labelled=labelled())["a high score means fake"].startswith("probably inverted: ")


def test_a_real_detector_turned_round_is_reported_as_probably_inverted():
    class Inverted(NPR):
        def probability(self, logits):
            return 1 - super().probability(logits)

    samples = open_dataset("scenes:test?fakes=2&reals=12").samples
    images = [(decode(each.image.read(), each.image.location).pixels, each.label) for each in samples]
    weights = resolve_preset(NPR.card, "scenes")
    straight, turned = (fakes_score_higher(each(preset="scenes", weights=weights), images) for each in (NPR, Inverted))
    assert straight.passed is True, straight
    assert turned.passed is False and turned.detail.startswith("probably inverted: fakes score lower than reals")
    # The areas of a score and of its complement add up to 1.
    areas = [float(re.search(r"AUROC (\d\.\d+)", each.detail).group(1)) for each in (straight, turned)]
    assert sum(areas) == pytest.approx(1.0, abs=2e-3) and areas[0] > 0.8


def test_a_detector_at_chance_is_not_accused():
    flat = type("Flat", (Sound,), {"judge": lambda self, image: 0.5})
    found = results(flat, labelled=labelled())["a high score means fake"]
    assert found.passed and "AUROC 0.500" in found.detail


def test_auroc_counts_pairs():
    # pairs: (.9>.1) (.9>.5) (.5>.1) (.5=.5): 3.5 of 4
    assert _auroc([0.9, 0.5], [0.1, 0.5]) == 0.875


# ---------------------------------------------------------------- set baselines


class Prior:
    """The share of fakes: sees nothing."""

    card = DetectorCard(name="prior", paper="none", licence="MIT")

    def __init__(self, *, preset, device, weights, view):
        pass

    def predict_set(self, files, fake, groups):
        return [Prediction(score=sum(fake) / len(fake)) for _ in files]


class Leaking(Prior):
    """The label of the nearest other file by size and dimensions: of its twin, where it has one."""

    def predict_set(self, files, fake, groups):
        def judge(index):
            others = [other for other in range(len(files)) if other != index]
            if not others:
                return 0.5
            width, size = files[index].width, files[index].bytes
            near = min(others, key=lambda o: abs(files[o].width - width) + abs(files[o].bytes - size))
            return float(fake[near])

        return [Prediction(score=judge(index)) for index in range(len(files))]


def test_a_sound_set_baseline_passes_every_check():
    found = results(Prior)
    assert set(BASELINE_CHECKS) < set(found)
    assert all(result.passed for result in found.values()), found


def test_a_set_baseline_that_learns_from_an_images_twin_is_caught():
    assert "both sides of a fold" in failed(Leaking)["files of the same bytes are never on both sides of a fold"]


def test_a_set_baseline_that_needs_both_labels_is_caught():
    class Fussy(Prior):
        def predict_set(self, files, fake, groups):
            return [Prediction(score=sum(fake) / (len(fake) - sum(fake))) for _ in files]

    assert "ZeroDivisionError" in failed(Fussy)["one label only, and tiny sets, are handled"]


def test_the_selftest_is_light_to_import():
    assert "fdr_bench.selftest" in sys.modules
    assert import_is_light("fdr_bench.selftest").passed


def test_a_set_baseline_that_gives_too_few_or_touches_its_lists_is_caught():
    class Short(Prior):
        def predict_set(self, files, fake, groups):
            return super().predict_set(files, fake, groups)[:-1]

    class Sorting(Prior):
        def predict_set(self, files, fake, groups):
            fake.sort()
            return super().predict_set(files, fake, groups)

    clause = "one prediction a file, and the lists left alone"
    assert "39 predictions for 40 files" in failed(Short)[clause]
    assert "changed the lists" in failed(Sorting)[clause]
