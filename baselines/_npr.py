"""The network of NPR, and the residual map that others compute as well."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from baselines._resnet import ResNet


def neighbouring_pixel_residual(x: Tensor) -> Tensor:
    """Return 2/3 of every pixel's difference from the top-left pixel of its 2×2 cell.

    x: (B, 3, H, W), already normalised. An odd last row or column is dropped, as the README asks for; the official
    network fails there. Raises `ValueError` where nothing is left.
    """
    height, width = x.shape[-2] // 2 * 2, x.shape[-1] // 2 * 2
    if not height or not width:
        raise ValueError(f"NPR needs at least 2x2 px; the image is {x.shape[-1]}x{x.shape[-2]}")
    x = x[..., :height, :width]
    corner = x[..., ::2, ::2].repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)
    return (x - corner) * (2.0 / 3.0)


class NPRNet(ResNet):
    """The residual map, then conv1 (3×3, stride 2), bn1, ReLU, max-pool, bottleneck stages, global mean, fc1."""

    def __init__(self, *, depths: Sequence[int] = (3, 4), widths: Sequence[int] = (64, 128)) -> None:
        super().__init__(block="bottleneck", depths=depths, widths=widths, stem="3x3/2+pool", head="fc1")

    def features(self, x: Tensor) -> Tensor:
        """Return the pooled features of normalised images (B, 3, H, W): (B, 512) in the paper's width."""
        return super().features(neighbouring_pixel_residual(x))
