"""The augmentations of the detectors' papers, on 8-bit RGB arrays.

Blur and JPEG are those of Wang et al., "CNN-generated images are surprisingly easy to spot... for now", CVPR 2020,
which UnivFD and AIGCDetectBenchmark reuse: SciPy's Gaussian filter, each channel on its own and in place on uint8 (so
that the first direction is rounded down before the second), then JPEG. Of the two encoders that the paper draws from
at random, OpenCV's and Pillow's, only Pillow's is used here.

Everything random comes from the generator that is passed in, one draw an image in a fixed order.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fdr_bench.errors import UsageError
from fdr_bench.training.recipe import Recipe

Pixels = NDArray[np.uint8]


def augment(images: Sequence[Pixels] | Pixels, recipe: Recipe, rng: np.random.Generator) -> Pixels:
    """Return a training batch (B, H, W, 3) of images (H, W, 3), which may differ in size where the recipe crops.

    The input is left as it is. Raises `UsageError` where sizes differ and the recipe has no crop.
    """
    flipped = rng.random(len(images)) < recipe.flip
    sigma = np.where(rng.random(len(images)) < recipe.blur_probability, rng.uniform(*recipe.blur_sigma, len(images)), 0)
    low, high = recipe.jpeg_quality
    quality = np.where(
        rng.random(len(images)) < recipe.jpeg_probability, rng.integers(low, high, len(images), endpoint=True), 0
    )
    place = rng.random((len(images), 2))
    if sigma.any() or quality.any() or recipe.tile:
        images = [
            tile(jpeg(blur(image, float(s)), int(q)), recipe.tile)
            for image, s, q in zip(images, sigma, quality, strict=True)
        ]
    if len({image.shape for image in images}) == 1:
        return _crop_all(np.asarray(images), recipe, place, flipped)
    if recipe.crop is None:
        raise UsageError("the training images differ in size and the recipe has no crop: give one, or a resize")
    return np.concatenate([_crop_all(i[None], recipe, place[[n]], flipped[[n]]) for n, i in enumerate(images)])


def blur(image: Pixels, sigma: float) -> Pixels:
    """Return the image (H, W, 3) after a Gaussian blur of `sigma` px; the image itself where sigma is 0."""
    if sigma <= 0:
        return image
    from scipy.ndimage import gaussian_filter

    blurred = image.copy()
    for channel in range(3):
        gaussian_filter(blurred[:, :, channel], sigma=sigma, output=blurred[:, :, channel])
    return blurred


def jpeg(image: Pixels, quality: int) -> Pixels:
    """Return the image (H, W, 3) encoded as JPEG by Pillow and decoded; the image itself where quality is 0."""
    if quality <= 0:
        return image
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="jpeg", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def tile(image: Pixels, size: int | None) -> Pixels:
    """Return the image repeated, in whole copies, until both sides reach `size` px; the image itself for None."""
    if size is None:
        return image
    height, width = image.shape[:2]
    return np.tile(image, (-(-size // height), -(-size // width), 1))


def _crop_all(images: Pixels, recipe: Recipe, place: NDArray[np.float64], flipped: NDArray[np.bool_]) -> Pixels:
    """Pad, crop at `place` (N, 2) in [0, 1) of the free range, and flip images (N, H, W, 3) of one size."""
    if recipe.pad:
        around = ((0, 0), (recipe.pad, recipe.pad), (recipe.pad, recipe.pad), (0, 0))
        images = np.pad(images, around, mode="reflect")
    if recipe.crop is not None:
        images = _crop(_blacken(images, recipe.crop), recipe.crop, place)
    turned = flipped[:, None, None, None]
    return np.ascontiguousarray(np.where(turned, images[:, :, ::-1], images) if flipped.any() else images)


def _blacken(images: Pixels, size: int) -> Pixels:
    """Pad sides shorter than `size` with black, the smaller half before, as torchvision's centre crop does."""
    missing = [max(0, size - side) for side in images.shape[1:3]]
    if not any(missing):
        return images
    (top, left), (bottom, right) = ([m // 2 for m in missing], [m - m // 2 for m in missing])
    return np.pad(images, ((0, 0), (top, bottom), (left, right), (0, 0)))


def _crop(images: Pixels, size: int, place: NDArray[np.float64]) -> Pixels:
    free = np.array(images.shape[1:3]) - size + 1
    corner = (place * free).astype(np.intp)  # (N, 2), at most free - 1
    cut: Pixels = np.empty((len(images), size, size, images.shape[3]), dtype=images.dtype)
    for one, image, (top, left) in zip(cut, images, corner, strict=True):
        one[:] = image[top : top + size, left : left + size]
    return cut
