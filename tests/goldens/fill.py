"""Weights that follow from a tensor's name alone, so that two implementations compare without a checkpoint.

The figures in this folder come from official networks filled in this way: a network that takes the same state dict
and gives the same figures computes the same function.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch


def fill_tensor(name: str, shape: Iterable[int], dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    """Return the tensor called `name`: integers and counters are 0, the rest is scaled noise out of crc32(name) + seed.

    Variances lie near 1 from above, means and biases near 0, scales and other vectors near 1; matrices and kernels
    have a variance of one over their fan-in.
    """
    shape = tuple(shape)
    if not dtype.is_floating_point or name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=dtype)
    noise = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32).standard_normal(shape or (1,))
    values = torch.from_numpy(noise.astype(np.float32)).reshape(shape)
    if name.endswith("running_var"):
        values = values.abs() * 0.1 + 1.0
    elif name.endswith(("running_mean", "bias")):
        values = values * 0.1
    elif len(shape) < 2:
        values = values * 0.1 + 1.0
    else:
        values = values / float(np.sqrt(np.prod(shape[1:], dtype=np.float64)))
    return values.to(dtype)


def fill_state(manifest: Iterable[tuple[str, list[int], str]], seed: int = 0) -> dict[str, torch.Tensor]:
    """Return a filled state dict for rows of (name, shape, name of the dtype), a tensor to each of up to 16 cores."""
    rows = list(manifest)
    with ThreadPoolExecutor(min(16, max(2, os.cpu_count() or 1))) as threads:
        filled = threads.map(lambda row: fill_tensor(row[0], row[1], getattr(torch, row[2]), seed), rows)
        return dict(zip((row[0] for row in rows), filled, strict=True))
