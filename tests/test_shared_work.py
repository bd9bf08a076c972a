"""What models share of a batch: who computes, who takes, how long it is kept, and whose time it is."""

from __future__ import annotations

import time
import weakref

import numpy as np
import pytest
from PIL import Image

from fdr_bench.data.files import FileImage
from fdr_bench.engines import Task, shared
from fdr_bench.engines.local import execute
from fdr_bench.engines.shared import SharedWork
from fdr_bench.types import Prediction


def images(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (4, 4), (number, 0, 0)) for number in range(count)]


def wanted(*keys: str) -> SharedWork:
    """Work of which two detectors want each key."""
    work = SharedWork()
    for key in (*keys, *keys):
        work.expect(key)
    return work


def test_what_two_ask_for_is_made_once_for_the_same_images_in_the_same_order():
    work, made, (a, b) = wanted("key"), [], images(2)

    def ask(*shown):
        return work.once("key", list(shown), lambda: made.append(shown) or len(made))

    assert [ask(a, b), ask(a, b), ask(b, a), ask(a), ask(a, b), ask(a)] == [1, 1, 2, 3, 1, 3]


def test_what_one_alone_asks_for_is_not_kept():
    work, image = SharedWork(), images(1)
    work.expect("key")
    assert [work.once("key", image, object) is work.once("key", image, object) for _ in range(2)] == [False, False]


def test_nothing_is_kept_where_making_fails():
    work, image = wanted("key"), images(1)
    with pytest.raises(MemoryError):
        work.once("key", image, lambda: np.ones(1 << 44, np.uint8))
    assert work.once("key", image, lambda: "made") == "made"


def test_beyond_the_limit_each_makes_its_own(monkeypatch):
    monkeypatch.setattr(shared, "LIMIT", 100)
    work, (a, b) = wanted("key"), images(2)
    first = work.once("key", [a], lambda: np.zeros(60, np.uint8))
    assert work.once("key", [a], lambda: np.ones(60, np.uint8)) is first
    work.once("key", [b], lambda: np.zeros(60, np.uint8))
    assert work.once("key", [b], lambda: np.ones(60, np.uint8)).all()
    work.forget()
    other = work.once("key", [b], lambda: np.zeros(60, np.uint8))
    assert work.once("key", [b], lambda: np.ones(60, np.uint8)) is other


def test_an_image_is_held_as_long_as_what_was_made_of_it():
    work, (image,) = wanted("key"), images(1)
    alive = weakref.ref(image)
    work.once("key", [image], lambda: "made")
    del image
    assert alive() is not None  # or another image might be given its identity
    work.forget()
    assert alive() is None


class Costly:
    """A detector whose score takes a while to compute, and which others compute too."""

    def __init__(self, seconds):
        self.seconds, self.work = seconds, None

    def share(self, work):
        self.work = work
        work.expect("score")

    def predict(self, images):
        return self.work.once("score", images, lambda: self.scores(images))

    def scores(self, images):
        time.sleep(self.seconds)
        return [Prediction(score=np.asarray(image).mean() / 255) for image in images]


def test_the_time_of_what_is_shared_counts_for_every_model(tmp_path):
    detectors = {"first": Costly(0.2), "second": Costly(30)}
    path = tmp_path / "image.png"
    images(1)[0].save(path)
    task = Task([FileImage(str(path), path.stat().st_size)], list(detectors))
    outcome = execute(task, detectors, shared=SharedWork(detectors.values()))
    assert outcome.predictions["first"] == outcome.predictions["second"]
    assert all(0.2 <= seconds < 5 for seconds in outcome.seconds.values())
