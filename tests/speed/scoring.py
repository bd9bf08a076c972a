"""Time the scoring of a large run: reading, values and intervals. `python tests/speed/scoring.py [images] [models]`.

Prints seconds and peak memory of scoring alone: the run folder is written by another process.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from fdr_bench.scoring import score_run

GENERATORS = tuple(f"generator-{letter}" for letter in "abcdefghij")
MODELS = ("cnndetection@scenes", "npr@scenes", "univfd@scenes", "file-metadata", "constant")


class Cost(NamedTuple):
    """What scoring took."""

    predictions: int
    seconds: float
    peak_bytes: int


def measure(images: int, models: int) -> Cost:
    """Score a synthetic run of ten generators with shared reals, 1,000 resamples, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        run = str(Path(folder) / "run")
        subprocess.run([sys.executable, __file__, "--write", run, str(images), str(models)], check=True)
        words = subprocess.run([sys.executable, __file__, "--score", run], check=True, capture_output=True, text=True)
    seconds, peak_bytes = words.stdout.split()
    return Cost(images * models, float(seconds), int(peak_bytes))


def score(run: Path) -> None:
    """Score the run and print the seconds and the peak memory in bytes."""
    begun = time.perf_counter()
    score_run(run, resamples=1000)
    print(time.perf_counter() - begun, peak_memory())


def peak_memory() -> int:
    """Return this process's largest resident memory in bytes.

    Linux's figure of the address space comes first: that of getrusage starts at what the parent held.
    """
    status = Path("/proc/self/status")
    if status.exists():
        words = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()
        return int(words[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def write(run: Path, images: int, models: int) -> None:
    """Write the run to be scored."""
    from tests.runs import make_run

    make_run(run, images, MODELS[:models], generators=GENERATORS, failures=0.01)


def main() -> None:
    """Print the cost of 1,000,000 predictions, or of as many as the arguments say."""
    images, models = (int(word) for word in (*sys.argv[1:3], *("1000000", "1")[len(sys.argv) - 1 :]))
    cost = measure(images, models)
    print(
        f"scoring {cost.predictions:,} predictions of {models} model(s), 10 generators, 1,000 resamples: "
        f"{cost.seconds:.1f} s, peak memory {cost.peak_bytes / 1e9:.2f} GB"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        write(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    elif sys.argv[1:2] == ["--score"]:
        score(Path(sys.argv[2]))
    else:
        main()
