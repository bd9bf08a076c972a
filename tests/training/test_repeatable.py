"""What a training sets in torch and in the C library, and that it is as before afterwards."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from fdr_bench.errors import UsageError
from fdr_bench.training.repeatable import check_device, repeatable, torch_threads

FAULTS = """
import ctypes, resource, torch
# PR_SET_THP_DISABLE: how many huge pages there are to be had is the machine's affair, and changes from run to run.
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)
from fdr_bench.training.repeatable import keep_memory
kept = keep_memory() if {keep} else None
torch.set_num_threads(1)
for step in range(12):
    if step == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16, 1024, 1024)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, kept)
"""


def faults(keep: bool) -> tuple[int, str]:
    """Return the page faults of ten tensors of 64 MB, made one after the other, and what `keep_memory` returned."""
    done = subprocess.run([sys.executable, "-c", FAULTS.format(keep=keep)], capture_output=True, text=True, check=True)
    count, kept = done.stdout.split()
    return int(count), kept


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives freed memory back like this")
def test_memory_is_mapped_once_and_not_for_every_tensor() -> None:
    plain, _ = faults(keep=False)
    kept, told = faults(keep=True)
    assert told == "True"
    # 64 MB are 16,384 pages of 4 KB. Where the heap happens to begin, some tensors still find no room in what is kept.
    assert plain > 9 * 16384 and kept < 0.7 * plain


def test_torch_is_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    with repeatable(1, "cpu"):
        assert torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == 1
        assert not torch.utils.deterministic.fill_uninitialized_memory
    assert not torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == before
    assert torch.utils.deterministic.fill_uninitialized_memory
    with torch_threads(None):
        assert torch.get_num_threads() == before


def test_a_device_that_is_not_there_is_named() -> None:
    check_device("cpu")
    with pytest.raises(UsageError, match="expected 'cpu' or 'cuda'"):
        check_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="finds no GPU"):
            check_device("cuda:0")
