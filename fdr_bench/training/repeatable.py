"""Torch as a training needs it: the same numbers every time, and memory that is not given back between steps."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fdr_bench.errors import UsageError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's <malloc.h>."""
LARGEST = 1 << 30
"""Bytes below which a block comes from the heap, and stays with the process when it is freed."""


def check_device(device: str) -> None:
    """Raise `UsageError` where a device is neither the processor nor a GPU that torch finds."""
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise UsageError(f"--device {device}: expected 'cpu' or 'cuda'")
    if kind == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        raise UsageError(f"--device {device}: PyTorch finds no GPU here; use --device cpu, or install a CUDA build")


@contextmanager
def repeatable(threads: int | None, device: str) -> Iterator[None]:
    """Have torch use deterministic algorithms and so many threads (None: as they are); both as before afterwards.

    On a GPU an operation that has no deterministic form runs all the same. Memory is kept, see `keep_memory`, for good.
    """
    import torch

    gpu = device.startswith("cuda")
    if gpu:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to be deterministic
    keep_memory()
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filling: Any = torch.utils.deterministic
    filled = filling.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=gpu)
    # Filling every new tensor guards against reading what was never written; it is not what makes results repeat.
    filling.fill_uninitialized_memory = False
    try:
        with torch_threads(threads):
            yield
    finally:
        filling.fill_uninitialized_memory = filled
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Have torch use so many threads (None: as they are), and as many as before afterwards."""
    import torch

    count = torch.get_num_threads()
    torch.set_num_threads(threads or count)
    try:
        yield
    finally:
        torch.set_num_threads(count)


def keep_memory() -> bool:
    """Have the C library keep large freed blocks for the next step; False where it is not glibc, and nothing changes.

    By default glibc maps a block of over 32 MB anew for each tensor, and the kernel clears it page by page: a third of
    a step's time went there. The process holds its peak from then on.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    # Explicit limits also end glibc's own adaptation of both.
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
