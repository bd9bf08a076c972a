"""Where a training runs: accelerate on one processor, one GPU or several processes, and torch set to repeat itself."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch.nn.attention import SDPBackend, sdpa_kernel

from fakereasoning.model import FakeReasoning
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


@contextmanager
def compiled(model: FakeReasoning, device: str = "cpu") -> Iterator[None]:
    """Have torch compile a model's towers, their fusion and its language model's blocks for as long as they learn here.

    On a processor many small operations become few, and less of the time goes into moving numbers: a step of the
    shipped weights' tuning takes two thirds of its time, once the first has taken minutes. What tracks no gradient runs
    as it is. Last digits change, and what dropout draws. Raises `UsageError` for a GPU, for several processes, without
    a C++ compiler, and where torch cannot compile.
    """
    if device.partition(":")[0] != "cpu":
        raise UsageError(f"--compile is for a processor, and not for {device}; leave it out")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("--compile is for one process; leave it out of a training under accelerate launch")
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise UsageError(f"--compile needs a C++ compiler, and there is no '{compiler}'; install g++, or leave it out")
    towers = [tower for tower in (model.clip, model.dino) if tower is not None]
    # Batches have few sizes, for each of which code of its own is faster; rows have any length.
    parts = [(tower, "features", False) for tower in towers] + [(model, "fused_tokens", False)]
    parts += [(block, "forward", True) for block in model.language.model.layers]
    with warnings.catch_warnings():
        # Of what torch does itself when it compiles.
        warnings.filterwarnings("ignore", r"The \.grad attribute of a Tensor that is not a leaf", UserWarning)
        warnings.filterwarnings("ignore", r"`torch\.jit\.script_method`", DeprecationWarning)
        for part, name, dynamic in parts:
            setattr(part, name, _compiled(getattr(part, name), dynamic))
        try:
            yield
        finally:
            for part, name, _ in parts:
                delattr(part, name)


def _compiled(function: Callable[..., Any], dynamic: bool) -> Callable[..., Any]:
    fast = torch.compile(function, dynamic=dynamic)

    @wraps(function)
    def either(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return function(*args, **kwargs)
        try:
            return fast(*args, **kwargs)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            why = str(error).partition("\n\nSet TORCHDYNAMO_VERBOSE")[0].strip()  # torch's advice to its developers
            raise UsageError(
                "torch could not compile the model. Install a C++ compiler and Python's headers (g++ and python3-dev "
                f"on Debian), or leave out --compile. What it said: {why}"
            ) from None

    return either
