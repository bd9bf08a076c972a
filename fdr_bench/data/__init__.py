"""Datasets: from a spec such as "mmfr:PATH" to a sorted, fingerprinted set of samples."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from fdr_bench.errors import DataError, PluginError, UsageError, nearest
from fdr_bench.types import Dataset, Sample

GROUP = "fdr_bench.datasets"
"""The entry-point group of dataset kinds: each entry is a function from the spec's rest to a `Dataset`."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9_-]+)(?::|(?=\?)|$)")


def open_dataset(spec: str) -> Dataset:
    """Open the dataset that a spec names: "KIND:REST", or a bare path whose kind its content tells.

    A path that exists is taken as a path even where it looks like a kind. Raises `UsageError` for an unknown kind or
    a path that does not exist, `PluginError` where a kind's plugin cannot be loaded, `DataError` for unreadable data.
    """
    if Path(spec).exists():
        kind = _recognise(Path(spec))
        return _opener(kind)(spec)
    match = _SCHEME.match(spec)
    if match is None or not (spec[match.end() - 1] == ":" or match.group(1) in kinds()):
        return _open_path_with_options(spec)
    return _opener(match.group(1))(spec[match.end() :])


def make_dataset(name: str, spec: str, samples: Iterable[Sample], notes: Iterable[str] = ()) -> Dataset:
    """Sort samples by id and fingerprint them: sha256 over "id<TAB>label<TAB>generator<TAB>size<NEWLINE>", UTF-8.

    A sample without a generator counts as an empty one. Raises `DataError` for an empty set or two equal ids.
    """
    ordered = sorted(samples, key=lambda sample: sample.id)
    if not ordered:
        raise DataError(f"{spec}: no images found. docs/your-own-images.md shows the layouts that are read")
    digest = hashlib.sha256()
    previous = None
    for sample in ordered:
        if sample.id == previous:
            raise DataError(
                f"{spec}: two images have the id {sample.id!r} (names that differ only in how Unicode writes an "
                "accent, or one archive member stored twice). Rename or remove one"
            )
        previous = sample.id
        digest.update(f"{sample.id}\t{sample.label}\t{sample.generator or ''}\t{sample.image.size}\n".encode())
    return Dataset(name=name, spec=spec, samples=tuple(ordered), fingerprint=digest.hexdigest(), notes=tuple(notes))


def kinds() -> list[str]:
    """Return the names of all installed dataset kinds, sorted."""
    return sorted(entry_points(group=GROUP).names)


def _opener(kind: str) -> Callable[[str], Dataset]:
    found: list[EntryPoint] = list(entry_points(group=GROUP, name=kind))
    if not found:
        raise UsageError(
            f"no kind of dataset is called '{kind}'.{nearest(kind, kinds())} Known: {', '.join(kinds())}; "
            "or give a path that exists"
        )
    if len({entry.value for entry in found}) > 1:
        owners = ", ".join(sorted(entry.value for entry in found))
        raise PluginError(f"several packages offer the dataset kind '{kind}': {owners}. Uninstall all but one")
    try:
        opener: Callable[[str], Dataset] = found[0].load()
    except (ImportError, AttributeError, SyntaxError) as error:
        raise PluginError(f"the dataset kind '{kind}' ({found[0].value}) cannot be loaded: {error}") from error
    return opener


def _open_path_with_options(spec: str) -> Dataset:
    path, mark, _ = spec.rpartition("?")
    if mark and Path(path).exists():
        return _opener(_recognise(Path(path)))(spec)
    raise UsageError(
        f"no dataset '{spec}': there is no such file or folder, and it is not KIND:PATH with a kind of "
        f"{', '.join(kinds())}"
    )


def _recognise(path: Path) -> str:
    """Tell by content which kind reads a path: an archive, Parquet shards, MMFR's layout, or class folders."""
    if path.is_file():
        return _recognise_file(path)
    if (
        (path / "evaluation_sets").is_dir()
        or any(path.glob("*/*_reasoning.json"))
        or any(path.glob("*_reasoning.json"))
    ):
        return "mmfr"
    endings = {entry.suffix.lower() for entry in path.iterdir() if entry.is_file()}
    return "parquet" if ".parquet" in endings and not any(entry.is_dir() for entry in path.iterdir()) else "folders"


def _recognise_file(path: Path) -> str:
    name = path.name.lower()
    if name.endswith(".parquet"):
        return "parquet"
    if name.endswith(".json"):
        return "mmfr"
    if ".tar" in name or name.endswith((".tgz", ".part1", ".001", ".000")):
        return "tar"
    raise UsageError(
        f"{path} is one file of no known dataset kind: expected a folder, .tar, .parquet or .json. "
        "To score single images without labels use 'fdr-bench predict'"
    )
