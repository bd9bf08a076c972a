"""The self-test passes sound detectors and, for every clause of the contract, catches one that breaks it."""

from __future__ import annotations

import random
import socket

import numpy as np
import pytest

from fdr_bench.errors import ImageError
from fdr_bench.selftest import DETECTOR_CHECKS, probe_images
from fdr_bench.selftest.construction import import_is_light
from fdr_bench.selftest.images import odd_images
from fdr_bench.types import DetectorCard, Prediction
from tests.contract import Sound, failed, results


def test_a_sound_detector_passes_every_check():
    found = results(Sound)
    assert [name for name, result in found.items() if result.passed is False] == []
    assert set(DETECTOR_CHECKS) < set(found)
    assert found["a high score means fake"].passed is None  # no labelled images were given


def test_the_images_stand_for_same_sized_and_other_sized_ones_and_are_the_same_each_time():
    images = probe_images()
    assert images[0].size == images[1].size != images[2].size
    assert [image.tobytes() for image in images] == [image.tobytes() for image in probe_images()]
    assert all(image.mode == "RGB" for image in images)
    assert {(1, 1), (2, 3), (1600, 1200)} < {image.size for _, image in odd_images()}


# ---------------------------------------------------------------- one culprit a clause


def counted(predict):
    return type("Culprit", (Sound,), {"predict": predict})


def judged(judge):
    return type("Culprit", (Sound,), {"judge": judge})


class Drifting(Sound):
    calls = 0

    def judge(self, image):
        Drifting.calls += 1
        return (Drifting.calls % 97) / 97


class Batched(Sound):
    def predict(self, images):
        mean = np.mean([np.asarray(image).mean() for image in images] or [0])
        return [Prediction(score=float(np.clip(np.asarray(i).mean() / 255 - mean / 1000, 0, 1))) for i in images]


class Darkening(Sound):
    def judge(self, image):
        image.putpixel((0, 0), (0, 0, 1))
        return 0.5


class Consuming(Sound):
    def predict(self, images):
        answers = [Prediction(score=0.5) for _ in images]
        if images:
            images.clear() if isinstance(images, list) else None
        return answers


class Snooping(Sound):
    def judge(self, image):
        return 1.0 if image.info else 0.5


class Sorting(Sound):
    def predict(self, images):
        return super().predict(sorted(images, key=lambda image: image.tobytes()[:3]))


class Unseeded(Sound):
    def __init__(self, **_):
        self.bias = random.random() / 10

    def judge(self, image):
        return self.bias


CULPRITS = [
    ("one prediction an image", counted(lambda self, images: [Prediction(score=0.5)] * 2), "2 predictions for 5"),
    ("one prediction an image", counted(lambda self, images: (Prediction(score=0.5) for _ in images)), "generator"),
    ("one prediction an image", counted(lambda self, images: [0.5 for _ in images]), "float in its list"),
    ("scores and verdicts are valid", judged(lambda self, image: 1.5), "score is 1.5"),
    ("scores and verdicts are valid", judged(lambda self, image: float("nan")), "score is nan"),
    ("scores and verdicts are valid", judged(lambda self, image: np.float32(0.5)), "numpy.float32; wrap it in float"),
    ("scores and verdicts are valid", judged(lambda self, image: True), "builtins.bool"),
    ("scores and verdicts are valid", judged(lambda self, image: None), "no image got a score or a verdict"),
    (
        "scores and verdicts are valid",
        counted(lambda self, images: [Prediction(verdict="Fake") for _ in images]),
        "verdict is 'Fake'",
    ),
    (
        "scores and verdicts are valid",
        counted(lambda self, images: [Prediction(score=0.5, raw=b"x") for _ in images]),
        "raw is a bytes",
    ),
    (
        "no images give no predictions",
        counted(lambda self, images: [Prediction(score=float(np.stack(images).mean()))] * len(images)),
        "need at least one array",
    ),
    ("the same images give the same predictions", Drifting, "on the second call"),
    ("a prediction does not depend on its batch", Batched, "when it came alone"),
    ("predictions follow the order of the images", Sorting, "in reverse"),
    ("images are left as they were", Darkening, "predict changed image 0"),
    ("images are left as they were", Consuming, "predict changed the list"),
    ("file metadata change nothing", Snooping, "text chunks and a file name"),
    (
        "odd images are answered or refused with a reason",
        judged(lambda self, image: 0.5 / (image.width - 1)),
        "1×1 pixels: ZeroDivisionError",
    ),
    ("a second construction predicts the same", Unseeded, "random initialisation"),
]


@pytest.mark.parametrize(("clause", "culprit", "reason"), CULPRITS, ids=[f"{c[0]}: {c[2]}" for c in CULPRITS])
def test_a_broken_clause_is_caught_with_its_reason(clause, culprit, reason):
    assert reason in failed(culprit)[clause]


def test_a_random_score_that_the_harness_seeds_is_still_caught():
    class Random(Sound):
        def judge(self, image):
            return random.random()

    assert "the same images give the same predictions" in failed(Random)


def test_changed_reasoning_is_caught():
    class Chatty(Sound):
        calls = 0

        def predict(self, images):
            Chatty.calls += 1
            return [Prediction(score=0.5, reasoning=f"thought {Chatty.calls}") for _ in images]

    assert "reasoning changed" in failed(Chatty)["the same images give the same predictions"]


def test_an_image_refused_with_the_harnesss_own_error_is_no_failure():
    class Choosy(Sound):
        def judge(self, image):
            if min(image.size) < 8:
                raise ImageError(f"{image.width}×{image.height} is too small; at least 8×8 is needed")
            return super().judge(image)

    found = results(Choosy)["odd images are answered or refused with a reason"]
    assert found.passed
    assert "1×1 pixels: 1×1 is too small" in found.detail


def test_a_tolerance_can_be_given_for_devices_whose_kernels_vary():
    assert failed(Batched, tolerance=1.0) == {}


# ---------------------------------------------------------------- construction


def test_a_detector_that_cannot_be_constructed_says_why_and_ends_there():
    class Old(Sound):
        def __init__(self, path):
            pass

    found = results(Old)
    assert set(found) == {"card is complete", "can be constructed, without the network"}
    assert "preset=, device=, weights= and view=" in found["can be constructed, without the network"].detail


def test_opening_the_network_during_construction_is_caught():
    class Online(Sound):
        def __init__(self, **_):
            socket.create_connection(("192.0.2.1", 80), timeout=0.01)

    assert "it opens the network" in failed(Online)["can be constructed, without the network"]
    assert socket.socket.connect is not None and "refuse" not in repr(socket.getaddrinfo)


def test_what_has_no_predict_is_no_detector():
    def factory(**_):
        return 3

    factory.card = Sound.card
    assert "a int has neither predict" in failed(factory)["can be constructed, without the network"]


def test_an_incomplete_card_is_caught():
    class Anonymous(Sound):
        card = DetectorCard(name="anonymous", paper="", licence="MIT", threshold=2.0)

    detail = failed(Anonymous)["card is complete"]
    assert "no paper" in detail and "threshold 2.0" in detail


def test_a_module_that_imports_torch_is_told_from_a_light_one():
    assert import_is_light("fdr_bench.plugins").passed
    assert not import_is_light("no_such_module_here").passed


@pytest.mark.slow
def test_a_heavy_module_is_named():
    assert "torch" in import_is_light("torch").detail
