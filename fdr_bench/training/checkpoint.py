"""A training's state on disk: written atomically, refused where it belongs to another training."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fdr_bench.errors import RunError
from fdr_bench.store import write_atomically

FORMAT = 1
NAME = "unfinished.pt"


def identity(plan: Mapping[str, object]) -> str:
    """Return the sha256 of what a training is: equal plans on equal software give equal weights."""
    return hashlib.sha256(json.dumps(plan, sort_keys=True, default=list).encode()).hexdigest()


def save(path: Path, plan: str, state: Mapping[str, Any]) -> None:
    """Write the state (tensors, numbers, text, lists and dicts of them) of the training with this identity."""
    import torch

    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "plan": plan, "state": state}, buffer)
    write_atomically(path, buffer.getvalue())


def load(path: Path, plan: str) -> dict[str, Any] | None:
    """Return the state at `path`, or None where there is none.

    Raises `RunError` where the file is damaged, or of a training with another identity.
    """
    import torch

    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state: dict[str, Any] = content["state"]
        found, version = content["plan"], content["format"]
    except Exception as error:  # torch raises many kinds on damaged files
        raise RunError(f"{path} is damaged ({error}); delete it to train from the beginning") from error
    if (found, version) != (plan, FORMAT):
        raise RunError(
            f"{path} is of a training with another recipe, dataset, seed or size; choose another --out, "
            "or give --restart to train from the beginning"
        )
    return state
