"""Weights that are a whole folder on the hub: fetched once at a revision, without pickles and code."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.hub import COMMIT, serving

KEPT = {"config.json": b"{}", "model.safetensors": b"weights", "chat_template.jinja": b"{{ 1 }}"}
LEFT = {"pytorch_model.bin": b"pickled", "modeling.py": b"print()", "picture.png": b"."}
FETCH = """
import sys
from fdr_bench.errors import WeightsError
from fdr_bench.types import Weights
from fdr_bench.weights import locate
weights = Weights(hub="me/model", revision="v1", filename="me/model/")
for download in (False, True, False):
    try:
        folder = locate(weights, detector="net", download=download)
        print(*sorted(path.name for path in folder.iterdir()))
    except WeightsError as error:
        print(error)
"""


def repository(files: dict[str, bytes]) -> dict[str, bytes]:
    """The answers of a hub that has these files in me/model at v1."""
    tree = [
        {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        for name, content in files.items()
    ]
    return {
        "api/models/me/model/revision/v1": json.dumps({"id": "me/model", "sha": COMMIT}).encode(),
        f"api/models/me/model/tree/{COMMIT}?recursive=true&expand=false": json.dumps(tree).encode(),
        **{f"me/model/resolve/{COMMIT}/{name}": content for name, content in files.items()},
    }


def fetch(url: str, home: Path) -> list[str]:
    environment = {
        **os.environ,
        "HF_ENDPOINT": url,
        "HF_HOME": str(home / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "FDR_BENCH_CACHE": str(home / "cache"),
    }
    done = subprocess.run([sys.executable, "-c", FETCH], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_folder_is_fetched_once_at_its_revision_without_pickles_and_code(tmp_path: Path) -> None:
    with serving(repository({**KEPT, **LEFT})) as hub:
        before, fetched, after = fetch(hub.url, tmp_path)
        assert before == "me/model (revision v1) is not on this machine yet; a run downloads it"
        assert fetched == after == " ".join(sorted(KEPT))
        got = [asked for asked in hub.asked if asked.startswith(f"GET /me/model/resolve/{COMMIT}/")]
        assert len(got) == len(KEPT)
        assert fetch(hub.url, tmp_path) == [fetched] * 3
        assert len([asked for asked in hub.asked if asked.startswith("GET /me/model/resolve/")]) == len(KEPT)


def test_a_folder_that_cannot_be_fetched_says_what_to_do(tmp_path: Path) -> None:
    with serving({}) as hub:
        _, said, _ = fetch(hub.url, tmp_path)
    assert "me/model (revision v1) could not be downloaded" in said
    assert f"put it at {tmp_path / 'cache/weights/net/me/model'}" in said
