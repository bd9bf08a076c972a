"""Find, fetch and verify checkpoints.

Weights are shipped inside a package, lie in the cache folder, come from the hub, or are brought by the user; what may
not be fetched by a program says how a person gets it. The cache folder is `platformdirs`' for fdr-bench, or what the
variable FDR_BENCH_CACHE names, and `weights/<detector>/` inside it; hub files stay in the hub's own cache, where other
programs find them too.
"""

from __future__ import annotations

import hashlib
import importlib.util
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

from fdr_bench.cache import cache_folder
from fdr_bench.errors import MissingWeights, UsageError, WeightsError, nearest
from fdr_bench.types import DetectorCard, Weights

WEIGHTS_FILE = "model.safetensors"
WHOLE_FOLDER = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
"""What is fetched of a whole folder on the hub: weights and settings, no pickles and no code."""


def resolve_preset(card: DetectorCard, preset: str, brought: Path | None = None) -> Mapping[str, Path]:
    """Return a verified local path for each role of a preset's weights.

    `brought` is the user's own path: one checkpoint file or a folder of `fdr-bench train` (role "weights"), or a folder
    that holds files by the names the preset gives them; roles it lacks are located as usual. A preset whose weights are
    a whole folder takes any. Raises `UsageError` for an unknown preset, `WeightsError` where weights are missing or
    damaged.
    """
    if preset not in card.presets:
        known = ", ".join(card.presets) or "none"
        raise UsageError(
            f"{card.name} has no preset called '{preset}'.{nearest(preset, card.presets)} There are: {known}."
        )
    wanted = card.presets[preset].weights
    if brought is None:
        return {each.role: locate(each, detector=card.name) for each in wanted}
    brought = brought.expanduser().resolve()
    if not brought.exists():
        raise WeightsError(
            f"there is no {brought}; --weights {card.name}=PATH takes a checkpoint file or weights folder"
        )
    if brought.is_file() or (brought / "card.json").is_file():
        return {"weights": brought}
    if whole := [each.role for each in wanted if _is_folder(each)]:
        return dict.fromkeys(whole, brought)
    named = [each for each in wanted if each.filename and (brought / each.filename).is_file()]
    if not named:
        names = " and ".join(each.filename for each in wanted if each.filename)
        raise WeightsError(
            f"{brought} is no weights folder of {card.name}; expected {WEIGHTS_FILE} with card.json "
            f"(what 'fdr-bench train' writes), or {names}"
        )
    found = {each.role: _verify(brought / str(each.filename), each) for each in named}
    return found | {each.role: locate(each, detector=card.name) for each in wanted if each.role not in found}


def locate(weights: Weights, *, detector: str = "shared", download: bool = True) -> Path:
    """Return the verified local path of one preset's weights, downloading from the hub where they are published there.

    A packaged path is the folder (or file) inside the package; else it is the file `filename` in the cache folder of
    the detector, else of the hub. A folder is not verified: its files are not known. Without `download` only what is
    on this machine counts. Raises `WeightsError` saying what to get and where to put it.
    """
    if weights.packaged is not None:
        return _packaged(weights)
    if weights.filename is None:
        raise WeightsError(f"the card of {detector} names no file for its role '{weights.role}'; tell its author")
    place = cache_folder() / "weights" / detector / weights.filename
    if _is_folder(weights) and place.is_dir():
        return place
    if place.is_file():
        return _verify(place, weights)
    if weights.hub is not None:
        return (_folder_from_hub if _is_folder(weights) else _from_hub)(weights, place, download)
    how = weights.manual or "ask the authors of its paper"
    raise MissingWeights(
        f"{weights.filename} is missing. It may not be shipped or fetched by a program. {how}; "
        f"then put it at {place}, or name it: --weights {detector}=PATH",
        file=weights.filename,
        how=how,
        place=str(place),
    )


def digest(paths: Iterable[Path]) -> str:
    """Return one sha256 (hex) over weights files and folders, whatever their place: names in folders and contents."""
    total = hashlib.sha256()
    for path in paths:
        files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
        for file in files:
            name = file.relative_to(path).as_posix() if path.is_dir() else ""
            total.update(f"{name}\t{file_sha256(file)}\n".encode())
    return total.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, remembered for large files as long as size, inode and times stay the same."""
    status = path.stat()
    if status.st_size < 1 << 26:
        return _hash(path)
    seen = f"{path.resolve()}\t{status.st_size}\t{status.st_ino}\t{status.st_mtime_ns}\t{status.st_ctime_ns}"
    note = cache_folder() / "weights" / ".sha256" / hashlib.sha256(seen.encode()).hexdigest()
    if note.is_file() and len(known := note.read_text().strip()) == 64:
        return known
    found = _hash(path)
    note.parent.mkdir(parents=True, exist_ok=True)
    fresh = note.with_suffix(f".{uuid.uuid4().hex}")  # readers in other processes never see half a note
    fresh.write_text(found)
    fresh.replace(note)
    return found


def _is_folder(weights: Weights) -> bool:
    return weights.filename is not None and weights.filename.endswith("/")


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def packaged_path(place: str) -> Path:
    """Return the path of a file or folder inside an importable package, such as "baselines/weights/npr-scenes".

    The package is found, not imported. Raises `WeightsError` where there is no such path.
    """
    package, _, inner = place.partition("/")
    specification = importlib.util.find_spec(package)
    for root in (specification.submodule_search_locations or ()) if specification else ():
        if (path := Path(root, inner)).exists():
            return path
    raise WeightsError(f"{place} is not in this installation: it comes with the package {package}; install it anew")


def _packaged(weights: Weights) -> Path:
    try:
        path = packaged_path(str(weights.packaged))
    except WeightsError as error:
        told = f"{weights.packaged} is not in this installation. {weights.manual}" if weights.manual else str(error)
        raise WeightsError(told) from None
    _verify(path / weights.filename if path.is_dir() and weights.filename else path, weights)
    return path


def _verify(path: Path, weights: Weights) -> Path:
    if not path.is_file():
        raise WeightsError(f"{path} is missing; install the package anew, or fetch the file again")
    if weights.sha256 is not None and (found := file_sha256(path)) != weights.sha256:
        raise WeightsError(
            f"{path} is damaged or another file: its sha256 is {found}, expected {weights.sha256}. "
            "It was not used; delete it and fetch it again."
        )
    return path


def _from_hub(weights: Weights, place: Path, download: bool) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    assert weights.hub is not None and weights.filename is not None
    what = f"{weights.filename} of {weights.hub} (revision {weights.revision or 'main'})"
    size = f", {weights.bytes / 1e9:.1f} GB" if weights.bytes else ""
    try:
        path = Path(
            hf_hub_download(weights.hub, weights.filename, revision=weights.revision, local_files_only=not download)
        )
    except LocalEntryNotFoundError as error:
        if not download:
            raise WeightsError(f"{what} is not on this machine yet; a run downloads it{size}") from error
        raise _undone(what, size, place, error) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise _undone(what, size, place, error) from error
    stored = path.resolve().name
    if weights.sha256 is None and len(stored) == 64:  # the hub's cache names large files by their sha256
        weights = Weights(hub=weights.hub, filename=weights.filename, sha256=stored)
    return _verify(path, weights)


def _folder_from_hub(weights: Weights, place: Path, download: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    assert weights.hub is not None
    what = f"{weights.hub} (revision {weights.revision or 'main'})"
    try:
        found = snapshot_download(
            weights.hub, revision=weights.revision, allow_patterns=list(WHOLE_FOLDER), local_files_only=not download
        )
    except LocalEntryNotFoundError as error:
        if not download:
            raise WeightsError(f"{what} is not on this machine yet; a run downloads it") from error
        raise _undone(what, "", place, error) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise _undone(what, "", place, error) from error
    return Path(found)


def _undone(what: str, size: str, place: Path, error: Exception) -> WeightsError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return WeightsError(
        f"{what} could not be downloaded ({reason}). Try again with a network connection{size}, "
        f"or fetch it elsewhere and put it at {place}"
    )
