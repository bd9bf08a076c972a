"""The examples gallery of a dataset: what the runs' examples.jsonl hold, merged over runs and packed for one page.

The page opens from disk, where nothing can be fetched: what filters need of every sample is plain JSON, the texts lie
beside it in packed chunks that are unpacked when a sample is opened, and pictures are files that load as they come
into view. Everything here was written by others; it reaches the page as JSON alone, and the page sets it as text.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdr_bench.errors import RunError
from fdr_bench.store import read_rows
from leaderboards.load import Run, mapping, number, text

CHUNK = 100
"""Samples whose texts are packed together."""
PICTURE = re.compile(r"[0-9a-f]{32}(-\d+)?\.(jpg|png)")
CALLS = {"fake": "f", "real": "r"}
Texts = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """The samples of one dataset. `index` is what filters need, `chunks` the texts, `pictures` files by their name."""

    dataset: str
    shown: int
    total: int | None
    index: Mapping[str, Any]
    chunks: tuple[Texts, ...]
    pictures: Mapping[str, Path]


def gallery(runs: Sequence[Run], dataset: str, fingerprint: str | None, title: str) -> Gallery | None:
    """Return the gallery of the runs' dataset of that name and content, or None where no run kept examples.

    A sample that several runs show has the answers of all. Raises `RunError` where examples.jsonl is damaged.
    """
    holding = [run for run in runs if _holds(run, dataset, fingerprint)]
    samples: dict[str, dict[str, Any]] = {}
    answers: dict[str, dict[tuple[str, str], Mapping[str, Any]]] = {}
    pictures: dict[str, Path] = {}
    asked: dict[tuple[str, str], None] = {}
    for run in holding:
        folder = _folder(run, dataset)
        for row in _rows(folder):
            id = text(row["id"])
            known = samples.setdefault(id, row)
            if not known.get("picture") and row.get("picture"):
                known.update({name: row.get(name) for name in ("picture", "regions", "size")})
            for name in _files(row):
                pictures.setdefault(name, folder / "thumbnails" / name)
            for model, answer in mapping(row.get("answers")).items():
                asked.setdefault((run.name, text(model)))
                answers.setdefault(id, {})[run.name, text(model)] = mapping(answer)
    if not samples:
        return None
    models = [each for run in holding for name in run.models if (each := (run.name, name)) in asked]
    order = sorted(samples)
    facts = next(run.datasets[dataset] for run in holding)
    total = None if facts.n_real is None or facts.n_fake is None else facts.n_real + facts.n_fake
    names = _Names()
    texts = [_texts(samples[id], answers.get(id, {}), models, names) for id in order]
    index = _index(runs, [samples[id] for id in order], [answers.get(id, {}) for id in order], models, names)
    return Gallery(
        dataset=title, shown=len(order), total=total, index=index, pictures=pictures,
        chunks=tuple(texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)),
    )  # fmt: skip


def copy_pictures(pictures: Mapping[str, Path], out: Path) -> None:
    """Put pictures into `out`: as links where the disk allows them, else as copies. Equal names are equal pictures."""
    out.mkdir(parents=True, exist_ok=True)
    for name, source in pictures.items():
        if not (out / name).exists() and source.is_file() and not source.is_symlink():
            try:
                os.link(source, out / name)
            except OSError:
                shutil.copyfile(source, out / name)


class _Names:
    """Attribute names in order of appearance, by number."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def number(self, name: object) -> int:
        return self.known.setdefault(text(name), len(self.known))


def _folder(run: Run, dataset: str) -> Path:
    return run.folder / "datasets" / dataset


def _holds(run: Run, dataset: str, fingerprint: str | None) -> bool:
    facts = run.datasets.get(dataset)
    named = dataset not in ("", ".", "..") and "/" not in dataset and "\\" not in dataset and "\0" not in dataset
    return (
        named and facts is not None and facts.fingerprint == fingerprint
        and len(dataset.encode()) < 200 and (_folder(run, dataset) / "examples.jsonl").is_file()
    )  # fmt: skip


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    path = folder / "examples.jsonl"
    for line, row in enumerate(read_rows(path), 1):
        if not isinstance(row.get("id"), str) or row.get("label") not in CALLS:
            raise RunError(f"{path}, line {line}: not an example. Delete the file and run 'fdr-bench report' again.")
        yield row


def _files(row: Mapping[str, Any]) -> list[str]:
    """Return the names of a row's picture and regions; a name of another kind is none."""
    named = [row.get("picture"), *mapping(row.get("regions")).values()]
    return [name for name in named if isinstance(name, str) and PICTURE.fullmatch(name)]


def _index(
    runs: Sequence[Run], samples: Sequence[Mapping[str, Any]],
    answers: Sequence[Mapping[tuple[str, str], Mapping[str, Any]]], models: Sequence[tuple[str, str]], names: _Names,
) -> dict[str, Any]:  # fmt: skip
    """Return columns over the samples: truth, generator, picture, attributes, and of each model calls and scores."""
    facts = {(run.name, name): model for run in runs for name, model in run.models.items()}
    generators = list(dict.fromkeys(text(row["generator"]) for row in samples if row.get("generator")))
    place = {name: number for number, name in enumerate(generators)}
    listed = []
    for key in models:
        given = [each.get(key) for each in answers]
        listed.append({
            "name": key[1],
            "run": key[0] if len(runs) > 1 else None,
            "baseline": facts[key].baseline,
            "threshold": facts[key].threshold,
            "calls": "".join("." if a is None else CALLS.get(str(a.get("call")), "-") for a in given),
            "scores": [_rounded(a) for a in given],
            "claims": [_numbers(a, "claims", names) if a and "claims" in a else None for a in given]
            if any(a and "claims" in a for a in given) else None,
        })  # fmt: skip
    return {
        "chunk": CHUNK,
        "ids": [text(row["id"]) for row in samples],
        "truth": "".join(CALLS[row["label"]] for row in samples),
        "generators": generators,
        "generator": [place.get(text(row["generator"]), -1) if row.get("generator") else -1 for row in samples],
        "pictures": [next((name for name in _files(row) if name.endswith(".jpg")), None) for row in samples],
        "attributes": list(names.known),
        "annotated": [_numbers(row, "truth", names) for row in samples],
        "models": listed,
    }


def _rounded(answer: Mapping[str, Any] | None) -> float | None:
    score = number((answer or {}).get("score"))
    return None if score is None else round(score, 4)


def _numbers(row: Mapping[str, Any], key: str, names: _Names) -> list[int]:
    listed = row.get(key)
    return [names.number(name) for name in listed] if isinstance(listed, list) else []


def _texts(
    row: Mapping[str, Any], given: Mapping[tuple[str, str], Mapping[str, Any]], models: Sequence[tuple[str, str]],
    names: _Names,
) -> dict[str, Any]:  # fmt: skip
    """Return what the page shows of one opened sample."""
    _numbers(row, "truth", names)
    for answer in given.values():
        _numbers(answer, "claims", names)
    regions = [[names.number(name), file] for name, file in mapping(row.get("regions")).items() if _file(file)]
    size = row.get("size")
    answered = []
    for key in models:
        answer = given.get(key) or {}
        kept = {name: text(answer[name]) for name in ("error", "problem") if answer.get(name)}
        answered.append(kept | {"pieces": _pieces(answer, names), "forced": answer.get("forced") is True})
    return {
        "category": _optional(row, "category"),
        "caption": _optional(row, "caption"),
        "attributes": [[text(k), text(v)] for k, v in mapping(row.get("attributes")).items() if v],
        "reference": _pieces({"pieces": row.get("reference")}, names),
        "why": _optional(row, "no_picture"),
        "regions": regions,
        "size": [int(side) for side in size] if isinstance(size, list) and all(map(number, size)) else None,
        "answers": answered,
    }


def _file(name: object) -> bool:
    return isinstance(name, str) and PICTURE.fullmatch(name) is not None


def _optional(row: Mapping[str, Any], key: str) -> str | None:
    return text(row[key]) if row.get(key) not in (None, "") else None


def _pieces(answer: Mapping[str, Any], names: _Names) -> list[list[Any]]:
    """Return [text, attribute's number or -1] of each piece; what is not a piece is left out."""
    pieces = answer.get("pieces")
    found = []
    for piece in pieces if isinstance(pieces, list) else ():
        if isinstance(piece, list) and len(piece) == 2 and isinstance(piece[0], str):
            found.append([text(piece[0]), -1 if piece[1] is None else names.number(piece[1])])
    return found


def packable(chunk: Texts) -> str:
    """Return a chunk as JSON, before it is packed."""
    return json.dumps(chunk, ensure_ascii=False, separators=(",", ":"))
