"""What frozen towers give for every training image, computed once and kept in memory-mapped files.

FOLDER/{clip,dino,attention}.npy   float16 (N, ...), one row an image
FOLDER/features.json               written last: which towers and which images they are of
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fakereasoning.model import FakeReasoning
from fakereasoning.pixels import TrainingImages, normalised
from fakereasoning.vision import VisualFeatures
from fdr_bench.store import write_json

MARK = "features.json"
BATCH = 32


class FrozenFeatures:
    """The features of N images, (N, ...) a field of `VisualFeatures`."""

    def __init__(self, fields: dict[str, NDArray[np.float16]]) -> None:
        self.fields = fields

    def take(self, index: NDArray[np.intp], device: torch.device, dtype: torch.dtype) -> VisualFeatures:
        """Return the features of the images at `index` (B,) in the type that the model computes in."""
        taken: dict[str, torch.Tensor | None] = dict.fromkeys(VisualFeatures._fields)
        for name, rows in self.fields.items():
            taken[name] = torch.from_numpy(rows[index]).to(device, dtype)
        return VisualFeatures(**taken)  # type: ignore[arg-type]


def frozen_features(
    model: FakeReasoning, images: TrainingImages, folder: Path, *, advance: Callable[[int], None] = lambda _: None
) -> FrozenFeatures:
    """Return the features of all images, out of `folder` where it holds those of the same towers and images.

    float16 keeps a value to one part in 2,000, and of an attention weight at least its first 3e-8. `advance` gets the
    number of images computed since its last call. A folder that is unfinished or of others is written anew.
    """
    identity = {"towers": towers_digest(model), "images": images.fingerprint(), "n": len(images)}
    if (mark := _mark(folder)) is not None and mark.get("identity") == identity:
        advance(len(images))
        return FrozenFeatures({name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in mark["fields"]})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).unlink(missing_ok=True)
    fields: dict[str, Any] = {}
    where = next(model.parameters())
    for start in range(0, len(images), BATCH):
        part = np.arange(start, min(start + BATCH, len(images)))
        with torch.no_grad():
            given = model.visual_features(normalised(images.take(part), where.device).to(where.dtype))
        for name, tensor in given._asdict().items():
            if tensor is None:
                continue
            if name not in fields:
                shape = (len(images), *tensor.shape[1:])
                fields[name] = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float16, shape)
            fields[name][part] = tensor.to("cpu", torch.float16).numpy()
        advance(len(part))
    for rows in fields.values():
        rows.flush()
    write_json(folder / MARK, {"identity": identity, "fields": sorted(fields)})
    return FrozenFeatures(fields)


def towers_digest(model: FakeReasoning) -> str:
    """Return a sha256 over the towers' tensors: other weights, other features."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if name.startswith(("clip.", "dino.")):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _mark(folder: Path) -> dict[str, Any] | None:
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return mark if isinstance(mark, dict) else None
