"""Read checkpoint files without running code from them, and put their tensors into a network strictly."""

from __future__ import annotations

import pickle
import shutil
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fdr_bench.errors import WeightsError

SHOWN = 5

MOST_UNPACKED = 20
"""How many times a zipped checkpoint may outgrow its zip: weights shrink by a tenth, what shrinks more is none."""

CONVERSION = "Load it where you trust it, and save its state_dict() instead."

# What safetensors and zips raise where bytes are damaged, beside Python's own errors.
_DAMAGED = (SafetensorError, zipfile.BadZipFile, zlib.error)


def read_checkpoint(
    path: Path, *, inert: Mapping[str, type] | None = None, conversion: str = CONVERSION
) -> Mapping[str, object]:
    """Return what a .safetensors, .pth or .pt file holds: a dict of tensors, perhaps inside other dicts.

    A zip whose only member is a .pth or .pt file is read as that file.
    `inert` names the classes, known to be harmless, of which it may hold objects beside its tensors, with the class
    that is made instead: {"argparse.Namespace": Namespace}. One that derives from dict is stood for by OrderedDict.
    `conversion` is what to do with a file that holds other objects.
    Raises `WeightsError` where the file cannot be read, or could only be read by running code that it brings
    (a pickled module, a TorchScript archive).
    """
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}; give the path of a checkpoint (.pth or .safetensors)")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        allowed = [(kind, name) for name, kind in (inert or {}).items()]
        with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
            warnings.simplefilter("ignore")  # of an unusual pickle protocol; what cannot be read raises
            checkpoint = _load(path)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds more than tensors (a pickled module or other Python objects), and reading it would run code "
            f"out of the file, so it was not read. {conversion} "
            f"The first line of the reason: {str(error).splitlines()[0]}"
        ) from error
    except (*_DAMAGED, RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError) as error:
        advice = "a TorchScript archive needs its state_dict() saved first; otherwise fetch the file anew"
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise WeightsError(f"{path} cannot be read as a checkpoint ({reason}); {advice}") from error
    if not isinstance(checkpoint, Mapping):
        raise WeightsError(f"{path} holds a {type(checkpoint).__name__}; expected a dict of tensors (a state dict)")
    return checkpoint


def _load(path: Path) -> object:
    """Return what torch finds in a file, or in the only member of a zip, which is unpacked to a nameless file first."""
    if not zipfile.is_zipfile(path):  # older than PyTorch 1.6: a bare pickle, which cannot be memory-mapped
        return torch.load(path, map_location="cpu", weights_only=True)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > 1:  # PyTorch's own archive
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if not members or members[0].is_dir():
            raise ValueError("the zip holds no file")
        if members[0].file_size > MOST_UNPACKED * path.stat().st_size:
            raise ValueError(f"the zip unpacks to {members[0].file_size:,} bytes, far more than weights do")
        with archive.open(members[0]) as packed, tempfile.TemporaryFile() as unpacked:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
            unpacked.seek(0)
            return torch.load(unpacked, map_location="cpu", weights_only=True)


def find_state(checkpoint: Mapping[str, object], path: Path, under: Sequence[str] = ("model",)) -> dict[str, Tensor]:
    """Return the state dict of a checkpoint, which may lie under one of the keys `under`.

    A "module." before every name (what `DataParallel` adds) is taken off. Raises `WeightsError` where something in the
    state dict is no tensor.
    """
    state = next((inner for key in under if isinstance(inner := checkpoint.get(key), Mapping)), checkpoint)
    strange = [str(name) for name, value in state.items() if not isinstance(value, Tensor)]
    if strange or not state:
        wanted = " or ".join(f"under the key '{key}'" for key in under)
        found = f"what is no tensor: {_some(strange)}" if strange else "nothing"
        raise WeightsError(f"{path} holds {found}; expected a state dict, bare or {wanted}")
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def build_from(
    factory: Callable[[], nn.Module],
    state: Mapping[str, Tensor],
    source: str,
    *,
    finish: Callable[[nn.Module], None] | None = None,
) -> nn.Module:
    """Return a network in evaluation mode that holds exactly `state`, without initialising or copying it first.

    `finish` gives buffers that are no part of the state their values.
    """
    with torch.device("meta"):
        network = factory()
    load_strictly(network, state, source, assign=True)
    if finish is not None:
        finish(network)
    left = [name for name, tensor in network.named_buffers() if tensor.is_meta]
    if left:
        raise RuntimeError(f"buffers without a value after loading: {left}")  # the network's own mistake
    return network.eval()


def load_strictly(
    network: nn.Module,
    state: Mapping[str, Tensor],
    source: str,
    *,
    assign: bool = False,
    kept: Callable[[str], bool] | None = None,
) -> None:
    """Put every tensor of `state` into the network's place of the same name.

    `kept` tells which names the file is to hold (default: all). Raises `WeightsError` naming every kind of misfit:
    missing, unknown, wrongly shaped and non-finite tensors.
    """
    own = network.state_dict()
    expected = {name for name in own if kept is None or kept(name)}
    problems = []
    if missing := [name for name in own if name in expected and name not in state]:
        problems.append(f"{len(missing)} missing ({_some(missing)})")
    if unknown := [name for name in state if name not in own]:
        problems.append(f"{len(unknown)} unknown ({_some(unknown)})")
    misshapen = [
        f"{name} is {list(tensor.shape)}, expected {list(own[name].shape)}"
        for name, tensor in state.items()
        if name in own and tensor.shape != own[name].shape
    ]
    if misshapen:
        problems.append(f"{len(misshapen)} of another shape ({_some(misshapen)})")
    if broken := [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]:
        problems.append(f"{len(broken)} with values that are not finite ({_some(broken)})")
    if problems:
        raise WeightsError(
            f"{source} does not fit the network. Tensors: {'; '.join(problems)}. "
            "Expected a checkpoint of this very detector and size; nothing was loaded."
        )
    fitting = {name: tensor.to(own[name].dtype) for name, tensor in state.items()}
    network.load_state_dict(fitting, strict=kept is None, assign=assign)


def _some(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
