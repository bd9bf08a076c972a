"""Time the paper's networks, their weights filled by name as the tests of agreement have them.

`python -m tests.speed.official [--images N] [--rounds N] [NAME ...]`, where a NAME is that of a file in tests/goldens.
They have up to 900 million parameters: one lies in memory at a time, and its checkpoint in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from fdr_bench import plugins
from fdr_bench.engines import Model
from tests.goldens import HERE
from tests.goldens.official import preset_of, write_checkpoint
from tests.speed.forward import HEADING, measure

MOST = 8
"""Images that are shown to each: a pass takes seconds."""
TARGETS = {"de-fake": f"{Path(__file__).with_name('given_captions.py')}:GivenCaptions"}
"""What stands for a detector whose weights are not all filled."""


def fixtures() -> list[str]:
    """Return the names of the fixtures that are about detectors."""
    return [path.stem for path in sorted(HERE.glob("*.json")) if not path.name.startswith("fakereasoning_")]


def measure_official(images: int, rounds: int, names: Sequence[str] = ()) -> Iterator[str]:
    """Yield a line a network: those of the fixtures named, or of all."""
    shown = min(images, MOST)
    yield f"{f'official, {shown} images':24}{HEADING}"
    for name in names or fixtures():
        label = "@".join(preset_of(name))
        with tempfile.TemporaryDirectory() as folder:
            # Filling takes as much memory as the network: its process is another.
            words = [sys.executable, "-m", "tests.speed.official", "--fill", folder, name]
            made = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
            model = Model(**json.loads(made.stdout.splitlines()[-1]))
            note = "   (its captions are given)" if model.target in TARGETS.values() else ""
            yield f"{label:24}{measure(model, shown, rounds)}{note}"


def fill(name: str, folder: Path) -> str:
    """Write the filled checkpoint of a fixture; return as JSON how it is loaded."""
    detector, preset = preset_of(name)
    role = plugins.load_detector(detector).card.presets[preset].weights[0].role
    paths = write_checkpoint(json.loads((HERE / f"{name}.json").read_text()), folder, role)
    weights = {role: str(path) for role, path in paths.items()}
    fields = {"label": f"{detector}@{preset}", "target": TARGETS.get(detector, detector), "preset": preset}
    return json.dumps({**fields, "view": None, "device": "cpu", "weights": weights})


def main() -> None:
    """Print a line a network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(fixtures()))
    parser.add_argument("--images", type=int, default=MOST)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--fill", type=Path, metavar="FOLDER", help="only write the checkpoint of the one NAME there")
    given = parser.parse_args()
    if unknown := set(given.names) - set(fixtures()):
        parser.error(f"no file in tests/goldens is called {', '.join(sorted(unknown))}")
    if given.fill:
        (name,) = given.names
        print(fill(name, given.fill))
        return
    for line in measure_official(given.images, given.rounds, given.names):
        print(line, flush=True)


if __name__ == "__main__":
    main()
