"""Augmentations: each against SciPy, Pillow or a hand-worked example, and only where the recipe asks for it."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from fdr_bench.errors import UsageError
from fdr_bench.images import geometry
from fdr_bench.training.augment import augment, blur, jpeg, tile
from fdr_bench.training.recipe import Recipe
from fdr_bench.types import Tile, View

PLAIN = Recipe(view=View(mean=(0.5,) * 3, std=(0.5,) * 3), flip=0.0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_without_augmentations_images_stay_as_they_are():
    images = noise(3, 6, 8, 3)
    assert np.array_equal(augment(images, PLAIN, rng()), images)


def test_the_blur_rounds_down_after_each_direction_as_in_place_filtering_on_bytes_does():
    image = noise(9, 11, 3)
    expected = image.copy()
    for channel in range(3):
        rows = gaussian_filter1d(image[:, :, channel].astype(float), 1.5, axis=0).astype(np.uint8)
        expected[:, :, channel] = gaussian_filter1d(rows.astype(float), 1.5, axis=1).astype(np.uint8)
    before = image.copy()
    assert np.array_equal(blur(image, 1.5), expected)
    assert np.array_equal(image, before)


def test_jpeg_is_pillows_at_the_given_quality():
    image = noise(16, 16, 3)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=40)
    assert np.array_equal(jpeg(image, 40), np.asarray(Image.open(buffer)))
    assert jpeg(image, 0) is image


def test_about_half_of_the_images_are_blurred_and_half_compressed_at_a_probability_of_a_half():
    images = noise(200, 8, 8, 3)
    recipe = replace(PLAIN, blur_probability=0.5, jpeg_probability=0.5)
    same = (augment(images, recipe, rng()) == images).all(axis=(1, 2, 3)).mean()
    assert 0.15 < same < 0.35  # a quarter gets neither: 0.25 with a standard error of 0.031


def test_the_stages_use_the_recipes_ranges(monkeypatch):
    from fdr_bench.training import augment as module

    sigmas, qualities = [], []
    monkeypatch.setattr(module, "blur", lambda image, sigma: sigmas.append(sigma) or image)
    monkeypatch.setattr(module, "jpeg", lambda image, quality: qualities.append(quality) or image)
    recipe = replace(PLAIN, blur_probability=1, blur_sigma=(1, 2), jpeg_probability=1, jpeg_quality=(70, 72))
    augment(noise(300, 4, 4, 3), recipe, rng())
    assert 1 <= min(sigmas) < 1.05 and 1.95 < max(sigmas) <= 2
    assert set(qualities) == {70, 71, 72}


@pytest.mark.parametrize("shape", [(5, 7), (3, 20), (20, 3), (16, 16)])
def test_tiling_is_that_of_the_evaluation_view(shape):
    image = noise(*shape, 3)
    view = View(steps=(Tile(16),), mean=(0,) * 3, std=(1,) * 3)
    assert np.array_equal(tile(image, 16), np.asarray(geometry(view, Image.fromarray(image))))


def test_every_image_is_flipped_at_a_probability_of_one():
    images = noise(4, 5, 6, 3)
    assert np.array_equal(augment(images, replace(PLAIN, flip=1.0), rng()), images[:, :, ::-1])


def test_crops_come_from_all_places_and_hold_neighbouring_pixels():
    # Each pixel holds its own place, so a crop tells where it was cut.
    rows, columns = np.mgrid[:6, :5].astype(np.uint8)
    image = np.stack([rows, columns, rows], axis=2)
    crops = augment(np.stack([image] * 400), replace(PLAIN, crop=4), rng())
    corners = {(int(crop[0, 0, 0]), int(crop[0, 0, 1])) for crop in crops}
    assert corners == {(row, column) for row in range(3) for column in range(2)}
    for crop in crops[:20]:
        row, column = crop[0, 0, :2]
        assert np.array_equal(crop, image[row : row + 4, column : column + 4])


def test_padding_before_the_crop_reflects():
    image = np.arange(3, dtype=np.uint8)[None, :, None].repeat(3, axis=0).repeat(3, axis=2)
    crops = augment(np.stack([image] * 100), replace(PLAIN, pad=1, crop=3), rng())
    # Columns 0 1 2 become 1 0 1 2 1; the crops are their three windows.
    assert {tuple(crop[0, :, 0].tolist()) for crop in crops} == {(1, 0, 1), (0, 1, 2), (1, 2, 1)}


def test_an_image_smaller_than_the_crop_is_padded_with_black_as_the_evaluation_crop_does():
    # 2 px for a crop of 5: three are missing, one goes before and two behind.
    crop = augment([np.full((2, 5, 3), 9, np.uint8)], replace(PLAIN, crop=5), rng())[0]
    assert crop[:, 0, 0].tolist() == [0, 9, 9, 0, 0]


def test_images_of_different_sizes_are_cropped_to_one_and_refused_without_a_crop():
    images = [noise(9, 12, 3), noise(8, 8, 3)]
    assert augment(images, replace(PLAIN, crop=8), rng()).shape == (2, 8, 8, 3)
    with pytest.raises(UsageError, match="differ in size"):
        augment(images, PLAIN, rng())


def test_the_same_generator_gives_the_same_batch_and_another_one_another():
    images = noise(16, 12, 12, 3)
    recipe = replace(PLAIN, blur_probability=0.5, jpeg_probability=0.5, pad=2, crop=8, flip=0.5)
    first, again, other = (augment(images, recipe, rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
