"""Two small runs to lay side by side: a model that writes and one that scores, on images with thumbnails."""

from __future__ import annotations

import shutil
from pathlib import Path

from fdr_bench.thumbnails import write_thumbnails
from tests.galleries import write_gallery_run
from tests.runs import read_lines, write_lines

ATTACK = '"><img src=x onerror="window.hit=1"></script><script>window.hit=1</script>'


def two_runs(folder: Path) -> tuple[Path, Path]:
    """Return two runs on two reals and four fakes, pictures in the first alone.

    In the first the writer calls all fake but the last fake, which it refused. In the second it calls the first real
    real (better), the first fake real (worse), and still the second real fake; its words of that one are an attack.
    """
    first = write_gallery_run(folder / "monday", folder / "images")
    second = folder / "tuesday"
    shutil.copytree(first, second)
    ids = [str(row["id"]) for row in read_lines(first / "datasets" / "photos" / "samples.jsonl")]
    write_thumbnails(first, "photos", ids, spec=f"folders:{folder / 'images'}", start=None)
    path = second / "writer" / "photos" / "predictions.jsonl"
    rows = read_lines(path)
    rows[0]["verdict"] = rows[2]["verdict"] = "real"
    rows[1]["reasoning"] = ATTACK
    write_lines(path, rows)
    return first, second
