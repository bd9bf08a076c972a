"""Resizing as OpenCV does it: figures of opencv-python 5.0.0, and what holds of any resizing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fdr_bench.images import decode, geometry
from fdr_bench.opencv_resize import resize_like_opencv
from fdr_bench.types import OpenCVResize, View

IMAGES = Path(__file__).parent / "goldens" / "images"

SMALL = np.array(
    [[10, 200, 30, 90, 250], [0, 60, 255, 120, 7], [33, 44, 180, 5, 160], [90, 90, 210, 17, 1]], dtype=np.uint8
)

# What cv2.resize gave for SMALL, bilinear and bicubic.
FIGURES = {
    (2, 3): ([[47, 143, 121], [63, 195, 57]], [[42, 150, 113], [58, 188, 55]]),
    (4, 2): ([[153, 130], [45, 92], [41, 44], [90, 13]], [[175, 133], [26, 80], [27, 22], [77, 0]]),
    (6, 7): (
        [
            [10, 118, 151, 30, 73, 158, 250],
            [5, 76, 133, 143, 116, 115, 129],
            [5, 35, 110, 242, 141, 71, 32],
            [28, 38, 88, 192, 72, 71, 134],
            [62, 65, 103, 195, 63, 41, 81],
            [90, 90, 124, 210, 72, 10, 1],
        ],
        [
            [0, 149, 178, 10, 38, 173, 255],
            [0, 75, 152, 150, 126, 112, 114],
            [0, 4, 114, 255, 167, 49, 3],
            [22, 17, 89, 192, 59, 56, 158],
            [65, 52, 106, 188, 45, 20, 102],
            [95, 82, 134, 213, 78, 0, 0],
        ],
    ),
}

# First 16 hex digits of the sha256 of what cv2.resize gave for the pictures, by (height, width): bilinear, bicubic.
DIGESTS = {
    ("astronaut_512x512.png", (224, 224)): ("fe59aac843e2734a", "b69cbf7b7c90afc6"),
    ("astronaut_512x512.png", (512, 512)): ("a8c429c18afa7b0f", "a8c429c18afa7b0f"),
    ("astronaut_512x512.png", (100, 37)): ("f74cd4ed43d1a87e", "30d2bbe4e8920dac"),
    ("chelsea_137x91.png", (224, 224)): ("00156b5ee97a96cd", "822b3f97e7719172"),
    ("chelsea_137x91.png", (512, 512)): ("5537aeb3e95b5cb6", "fe339491857f4926"),
    ("chelsea_137x91.png", (100, 37)): ("2625c018f0005faf", "92896f87eb5ff73c"),
    ("coffee_600x400.jpg", (224, 224)): ("df8164fe34a450c7", "13865629cde4a688"),
    ("coffee_600x400.jpg", (512, 512)): ("6eadf0c2c9aaff16", "e25d5a6349be1edc"),
    ("rocket_640x427.jpg", (224, 224)): ("983e0c531a7bb942", "b08013f3d702df97"),
    ("rocket_640x427.jpg", (512, 512)): ("7477a55400b6e26b", "bb5229296260ca18"),
}


def three(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.dstack([plane] * 3)


@pytest.mark.parametrize("size", FIGURES)
@pytest.mark.parametrize("bicubic", [False, True], ids=["bilinear", "bicubic"])
def test_small_figures_are_opencvs(size: tuple[int, int], bicubic: bool) -> None:
    resized = resize_like_opencv(three(SMALL), size, bicubic=bicubic)
    assert resized.dtype == np.uint8
    assert resized.tolist() == three(np.array(FIGURES[size][bicubic], np.uint8)).tolist()


@pytest.mark.parametrize(("name", "size"), DIGESTS)
@pytest.mark.parametrize("bicubic", [False, True], ids=["bilinear", "bicubic"])
def test_every_pixel_of_a_photograph_is_opencvs(name: str, size: tuple[int, int], bicubic: bool) -> None:
    pixels = np.asarray(decode((IMAGES / name).read_bytes(), name).pixels)
    resized = np.ascontiguousarray(resize_like_opencv(pixels, size, bicubic=bicubic))
    assert hashlib.sha256(resized.tobytes()).hexdigest()[:16] == DIGESTS[name, size][bicubic]


def naive(plane: NDArray[np.uint8], size: tuple[int, int], bicubic: bool) -> NDArray[np.float64]:
    """Sum each output pixel's neighbours one by one, weighed by the kernel at their distance, without any rounding."""

    def kernel(distance: float) -> float:
        if not bicubic:
            return max(1 - distance, 0)
        if distance <= 1:
            return 1.25 * distance**3 - 2.25 * distance**2 + 1
        return -0.75 * (distance**3 - 5 * distance**2 + 8 * distance - 4) if distance < 2 else 0.0

    out = np.zeros(size)
    for i in range(size[0]):
        for j in range(size[1]):
            y = (i + 0.5) * plane.shape[0] / size[0] - 0.5
            x = (j + 0.5) * plane.shape[1] / size[1] - 0.5
            for row in range(int(y) - 3, int(y) + 5):
                for column in range(int(x) - 3, int(x) + 5):
                    level = plane[min(max(row, 0), plane.shape[0] - 1), min(max(column, 0), plane.shape[1] - 1)]
                    out[i, j] += kernel(abs(row - y)) * kernel(abs(column - x)) * level
    return out.clip(0, 255)


@pytest.mark.parametrize("bicubic", [False, True], ids=["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(3, 2), (9, 13), (1, 1), (7, 5), (20, 4)])
@pytest.mark.parametrize("before", [(7, 11), (5, 4), (1, 1), (2, 3), (16, 1)])
def test_levels_are_those_of_the_formula_to_one(before: tuple[int, int], size: tuple[int, int], bicubic: bool) -> None:
    plane = np.random.default_rng(0).integers(0, 256, before, dtype=np.uint8)
    resized = resize_like_opencv(three(plane), size, bicubic=bicubic)
    assert np.abs(resized[:, :, 0] - naive(plane, size, bicubic)).max() <= 1
    assert (resized == resized[:, :, :1]).all()


@pytest.mark.parametrize("bicubic", [False, True], ids=["bilinear", "bicubic"])
@pytest.mark.parametrize("level", [0, 1, 77, 254, 255])
def test_a_flat_image_stays_flat(level: int, bicubic: bool) -> None:
    pixels = np.full((9, 14, 3), level, np.uint8)
    for size in [(3, 5), (31, 40), (9, 3)]:
        assert (resize_like_opencv(pixels, size, bicubic=bicubic) == level).all()


def test_halving_bilinearly_is_the_mean_of_four_pixels_rounded_up_at_a_half() -> None:
    plane = np.array([[0, 1], [0, 1]], np.uint8)  # 2 / 4 = 0.5
    assert resize_like_opencv(three(plane), (1, 1), bicubic=False).tolist() == [[[1, 1, 1]]]


@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
def test_the_step_of_a_view_takes_height_before_width(name: str) -> None:
    image = Image.fromarray(three(SMALL))
    view = View(steps=(OpenCVResize((6, 7), name),), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))  # type: ignore[arg-type]
    resized = geometry(view, image)
    assert resized.size == (7, 6) and resized.mode == "RGB"
    assert np.asarray(resized)[:, :, 0].tolist() == FIGURES[6, 7][name == "bicubic"]
