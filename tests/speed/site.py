"""Time the board of a large run: what `fdr-bench report` takes, how large the pages are, when they are first painted.

`python -m tests.speed.site [images] [models]`. Seconds and memory are of the report alone: writing and scoring the run
are processes of their own, and so is the browser.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.speed.scoring import GENERATORS, peak_memory

PLOTLY = 'id="plotly">'
"""Behind it the overview carries plotly's own script, packed, up to the next tag."""


class Built(NamedTuple):
    """What a board took and weighs. `paint` is in seconds by page, empty without Chromium."""

    seconds: float
    peak_bytes: int
    scoring: float
    pages: dict[str, int]
    plotly: int
    paint: dict[str, float]


def measure(images: int = 100_000, models: int = 12) -> Built:
    """Write a synthetic run of ten generators, score it, and report it."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = [sys.executable, "-m", "tests.speed.site"]
        subprocess.run([*words, "--write", str(run), str(images), str(models)], check=True)
        begun = time.perf_counter()
        subprocess.run([*words, "--score", str(run)], check=True)
        scoring = time.perf_counter() - begun
        said = subprocess.run([*words, "--report", str(run)], check=True, stdout=subprocess.PIPE, text=True).stdout
        seconds, peak_bytes = json.loads(said.splitlines()[-1])  # before it the command says where the page is
        pages = {path.name: path.stat().st_size for path in sorted(run.glob("*.html"))}
        return Built(seconds, peak_bytes, scoring, pages, _plotly(run / "index.html"), _paints(run))


def _plotly(index: Path) -> int:
    page = index.read_text(encoding="utf-8")
    return len(page.partition(PLOTLY)[2].partition("<")[0])


def _paints(run: Path) -> dict[str, float]:
    """Return when the first content of one page of each kind is painted, the median of five loads from disk."""
    from tests.leaderboards.chromium import CHROMEDRIVER, CHROMIUM, first_paint, look, start

    if not (CHROMIUM and CHROMEDRIVER):
        return {}
    with tempfile.TemporaryDirectory() as profile:
        browser = start(Path(profile))
        try:
            look(browser, 1400, "light")
            return {page.name: first_paint(browser, page) for page in _kinds(run)}
        finally:
            browser.quit()


def _kinds(run: Path) -> Iterator[Path]:
    yield run / "index.html"
    for kind in ("examples", "generator", "model"):
        yield from sorted(run.glob(f"{kind}-*.html"))[:1]


def lines(built: Built, images: int, models: int) -> list[str]:
    """Return what was measured, with what is asked."""
    overview = built.pages["index.html"] - built.plotly
    others = [size for name, size in built.pages.items() if name != "index.html"]
    said = [
        f"board of {images:,} images × {models} models, examples and curves included: {built.seconds:.1f} s, "
        f"{built.peak_bytes / 1e9:.2f} GB at most   (asked: under 60 s and 2 GB); scoring it {built.scoring:.0f} s",
        f"its overview: {overview / 1e6:.2f} MB besides plotly's {built.plotly / 1e6:.2f} MB   (asked: under 1.5 MB); "
        f"{len(others)} other pages, the largest {max(others) / 1e6:.2f} MB",
    ]
    if built.paint:
        painted = ", ".join(f"{name.partition('-')[0]} {seconds:.2f} s" for name, seconds in built.paint.items())
        return [*said, f"first paint in headless Chromium: {painted}   (asked: under 1 s)"]
    return [*said, "first paint: not measured, Chromium or chromedriver is not installed"]


def write(run: Path, images: int, models: int) -> None:
    """Write the run to be reported."""
    from tests.runs import make_run

    names = [f"detector-{number:02}@official" for number in range(models)]
    make_run(run, images, names, generators=GENERATORS, failures=0.01)


def report(run: Path) -> None:
    """Report the run as `fdr-bench report` does; print the seconds and the peak memory in bytes."""
    from fdr_bench.cli_run import report as command

    begun = time.perf_counter()
    command.main([str(run)], standalone_mode=False)
    print(json.dumps([time.perf_counter() - begun, peak_memory()]))


def main() -> None:
    """Print the cost of 100,000 images × 12 models, or of as many as the arguments say."""
    images, models = (int(word) for word in (*sys.argv[1:3], *("100000", "12")[len(sys.argv) - 1 :]))
    print("\n".join(lines(measure(images, models), images, models)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        write(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    elif sys.argv[1:2] == ["--score"]:
        from fdr_bench.scoring import score_run

        score_run(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["--report"]:
        report(Path(sys.argv[2]))
    else:
        main()
