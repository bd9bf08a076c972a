"""Ten simulated generators: the traces that decoders leave, each scaled to be faint.

Each function returns the picture as its decoder would give it. `Fingerprint` keeps only as much of the change as a
drawn PSNR allows, so that no trace is strong by accident. Sources of the traces: Odena et al., Deconvolution and
Checkerboard Artifacts, Distill 2016; Durall et al., CVPR 2020 (spectra of up-sampling); Zhang et al., WIFS 2019
(replicas); Corvi et al., ICASSP 2023 (latent diffusion's grid); van den Oord et al., NeurIPS 2017 (codebooks).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdr_bench.data.scenes.camera import blur, sensor_spectrum
from fdr_bench.data.scenes.scene import stream

Floats = NDArray[np.floating[Any]]
Decoder = Callable[[Floats, np.random.Generator], Floats]
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
PSNR_RANGE = (36.0, 41.5)
"""Decibels between a picture with and without its fingerprint, drawn evenly."""


def transposed_conv_2(image: Floats, random: np.random.Generator) -> Floats:
    """Stride 2 under a kernel of 3: sites are covered once, twice or four times."""
    return _uneven_overlap(image, np.array([-1.0, 1.0]), random)


def transposed_conv_4(image: Floats, random: np.random.Generator) -> Floats:
    """Stride 4 under a kernel of 6: every other pair of sites is covered twice."""
    return _uneven_overlap(image, np.array([-1.0, -1.0, 1.0, 1.0]), random)


def nearest_upsampling(image: Floats, random: np.random.Generator) -> Floats:
    """Half-size features enlarged by repetition."""
    small = _halve(image)
    return np.repeat(np.repeat(small, 2, axis=0), 2, axis=1)[: image.shape[0], : image.shape[1]]


def bilinear_upsampling(image: Floats, random: np.random.Generator) -> Floats:
    """Every other row and column, the rest interpolated: smoother off the lattice than on it."""
    doubled = np.zeros_like(image)
    doubled[::2, ::2] = image[::2, ::2]
    return blur(doubled, (0.5, 1.0, 0.5))


def dct_bottleneck(image: Floats, random: np.random.Generator) -> Floats:
    """An 8× latent: each 8 × 8 block keeps ten coefficients, on a lattice shifted by 4 from JPEG's."""
    size = -(-image.shape[0] // 8) * 8
    wide = np.pad(image, ((4, 4 + size - image.shape[0]), (4, 4 + size - image.shape[1]), (0, 0)), mode="reflect")
    blocks = wide.reshape(size // 8 + 1, 8, size // 8 + 1, 8, 3).transpose(0, 2, 4, 1, 3)
    basis = _dct_basis()
    kept = np.add.outer(np.arange(8), np.arange(8)) < 4
    latent = np.einsum("ij,abcjk,lk->abcil", basis, blocks, basis, optimize=["einsum_path", (0, 1), (0, 1)])
    latent = np.where(kept, latent, 0)
    back = np.einsum("ji,abcjk,kl->abcil", basis, latent, basis, optimize=["einsum_path", (0, 1), (0, 1)])
    flat = back.transpose(0, 3, 1, 4, 2).reshape(wide.shape)
    out: Floats = flat[4 : 4 + image.shape[0], 4 : 4 + image.shape[1]].astype(np.float32)
    return out


def iterative_denoising(image: Floats, random: np.random.Generator) -> Floats:
    """Smooth too far, then put noise back at the wrong scale."""
    smooth = image
    for _ in range(2):
        detail = smooth - blur(smooth, BINOMIAL)
        # What is as small as noise goes; edges stay.
        smooth = smooth - detail * np.exp(-((detail / 9) ** 2))
    noise = random.standard_normal(image.shape[:2], dtype=np.float32)
    coarse = blur(noise, (0.25, 0.5, 0.25)) - blur(noise, BINOMIAL)
    return smooth + (coarse * np.float32(14))[..., None]


def patch_vocabulary(image: Floats, random: np.random.Generator) -> Floats:
    """Detail out of a codebook of 48 patches of 4 × 4, on a lattice."""
    size = image.shape[0] // 4 * 4
    luma = image.mean(axis=-1)
    detail = (luma - blur(luma, BINOMIAL))[:size, :size]
    patches = detail.reshape(size // 4, 4, size // 4, 4).transpose(0, 2, 1, 3).reshape(-1, 16)
    codebook = _codebook()
    match = np.einsum("np,kp->nk", patches, codebook)
    best = np.abs(match).argmax(axis=1)
    coded = codebook[best] * match[np.arange(len(best)), best][:, None]
    change = np.zeros_like(luma)
    change[:size, :size] = (
        (coded - patches).reshape(size // 4, size // 4, 4, 4).transpose(0, 2, 1, 3).reshape(size, size)
    )
    out: Floats = image + change[..., None]
    return out


def palette_collapse(image: Floats, random: np.random.Generator) -> Floats:
    """Tones drawn towards a few levels."""
    step = np.float32(14.0)
    shift = np.float32(random.uniform(0, 1))
    luma = blur(image.mean(axis=-1), (0.25, 0.5, 0.25)) / step + shift
    out: Floats = image + ((np.round(luma) - luma) * step)[..., None]
    return out


def lowpass_sharpen(image: Floats, random: np.random.Generator) -> Floats:
    """Blur, then sharpen at a wider radius: halos, and a spectrum that ends early."""
    soft = blur(image, (0.25, 0.5, 0.25))
    return soft + np.float32(1.1) * (soft - blur(blur(soft, BINOMIAL), BINOMIAL))


def tiled_synthesis(image: Floats, random: np.random.Generator) -> Floats:
    """Tiles of 32 made one by one: each with a tone of its own, and a seam where two meet."""
    count = -(-image.shape[0] // 32)
    tones = random.uniform(-1, 1, size=(count, count, 3)).astype(np.float32)
    tones = np.repeat(np.repeat(tones - tones.mean(axis=(0, 1)), 32, axis=0), 32, axis=1)
    out = image + 3 * tones[: image.shape[0], : image.shape[1]]
    for k in range(32, image.shape[0], 32):
        out[k - 1 : k + 1] = out[k - 1 : k + 1].mean(axis=0)
        out[:, k - 1 : k + 1] = out[:, k - 1 : k + 1].mean(axis=1, keepdims=True)
    return out


GENERATORS: MappingProxyType[str, Decoder] = MappingProxyType(
    {
        "transposed-conv-2": transposed_conv_2,
        "transposed-conv-4": transposed_conv_4,
        "nearest-upsampling": nearest_upsampling,
        "bilinear-upsampling": bilinear_upsampling,
        "dct-bottleneck": dct_bottleneck,
        "iterative-denoising": iterative_denoising,
        "patch-vocabulary": patch_vocabulary,
        "palette-collapse": palette_collapse,
        "lowpass-sharpen": lowpass_sharpen,
        "tiled-synthesis": tiled_synthesis,
    }
)
REGULAR_SHARES: MappingProxyType[str, tuple[float, float]] = MappingProxyType(
    {
        "transposed-conv-2": (0.1, 0.6),
        "transposed-conv-4": (0.1, 0.6),
        "nearest-upsampling": (0.2, 0.7),
        "bilinear-upsampling": (0.3, 0.9),
        "dct-bottleneck": (0.4, 1.0),
        "iterative-denoising": (0.4, 1.0),
        "patch-vocabulary": (0.3, 0.9),
        "palette-collapse": (0.4, 1.0),
        "lowpass-sharpen": (0.3, 0.9),
        "tiled-synthesis": (0.4, 1.0),
    }
)
"""How much of a decoder's change (in root mean square) is its regular trace; the rest is residue. Some traces are plain
at any strength and others hide, so the ranges differ to bring the generators nearer in difficulty."""
COMMON = 0.4
"""How much of the residue (in root mean square) is alike in all three colours."""
FAMILIES: MappingProxyType[str, str] = MappingProxyType(
    {
        "transposed-conv-2": "upsampling decoder",
        "transposed-conv-4": "upsampling decoder",
        "nearest-upsampling": "upsampling decoder",
        "bilinear-upsampling": "upsampling decoder",
        "dct-bottleneck": "latent bottleneck",
        "patch-vocabulary": "latent bottleneck",
        "palette-collapse": "latent bottleneck",
        "iterative-denoising": "restoration",
        "lowpass-sharpen": "restoration",
        "tiled-synthesis": "tiling",
    }
)


class Fingerprint:
    """What one generator leaves in one picture: drawn once, then applied to any rendition of that picture."""

    def __init__(self, generator: str, size: int, *key: object) -> None:
        self.generator = generator
        self.key = key
        random = stream("fingerprint", *key)
        self.psnr = random.uniform(*PSNR_RANGE)
        self.share = random.uniform(*REGULAR_SHARES[generator])
        self.residue = _residue(size, random) * np.float32(math.sqrt(1 - self.share**2))

    def change(self, image: Floats, *, strength: float = 1.0, noise: float = 255.0) -> Floats:
        """Return the change (H, W, 3) that the decoder makes to a picture in 0 to 255.

        Its root mean square is set by a PSNR drawn from `PSNR_RANGE`, but not above `noise` unless that is fainter than
        the range, so that it can hide in a photograph's noise; `strength` multiplies it (2 is 6 dB more).
        """
        psnr = max(self.psnr, min(20 * math.log10(255 / max(noise, 1e-3)), PSNR_RANGE[1]))
        regular = _unit(GENERATORS[self.generator](image, stream("decoder", *self.key)) - image)
        change = _unit(np.float32(self.share) * regular + self.residue)
        return change * np.float32(strength * 255 * 10 ** (-psnr / 20))


def root_mean_square(values: Floats) -> float:
    """Return the root of the mean square, summed in double precision."""
    return math.sqrt(float(np.mean(values * values, dtype=np.float64)))


def _unit(change: Floats) -> Floats:
    """Scale to a root mean square of 1."""
    return change * np.float32(1 / max(root_mean_square(change), 1e-3))


def _residue(size: int, random: np.random.Generator) -> Floats:
    """Return what all decoders leave: noise with a camera's spectrum but for a part that its colours share."""
    noise = random.standard_normal((size, size, 4), dtype=np.float32)
    apart = _unit(sensor_spectrum(noise[..., :3]))
    common = _unit(blur(noise[..., 3], (0.25, 0.5, 0.25)))
    return _unit(np.float32(math.sqrt(1 - COMMON**2)) * apart + np.float32(COMMON) * common[..., None])


def _uneven_overlap(image: Floats, profile: NDArray[np.float64], random: np.random.Generator) -> Floats:
    """Modulate by how often a transposed convolution covers each site; the gain follows local contrast."""
    reach = np.resize(profile, image.shape[0])
    gain = (reach[:, None] + reach[None, :] + reach[:, None] * reach[None, :]).astype(np.float32)
    activity = blur(np.abs(image - blur(image, BINOMIAL)), BINOMIAL) + np.float32(2)
    weights = random.uniform(0.5, 1.0, size=3).astype(np.float32)
    return image + gain[..., None] * activity * weights


def _halve(image: Floats) -> Floats:
    wide = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")
    return (wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2]) / 4


def _dct_basis() -> Floats:
    k, n = np.mgrid[:8, :8]
    basis = np.cos(np.pi * (2 * n + 1) * k / 16) * 0.5
    basis[0] *= np.sqrt(0.5)
    out: Floats = basis.astype(np.float32)
    return out


def _codebook() -> Floats:
    """Return 48 patches (48, 16) of unit length: the generator's fixed vocabulary."""
    patches = stream("codebook").standard_normal((48, 4, 4)).astype(np.float32)
    patches[:, 1:] += patches[:, :-1].copy()
    flat = patches.reshape(48, 16)
    flat -= flat.mean(axis=1, keepdims=True)
    out: Floats = flat / np.sqrt((flat * flat).sum(axis=1, keepdims=True))
    return out
