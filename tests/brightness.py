"""A detector out of a file, for tests: no network, no weights, and slow where a test asks for it."""

import os
import time
from typing import ClassVar

from PIL import ImageStat

from fdr_bench import DetectorCard, Prediction


class Brightness:
    """The mean of all channels over 255."""

    card: ClassVar = DetectorCard(name="brightness", paper="none", licence="MIT", title="Mean brightness")

    def __init__(self, *, preset, device, weights, view):
        self._seconds = float(os.environ.get("BRIGHTNESS_SECONDS_AN_IMAGE", "0"))

    def predict(self, images):
        time.sleep(self._seconds * len(images))
        return [Prediction(score=sum(ImageStat.Stat(image).mean) / 3 / 255, score_source="mean") for image in images]


class Clumsy(Brightness):
    """Fails on square images, answers out of range on tall ones."""

    card: ClassVar = DetectorCard(name="clumsy", paper="none", licence="MIT")

    def predict(self, images):
        if any(image.width == image.height for image in images):
            raise ValueError("no squares, please")
        scores = super().predict(images)
        return [Prediction(score=7.0) if i.height > i.width else s for i, s in zip(images, scores, strict=True)]


class Unloadable(Brightness):
    """Cannot be constructed."""

    card: ClassVar = DetectorCard(name="unloadable", paper="none", licence="MIT")

    def __init__(self, *, preset, device, weights, view):
        raise RuntimeError("the moon is in the wrong house")
