"""`make speed`: how fast the harness is, as ratios measured side by side in this one run.

`python -m tests.speed [--images N] [--official]`. Nothing here passes or fails; the figures are printed with what is
asked of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.runs import make_run
from tests.speed.detectors import measure_all
from tests.speed.generation import measure as measure_generation
from tests.speed.official import measure_official
from tests.speed.scoring import measure as measure_scoring
from tests.speed.site import lines as board_lines
from tests.speed.site import measure as measure_board
from tests.speed.texts import measure as measure_texts


def main() -> None:
    """Print every ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200, help="images of FDR-Scenes to run on")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds; medians are printed")
    parser.add_argument("--predictions", type=int, default=1_000_000, help="predictions to score")
    parser.add_argument(
        "--official", action="store_true", help="also the papers' networks, of up to 900 million parameters"
    )
    parser.add_argument("--board", type=int, default=100_000, help="images of the board, by 12 models")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores; medians of {given.rounds} interleaved rounds\n")
    for line in measure_all(given.images, given.rounds):
        print(line, flush=True)
    if given.official:
        print()
        for line in measure_official(given.images, given.rounds):
            print(line, flush=True)
    print()
    for line in measure_generation(64, given.rounds):
        print(line, flush=True)
    cost = measure_scoring(given.predictions, 1)
    print(
        f"\nscoring {cost.predictions:,} predictions with 1,000 resamples: {cost.seconds:.1f} s, "
        f"{cost.peak_bytes / 1e9:.2f} GB at most   (asked: under 60 s and 2 GB)"
    )
    for line in board_lines(measure_board(given.board, 12), given.board, 12):
        print(line, flush=True)
    texts = measure_texts()
    print(
        f"BLEU-1 + ROUGE-L of 10,000 pairs of 100 words: {1e6 * texts.ours:.0f} µs a pair, {texts.ratio:.0f} times as "
        "fast as nltk and rouge-score   (asked: 30)"
    )
    print(f"--help                                   {_command('--help'):.2f} s   (asked: under 0.3 s)")
    print(f"list models                              {_command('list', 'models'):.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        run = _finished_run(Path(folder))
        seconds = _command("resume", str(run), "--max-failures", "5%")
        print(f"resume of a finished run of 100,000      {seconds:.2f} s   (asked: under 2 s)")


def _command(*words: str) -> float:
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "fdr_bench", *words], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - begun)
    return median(seconds)


def _finished_run(folder: Path) -> Path:
    """Return a finished, scored and reported run of 100,000 predictions."""
    run = folder / "run"
    make_run(run, 100_000, ("cnndetection@scenes",), generators=tuple("abcdefghij"))
    manifest = json.loads((run / "run.json").read_bytes())
    manifest["spec"]["keys"] = {name: {"cnndetection@scenes": "0"} for name in manifest["datasets"]}
    (run / "run.json").write_text(json.dumps(manifest))
    (run / "spec.json").write_text(json.dumps({**manifest, **manifest["spec"]}))
    subprocess.run([sys.executable, "-m", "fdr_bench", "score", str(run)], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([sys.executable, "-m", "fdr_bench", "report", str(run)], check=True, stdout=subprocess.DEVNULL)
    return run


if __name__ == "__main__":
    main()
