"""Resizing of float values against PyTorch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fdr_bench.images import apply_view, geometry
from fdr_bench.tensor_resize import resize_values, taps
from fdr_bench.types import DropOdd, TensorResize, View
from tests.awkward import photograph

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize(
    ("before", "after"),
    [((61, 47), (29, 40)), ((32, 32), (256, 256)), ((300, 20), (64, 64)), ((1, 1), (3, 2)), ((7, 9), (7, 9))],
)
def test_values_are_those_of_pytorch(before: tuple[int, int], after: tuple[int, int], antialias: bool) -> None:
    pixels = np.asarray(photograph(before[1], before[0]))
    values = torch.from_numpy(pixels.transpose(2, 0, 1) / np.float32(255))[None]
    expected = torch.nn.functional.interpolate(values, after, mode="bilinear", antialias=antialias)[0]
    resized = resize_values(pixels, after, antialias=antialias)
    np.testing.assert_allclose(resized.transpose(2, 0, 1), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize(("before", "after"), [(1, 5), (5, 1), (10, 3), (3, 10), (1000, 7)])
def test_weights_of_an_output_pixel_sum_to_one(before: int, after: int, antialias: bool) -> None:
    index, weight = taps(before, after, antialias=antialias)
    assert index.shape == weight.shape and index.min() >= 0 and index.max() < before
    np.testing.assert_allclose(weight.sum(axis=0), 1, atol=1e-6)


def test_a_view_normalises_what_was_resized_after_its_other_steps() -> None:
    image = photograph(21, 13)
    view = View(steps=(DropOdd(), TensorResize((8, 8), antialias=True)), mean=MEAN, std=STD)
    expected = (resize_values(np.asarray(image)[:12, :20], (8, 8), antialias=True) - np.array(MEAN)) / np.array(STD)
    array = apply_view(view, image)
    assert array.dtype == np.float32 and array.flags.c_contiguous
    np.testing.assert_allclose(array, expected.transpose(2, 0, 1), atol=1e-6)


def test_a_step_after_it_is_refused() -> None:
    view = View(steps=(TensorResize((8, 8)), DropOdd()), mean=MEAN, std=STD)
    with pytest.raises(ValueError, match="must be the last step"):
        geometry(view, photograph(9, 9))
