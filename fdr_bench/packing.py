"""Pack a run into one file to send, and open such a file that a stranger sent.

A packed run is a zip of the run's own text files and `pack.json`, which names each with its sha256. Equal runs give
equal bytes. The folder that the run was started from is left out. What is opened is untrusted: only the names that a
run has are taken, by their own path, up to a size.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import IO, Any

from fdr_bench.answered_sets import read_plan
from fdr_bench.errors import RunError, UsageError
from fdr_bench.store import read_json, read_manifest, read_rows, refuse_newer

FORMAT = "fdr-bench run"
SCHEMA = 1
LARGEST = 8 << 30  # bytes of all files together, unpacked
MOST = 20_000  # files
_MOMENT = (1980, 1, 1, 0, 0, 0)
_WORD = r"[^/\\\x00-\x1f:]+"
_NAMES = re.compile(
    rf"(pack|run|spec|scores|curves|robustness)\.json|datasets/{_WORD}/(samples|files)\.jsonl|{_WORD}/{_WORD}/predictions\.jsonl"
    rf"|judges/{_WORD}/(judge\.json|answers\.jsonl|{_WORD}/{_WORD}\.jsonl)|images/[0-9a-f]{{32}}"
)
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError, RuntimeError)


def pack(run: Path, out: Path, *, images: bool = False) -> Path:
    """Write a finished, scored run as `out` and return it; with `images` also the files that it evaluated.

    Raises `RunError` where the run is unfinished or not scored, where a name in it is one that `unpack` would refuse,
    and with `images` where its data is not here or is not what the run saw; `UsageError` where `out` is a folder.
    """
    if out.is_dir():
        raise UsageError(f"{out} is a folder; name the file to write, such as {out / (run.resolve().name + '.zip')}")
    manifest = read_manifest(run)
    if manifest.get("unfinished"):
        raise RunError(f"{run} is not finished; finish it first: fdr-bench resume {run}")
    if not (run / "scores.json").exists():
        raise RunError(f"{run} has no scores.json; run 'fdr-bench score {run}' first")
    read_plan(run)  # refuses names that are not those of folders
    names = sorted(path.relative_to(run).as_posix() for path in _files(run, manifest))
    if refused := [name for name in names if not _plain(name)]:
        raise RunError(
            f"{run}: {refused[0]!r} has a part that no packed run may have: one with ':' or a backslash, or with a dot "
            "or a space at an end. Name the model or dataset otherwise, and run anew."
        )
    temporary = out.with_name(f".{out.name}.tmp")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            digests = {name: _add(archive, name, _content(run / name)) for name in names}
            for digest, content in _images(run, manifest) if images else ():
                digests[f"images/{digest}"] = _add(archive, f"images/{digest}", content)
            listing = {"format": FORMAT, "schema": SCHEMA, "files": digests}
            _add(archive, "pack.json", json.dumps(listing, indent=1, ensure_ascii=False).encode() + b"\n")
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    return out


def _files(run: Path, manifest: dict[str, Any]) -> Iterator[Path]:
    whole = ("run.json", "spec.json", "scores.json", "curves.json", "robustness.json")
    yield from (run / name for name in whole if (run / name).is_file())
    for judge in sorted((run / "judges").glob("*/judge.json")):
        yield from (path for path in (judge, judge.with_name("answers.jsonl")) if path.is_file())
        yield from judge.parent.glob("*/*.jsonl")
    for dataset in manifest["datasets"]:
        folder = run / "datasets" / dataset
        yield from (folder / name for name in ("samples.jsonl", "files.jsonl") if (folder / name).is_file())
        for model in manifest["models"]:
            if (run / model / dataset / "predictions.jsonl").is_file():
                yield run / model / dataset / "predictions.jsonl"


def _content(path: Path) -> bytes:
    """Return a file's bytes; of a plan without the folder that the run was started from, which is the sender's own."""
    if path.name not in ("run.json", "spec.json"):
        return path.read_bytes()
    plan = read_json(path)
    asked = plan.get("asked") or plan.get("spec", {}).get("asked")
    if isinstance(asked, dict) and "folder" in asked:
        asked["folder"] = "."
    return json.dumps(plan, ensure_ascii=False, indent=1).encode() + b"\n"


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> str:
    entry = zipfile.ZipInfo(name, _MOMENT)
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_STORED if name.startswith("images/") else zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)
    return hashlib.sha256(content).hexdigest()


def _images(run: Path, manifest: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield digest and bytes of each distinct image that the run saw, from the data that it names."""
    from fdr_bench.data import open_dataset

    given: set[str] = set()
    asked = manifest.get("spec", {}).get("asked", {})
    folder = asked.get("folder", ".")
    with chdir(folder if Path(folder).is_dir() else "."):
        sets = {name: open_dataset(facts["spec"]) for name, facts in manifest["datasets"].items()}
    for name, dataset in sets.items():
        seen = {row["id"]: row.get("image") for row in read_rows(run / "datasets" / name / "files.jsonl")}
        by_id = {sample.id: sample for sample in dataset.samples}
        for id, digest in seen.items():
            if digest is None or digest in given:
                continue
            content = by_id[id].image.read() if id in by_id else b""
            if hashlib.sha256(content).hexdigest()[:32] != digest:
                raise RunError(
                    f"the image of {id} is not what the run saw, or is gone; pack the run without images, or run anew"
                )
            given.add(digest)
            yield digest, content


# ---------------------------------------------------------------- opening


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Give the folder of a run: `path` itself, or a temporary one with what the packed run `path` holds."""
    if not path.is_file():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="fdr-bench-") as folder:
        inside = Path(folder) / (path.name.removesuffix(".zip") or "run")
        unpack(path, inside)
        yield inside


def unpack(path: Path, folder: Path, *, largest: int = LARGEST) -> Path:
    """Write what a packed run holds into `folder`, which must not exist yet, and return it.

    Raises `RunError`, and leaves no folder, where the file is damaged or cut short, where it has a name that no run has
    (an absolute one, one with "..", a link), a name twice, a content other than its digest, or more than `largest`
    bytes or `MOST` files, whatever sizes its directory claims.
    """
    if folder.exists():
        raise RunError(f"{folder} exists already; unpack {path} elsewhere")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        inside = Path(temporary) / "run"
        inside.mkdir()
        try:
            with zipfile.ZipFile(path) as archive:
                digests = _take(archive, inside, path, largest)
        except _DAMAGE as error:
            raise RunError(f"{path} is no whole packed run ({error}). Ask for it again, or pack it anew.") from None
        _verify(path, inside, digests)
        inside.replace(folder)
    return folder


def _take(archive: zipfile.ZipFile, inside: Path, path: Path, largest: int) -> dict[str, str]:
    entries = archive.infolist()
    if len(entries) > MOST:
        raise RunError(f"{path} holds {len(entries)} files; a packed run has at most {MOST}")
    left, digests = largest, {}
    folded: set[str] = set()
    for entry in entries:
        _refuse_name(entry, path)
        if entry.filename.casefold() in folded:
            raise RunError(f"{path}: {entry.filename!r} stands in it twice")
        folded.add(entry.filename.casefold())
        target = inside / entry.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, open(target, "xb") as file:
            digests[entry.filename], size = _copy(source, file, left)
        left -= size
        if left < 0:
            raise RunError(f"{path} holds more than {largest:,} bytes, unpacked; nothing of it was kept")
    return digests


def _refuse_name(entry: zipfile.ZipInfo, path: Path) -> None:
    name = entry.filename
    kind = stat.S_IFMT(entry.external_attr >> 16)
    regular = kind in (0, stat.S_IFREG) and not entry.is_dir()
    if not (regular and _plain(name)) or name != entry.orig_filename:
        raise RunError(f"{path}: {name!r} is no file of a run. It was not made by 'fdr-bench pack'; nothing was kept")


def _plain(name: str) -> bool:
    """Say whether a name is that of a run's file, and one file on every system ("a." and "a" are not everywhere)."""
    return _NAMES.fullmatch(name) is not None and all(word.strip(" .") == word for word in name.split("/"))


def _copy(source: IO[bytes], file: IO[bytes], left: int) -> tuple[str, int]:
    """Copy at most one block more than `left` bytes; return the sha256 and the number of bytes."""
    digest, size = hashlib.sha256(), 0
    while size <= left and (block := source.read(1 << 20)):
        file.write(block)
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size


def _verify(path: Path, inside: Path, digests: dict[str, str]) -> None:
    if "pack.json" not in digests:
        raise RunError(f"{path} is no packed run: it lacks pack.json. Make one with 'fdr-bench pack RUN'")
    content = read_json(inside / "pack.json")
    if content.get("format") != FORMAT or not isinstance(content.get("schema"), int) or content["schema"] > SCHEMA:
        raise RunError(f"{path} was packed in format {content.get('schema')!r}; this fdr-bench reads up to {SCHEMA}")
    found = {name: digest for name, digest in digests.items() if name != "pack.json"}
    if content.get("files") != found:
        claimed = content.get("files")
        named = claimed if isinstance(claimed, dict) else {}
        other = sorted(name for name in named.keys() | found.keys() if named.get(name) != found.get(name))
        raise RunError(f"{path}: not as it was packed: {', '.join(other[:3]) or 'its list of files'}")
    for name, digest in found.items():
        if name.startswith("images/") and not digest.startswith(name.removeprefix("images/")):
            raise RunError(f"{path}: {name} holds another image than its name says")
    if "run.json" not in found:
        raise RunError(f"{path} holds no finished run: run.json is missing")
    refuse_newer(read_json(inside / "run.json").get("schema", 1), path)
