"""NPR's residual map, against the definition pixel by pixel."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from baselines._npr import NPRNet, neighbouring_pixel_residual
from baselines.npr import NPR
from fdr_bench.errors import ImageError


def naive(x: torch.Tensor) -> torch.Tensor:
    """Subtract the top-left pixel of each 2x2 cell, one pixel at a time; times 2/3."""
    batch, channels, height, width = x.shape
    out = torch.zeros(batch, channels, height // 2 * 2, width // 2 * 2)
    for b in range(batch):
        for c in range(channels):
            for i in range(out.shape[2]):
                for j in range(out.shape[3]):
                    out[b, c, i, j] = (x[b, c, i, j] - x[b, c, i - i % 2, j - j % 2]) * 2 / 3
    return out


@pytest.mark.parametrize("shape", [(1, 3, 4, 6), (2, 3, 5, 7), (1, 3, 2, 3)])
def test_the_map_is_each_pixel_less_its_cells_corner(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(neighbouring_pixel_residual(x), naive(x), rtol=0, atol=1e-6)


def test_nearest_enlarged_images_leave_nothing() -> None:
    small = torch.randn(1, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    assert not neighbouring_pixel_residual(torch.nn.functional.interpolate(small, scale_factor=2)).any()


@pytest.mark.parametrize("shape", [(1, 3, 1, 8), (1, 3, 8, 1), (1, 3, 1, 1)])
def test_an_image_without_a_cell_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 2x2"):
        NPRNet(depths=(1,), widths=(4,)).eval()(torch.zeros(shape))


def test_an_image_too_small_for_the_native_view_is_that_images_error() -> None:
    detector = NPR.__new__(NPR)  # its preprocessing alone: no weights needed
    detector.view = NPR.card.presets["official"].views["native"]
    with pytest.raises(ImageError, match="at least 2x2 px; the image is 5x1"):
        detector.preprocess(Image.new("RGB", (5, 1)))
    assert detector.preprocess(Image.new("RGB", (5, 2))).shape == (3, 2, 5)
