"""Where a training runs: accelerate on one processor, one GPU or several processes, and torch set to repeat itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from fakereasoning.recipe import Precision
from fdr_bench.errors import UsageError

MIXED: dict[Precision, str] = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def check_device(device: str) -> None:
    """Raise `UsageError` where a device is neither the processor nor a GPU that torch finds."""
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise UsageError(f"--device {device}: expected 'cpu' or 'cuda'")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"--device {device}: PyTorch finds no GPU here; use --device cpu, or install a CUDA build")


def accelerator(device: str, precision: Precision) -> Accelerator:
    """Return accelerate's driver for "cpu" or "cuda".

    Started by `accelerate launch`, every process gets its own part of the batches, and the launcher's configuration
    (FSDP, for one) holds. Raises `UsageError` where there is no such device, or it lacks the precision.
    """
    check_device(device)
    kind = device.partition(":")[0]
    if kind == "cpu" and precision == "fp16":
        raise UsageError("precision fp16 needs a GPU; use fp32 or bf16 on a processor")
    if device.startswith("cuda:"):
        torch.cuda.set_device(int(device.partition(":")[2]))
    # accelerate keeps one state a process; a stage of another precision needs a new one (the process group stays).
    AcceleratorState._reset_state()
    return Accelerator(cpu=kind == "cpu", mixed_precision=MIXED[precision])


@contextmanager
def reproducible(threads: int | None, device: str) -> Iterator[None]:
    """Have torch use deterministic algorithms and so many threads (None: as they are); both as before afterwards.

    On a GPU an operation that has no deterministic form runs all the same.
    """
    gpu = device.startswith("cuda")
    if gpu:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to be deterministic
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=gpu)
    try:
        with torch_threads(threads):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Have torch use so many threads (None: as they are), and as many as before afterwards."""
    count = torch.get_num_threads()
    torch.set_num_threads(threads or count)
    try:
        yield
    finally:
        torch.set_num_threads(count)
