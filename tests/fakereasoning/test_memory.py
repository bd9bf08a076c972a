"""A training on a processor does not take its memory from the system anew at each step."""

import subprocess
import sys

import pytest

TAKES = """
import resource, sys, torch
from fakereasoning.acceleration import keep_memory
if sys.argv[1] == "kept":
    keep_memory()
for step in range(10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(16 << 20).fill_(1.0)
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(taken)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux is what is set")
def test_of_tensors_of_one_size_the_tenth_takes_no_new_pages():
    def pages(how):
        done = subprocess.run([sys.executable, "-c", TAKES, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    plain = pages("plain")
    if plain < 20:
        pytest.skip(f"64 MB take {plain} pages of the system here: it has large ones, or another C library")
    assert pages("kept") < plain / 10
