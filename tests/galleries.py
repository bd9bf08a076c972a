"""A small real run for the tests of examples and galleries: images on disk, a model that reasons, one that does not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.runs import write_lines

LIGHTING, EDGES = "Inconsistent Lighting and Shadows", "Irregular Image Edges"
LIT = "The shadow of the tree falls in an inconsistent direction."
EDGY = "The edges of the roof are broken and distorted."
TEXTURED = "The texture of the wall is smooth and unnatural, like plastic."
REFERENCE = f"From low-level perspective: {LIT} {EDGY}"
"""What the fakes' reference says: lighting and edges."""
ANSWER = f"Hm. From low-level perspective: {LIT} {TEXTURED}"
"""What the model that reasons says of fakes: it finds the lighting, misses the edges, and makes up a texture."""
MODELS = {"writer": {"threshold": 0.5, "reasons": True}, "scorer": {"threshold": 0.8}}


def write_gallery_run(
    root: Path, images: Path, *, reals: int = 2, fakes: int = 4, generators: tuple[str, ...] = ("one", "two"),
    answer: str = ANSWER, models: tuple[str, str] = ("writer", "scorer"),
) -> Path:  # fmt: skip
    """Write images as class folders and a finished run on them.

    The first model (writer) states "fake" with `answer` of every image but the last fake, whose text it refused to
    give. The second (scorer) scores 0.1, 0.2 … by the number of the image; on the first image it failed.
    """
    writer, scorer = models
    samples, files, said, scored = [], [], [], []
    draws = np.random.default_rng(0)
    names = [(f"0_real/{n}.png", None) for n in range(reals)]
    names += [
        (f"{generators[n % len(generators)]}/1_fake/{n}.png", generators[n % len(generators)]) for n in range(fakes)
    ]
    for number, (name, generator) in enumerate(sorted(names)):
        path = images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
        told = {"attributes": {LIGHTING: LIT, EDGES: EDGY}, "reasoning": REFERENCE} if generator else {}
        samples.append({"id": name, "label": "fake" if generator else "real", "generator": generator, **told})
        files.append({"id": name, "image": digest, "format": "PNG", "mode": "RGB", "width": 64, "height": 48})
        seen = {"id": name, "key": "0" * 16, "image": digest}
        last = number == len(names) - 1
        said.append(seen | ({"raw": "I cannot help.", "problem": "refused"} if last else
                            {"verdict": "fake", "reasoning": answer}))  # fmt: skip
        scored.append(seen | ({"score": min(number / 10, 1.0)} if number else {"error": "out of memory"}))
    folder = root / "datasets" / "photos"
    write_lines(folder / "samples.jsonl", samples)
    write_lines(folder / "files.jsonl", files)
    write_lines(root / writer / "photos" / "predictions.jsonl", said)
    write_lines(root / scorer / "photos" / "predictions.jsonl", scored)
    entries = {name: {"kind": "detector", **entry} for name, entry in zip(models, MODELS.values(), strict=True)}
    facts = {"spec": f"folders:{images}", "fingerprint": "a" * 64, "n_real": reals, "n_fake": fakes,
             "generators": list(generators), "notes": []}  # fmt: skip
    manifest = {"schema": 1, "run": root.name, "spec": {"asked": {"folder": str(root)}}, "models": entries,
                "datasets": {"photos": facts}, "skipped": [], "failures": {}}  # fmt: skip
    (root / "run.json").write_text(json.dumps(manifest), encoding="utf-8")
    return root
