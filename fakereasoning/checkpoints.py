"""Read checkpoints of any published layout into one state dict, without running code from them.

A checkpoint is one file (.safetensors, .bin, .pth, .pt) or a folder as Hugging Face writes it: one file, or shards with
an index that says which shard holds which tensor. Files are memory-mapped where their format allows it, so a model of
28 GB is not held twice.
"""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fdr_bench.errors import WeightsError

STATE_FILES = ("model.safetensors", "pytorch_model.bin")
"""What a folder may hold, the preferred first; each may be cut into shards with an index `<name>.index.json`."""

SHOWN = 5


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint file or folder by name, on the CPU, in the dtype they are stored in.

    In a folder the first of `STATE_FILES` that is there counts, whole before sharded. Raises `WeightsError` where there
    is nothing to read, or where reading it would run code.
    """
    if path.is_file():
        return read_file(path)
    if not path.exists():
        raise WeightsError(f"there is no {path}; give a checkpoint file or the folder that holds one")
    for name in STATE_FILES:
        if (path / name).is_file():
            return read_file(path / name)
        if (index := path / f"{name}.index.json").is_file():
            return read_shards(index)
    wanted = ", ".join(f"{name} or {name}.index.json" for name in STATE_FILES)
    raise WeightsError(f"the folder {path} holds no checkpoint; expected one of {wanted}")


def read_file(path: Path) -> dict[str, Tensor]:
    """Return the tensors of one .safetensors, .bin, .pth or .pt file, which must be a bare state dict.

    Raises `WeightsError` where the file is damaged, holds anything but tensors, or could only be read by running code
    that it brings (pickled objects, a TorchScript archive).
    """
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an unusual pickle protocol; what cannot be read raises
            # Files older than PyTorch 1.6 are bare pickles, which cannot be memory-mapped.
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds more than tensors, and reading it would run code out of the file, so it was not read. "
            "Load it where you trust it, and save its state_dict() as .safetensors. "
            f"The first line of the reason: {_first_line(error)}"
        ) from error
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise WeightsError(
            f"{path} cannot be read as a checkpoint ({_first_line(error)}); fetch it anew. "
            "Of a TorchScript archive, save the state_dict() first"
        ) from error
    if not isinstance(state, Mapping) or not state:
        raise WeightsError(f"{path} holds a {type(state).__name__} without tensors; expected a state dict")
    if strange := [str(name) for name, value in state.items() if not isinstance(value, Tensor)]:
        raise WeightsError(f"{path} holds what is no tensor ({some(strange)}); expected a bare state dict")
    return {str(name): value for name, value in state.items()}


def read_shards(index: Path) -> dict[str, Tensor]:
    """Return the tensors of the shards that an index lists, which lie in the index's own folder.

    Raises `WeightsError` where the index names a file elsewhere (an absolute path, "..", a subfolder), where a shard is
    missing, or where the shards do not hold exactly the tensors that the index says.
    """
    shards = _shards(index)
    if absent := [file for file in shards if not (index.parent / file).is_file()]:
        raise WeightsError(f"{index} lists {some(absent)}, which is not beside it; fetch all {len(shards)} shards")
    state: dict[str, Tensor] = {}
    for file, names in shards.items():
        path = index.parent / file
        held = read_file(path)
        if missing := [name for name in names if name not in held]:
            raise WeightsError(f"{path} lacks tensors that {index.name} says it holds: {some(missing)}; fetch it anew")
        if unlisted := [name for name in held if name not in names]:
            raise WeightsError(f"{path} holds tensors that {index.name} does not list there: {some(unlisted)}")
        state |= held
    return state


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's object. Raises `WeightsError` where it is missing, damaged or something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"there is no {path}; it is part of the checkpoint, fetch it too") from error
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} cannot be read as JSON ({_first_line(error)}); fetch it anew") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a JSON {type(content).__name__}; expected an object")
    return content


def all_finite(tensor: Tensor) -> bool:
    """Return whether no value is infinite or not a number; without a copy, as tensors here fill gigabytes."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    low, high = torch.aminmax(tensor)
    return bool(torch.isfinite(low) & torch.isfinite(high))


def some(names: Sequence[str]) -> str:
    """Return the first names of a list for a message, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _shards(index: Path) -> dict[str, set[str]]:
    """Return the tensor names by shard file, in the index's order."""
    listed = read_json(index).get("weight_map")
    if not isinstance(listed, dict) or not listed or not all(isinstance(file, str) for file in listed.values()):
        raise WeightsError(f"{index} has no 'weight_map' from tensor names to files; fetch it anew")
    shards: dict[str, set[str]] = {}
    for name, file in listed.items():
        # An index is someone else's text: it must not make us read files of its choice.
        if file == ".." or PurePosixPath(file).name != file or PureWindowsPath(file).name != file:
            raise WeightsError(
                f"{index} says that {name} lies in '{file}', outside its own folder; expected the plain name of a "
                "file beside it. Nothing was read; fetch the checkpoint from where you trust it"
            )
        shards.setdefault(file, set()).add(name)
    return shards


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
