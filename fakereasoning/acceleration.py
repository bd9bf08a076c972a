"""Where a training runs: accelerate on one processor, one GPU or several processes, and torch set to repeat itself."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch.nn.attention import SDPBackend, sdpa_kernel

from fakereasoning.recipe import Precision
from fdr_bench.errors import UsageError
from fdr_bench.training.repeatable import check_device

MIXED: dict[Precision, str] = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def accelerator(device: str, precision: Precision, *, whole: bool = False) -> Accelerator:
    """Return accelerate's driver for "cpu" or "cuda".

    Started by `accelerate launch`, every process gets its own part of the batches, and the launcher's configuration
    (FSDP, for one) holds. Raises `UsageError` where there is no such device, it lacks the precision, or the launcher
    shares out matrices that the optimizer needs `whole`.
    """
    check_device(device)
    kind = device.partition(":")[0]
    if kind == "cpu" and precision == "fp16":
        raise UsageError("precision fp16 needs a GPU; use fp32 or bf16 on a processor")
    if device.startswith("cuda:"):
        torch.cuda.set_device(int(device.partition(":")[2]))
    # accelerate keeps one state a process; a stage of another precision needs a new one (the process group stays).
    AcceleratorState._reset_state()
    made = Accelerator(cpu=kind == "cpu", mixed_precision=MIXED[precision])
    if whole and made.distributed_type == DistributedType.FSDP:
        raise UsageError("Muon needs whole matrices, and FSDP shares them out; set the recipe's muon to null")
    return made


def plain_attention(device: str) -> AbstractContextManager[None]:
    """Return a context in which attention on a processor is plain matrix products: faster backwards for short rows.

    For rows of 65 to 155 tokens a step takes a fifth less time than with torch's blockwise kernel. On a GPU nothing
    changes.
    """
    return sdpa_kernel(SDPBackend.MATH) if device.partition(":")[0] == "cpu" else nullcontext()
