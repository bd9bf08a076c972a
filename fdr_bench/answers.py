"""What a run's models answered, read from its folder as arrays that stand in the order of the set's samples.

Lines are parsed in bulk by Arrow; only a file that it or a check refuses is walked line by line, to name the line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fdr_bench.errors import RunError
from fdr_bench.store import remedy

if TYPE_CHECKING:
    import pyarrow

Row = Mapping[str, Any]
Fault = Callable[[Row], "str | None"]
LABELS = ("real", "fake")
FORCED = "-forced"
"""The end of the `score_source` of a score that the model's text did not come to by itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """The truth of a set's N samples. `generator` numbers `generators`; -1 is a shared real."""

    ids: pyarrow.Array
    fake: NDArray[np.bool_]  # (N,)
    generator: NDArray[np.int64]  # (N,)
    generators: tuple[str, ...]  # sorted


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """One model's answers to a set's N samples."""

    reached: NDArray[np.bool_]  # (N,) there is a row, be it an error
    score: NDArray[np.float64]  # (N,) P(fake), NaN where there is none
    verdict: NDArray[np.int8]  # (N,) 1 fake, 0 real, -1 none stated
    forced: NDArray[np.bool_]  # (N,) there is a score, which was read behind words that were appended to the text
    reasoning: pyarrow.Array | None = None  # (N,) texts, null where there is none; None where there is none at all
    states_verdicts: bool = False  # by the model's card, whatever the rows hold

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Whether there is an answer, `(N,)`: of a model that states verdicts a verdict, else that or a score."""
        stated = self.verdict >= 0
        return stated if self.states_verdicts else stated | ~np.isnan(self.score)

    def called(self, threshold: float) -> NDArray[np.bool_]:
        """Return what is called fake, `(N,)`: the stated verdict, else a score strictly above the threshold.

        It means nothing where the image is not `answered`.
        """
        return np.where(self.verdict >= 0, self.verdict == 1, self.score > threshold)


def read_labels(path: Path) -> Labels:
    """Read samples.jsonl. Raises `RunError` naming the file and line of a row that is not a sample."""
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = pa.schema([("id", pa.string()), ("label", pa.string()), ("generator", pa.string())])

    def acceptable(table: pyarrow.Table) -> bool:
        known = pc.all(pc.is_in(table["label"], value_set=pa.array(LABELS))).as_py() is not False
        return known and table["id"].null_count == 0 and pc.count_distinct(table["id"]).as_py() == len(table)

    table = _load(path, schema, acceptable, _sample_fault(), torn=False)
    coded = table["generator"].combine_chunks().dictionary_encode()
    names = coded.dictionary.to_pylist()
    rank = {name: number for number, name in enumerate(sorted(names))}
    place = np.array([rank[name] for name in names] + [-1], dtype=np.int64)  # index -1: the shared reals
    return Labels(
        ids=table["id"].combine_chunks(),
        fake=pc.equal(table["label"], "fake").to_numpy().astype(np.bool_),
        generator=place[coded.indices.fill_null(-1).to_numpy()],
        generators=tuple(sorted(names)),
    )


def read_answers(path: Path, ids: pyarrow.Array, *, finished: bool) -> tuple[Answers, pyarrow.Array]:
    """Read predictions.jsonl onto the samples `ids: (N,)`; also the digests of the images' bytes (null: unknown).

    A sample without a row is not `reached`; where the run is not `finished`, so is one whose last line was cut off. No
    file is no rows. Raises `RunError` naming the file and line of a row that is not a prediction of this set.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = [(name, pa.string()) for name in ("id", "image", "verdict", "error", "reasoning", "score_source")]
    schema = pa.schema([*texts, ("score", pa.float64())])

    def acceptable(table: pyarrow.Table) -> bool:
        score = table["score"]
        inside = pc.all(pc.and_(pc.greater_equal(score, 0.0), pc.less_equal(score, 1.0))).as_py() is not False
        stated = pc.drop_null(table["verdict"])
        known = pc.all(pc.is_in(stated, value_set=pa.array(LABELS))).as_py() is not False
        if not (inside and known) or table["id"].null_count:
            return False
        place = _places(table["id"], ids)
        return bool((place >= 0).all()) and bool((np.bincount(place, minlength=1) <= 1).all())

    table = _load(path, schema, acceptable, _prediction_fault(ids), torn=not finished)
    place = _places(table["id"], ids)
    failed = pc.is_valid(table["error"]).to_numpy()
    score = np.where(failed, np.nan, table["score"].to_numpy())
    fake = pc.if_else(pc.is_valid(table["verdict"]), pc.cast(pc.equal(table["verdict"], "fake"), "int8"), -1)
    verdict = np.where(failed, -1, pc.fill_null(fake, -1).to_numpy()).astype(np.int8)
    forced = pc.fill_null(pc.ends_with(table["score_source"], FORCED), False).to_numpy().astype(np.bool_)
    source = _scatter(np.arange(len(place)), place, len(ids), -1)
    rows = pa.array(source, mask=source < 0)
    reasoning = pc.if_else(pa.array(failed), None, table["reasoning"])
    answers = Answers(
        _scatter(np.ones(len(place), dtype=np.bool_), place, len(ids), False),
        _scatter(score, place, len(ids), np.nan),
        _scatter(verdict, place, len(ids), -1),
        _scatter(forced & ~np.isnan(score), place, len(ids), False),
        None if reasoning.null_count == len(reasoning) else pc.take(reasoning.combine_chunks(), rows),
    )
    images = pc.take(table["image"].combine_chunks(), rows)
    return answers, images


def contents(images: Mapping[str, pyarrow.Array], count: int) -> NDArray[np.int64]:
    """Number the `count` samples so that those with identical bytes share a number, by every model's digests.

    Samples without a digest have a number of their own. Raises `RunError` where two models saw different bytes.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    seen = pa.nulls(count, pa.string())
    for model, digests in images.items():
        differing = pc.fill_null(pc.not_equal(seen, digests), False)
        if pc.any(differing).as_py():
            where = pc.index(differing, True).as_py()
            raise RunError(
                f"{model} saw other bytes of the image on line {where + 1} of samples.jsonl than the models before it: "
                "it changed between two models of this run. Every model must see the same files; run anew."
            )
        seen = pc.coalesce(seen, digests)
    codes = seen.dictionary_encode().indices
    alone = codes.is_null().to_numpy(zero_copy_only=False)
    return np.where(alone, count + np.arange(count), codes.fill_null(0).to_numpy()).astype(np.int64)


def _places(ids: pyarrow.ChunkedArray, known: pyarrow.Array) -> NDArray[np.int64]:
    """Return where each of `ids` stands in `known`, -1 where it does not."""
    import pyarrow.compute as pc

    flat = ids.combine_chunks()
    if flat.equals(known):
        return np.arange(len(known))
    found = pc.fill_null(pc.index_in(flat, value_set=known), -1).to_numpy()
    return np.asarray(found, dtype=np.int64)


def _scatter(values: NDArray[Any], place: NDArray[np.int64], count: int, absent: object) -> NDArray[Any]:
    scattered = np.full(count, absent, dtype=values.dtype)
    scattered[place] = values
    return scattered


def _load(
    path: Path, schema: pyarrow.Schema, acceptable: Callable[[pyarrow.Table], bool], fault: Fault, *, torn: bool
) -> pyarrow.Table:
    """Return a JSON-lines file as a table; with `torn`, a last line without its end is left out."""
    import pyarrow as pa
    from pyarrow import json as lines

    if not path.exists() or path.stat().st_size == 0:
        return schema.empty_table()
    source: object = path
    if torn and not _ends_with_newline(path):
        whole = path.read_bytes()
        source = pa.BufferReader(whole[: whole.rfind(b"\n") + 1])
    try:
        table = lines.read_json(
            source,
            read_options=lines.ReadOptions(block_size=1 << 22),
            parse_options=lines.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:  # not JSON, another type, or a line longer than a block
        table = None
    if table is not None and acceptable(table):
        return table
    return pa.Table.from_pylist(list(_walk(path, fault, torn=torn)), schema=schema)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"


def _walk(path: Path, fault: Fault, *, torn: bool) -> Iterator[Row]:
    """Yield every row, or raise `RunError` naming the first line that is not one."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip() or (torn and not line.endswith(b"\n")):
                continue
            try:
                row = json.loads(line)
            except ValueError:
                raise RunError(f"{path}, line {number}: not JSON. {remedy(path)}") from None
            reason = fault(row) if isinstance(row, dict) else "not an object"
            if reason:
                raise RunError(f"{path}, line {number}: {reason}. {remedy(path)}")
            yield row


def _repeated(row: Row, seen: set[str]) -> str | None:
    name = row.get("id")
    if not isinstance(name, str):
        return f"id is {name!r}, not a text"
    if name in seen:
        return f"id {name!r} stands on an earlier line too"
    seen.add(name)
    return None


def _sample_fault() -> Fault:
    seen: set[str] = set()

    def fault(row: Row) -> str | None:
        if row.get("label") not in LABELS:
            return f"label is {row.get('label')!r}, expected 'real' or 'fake'"
        if not isinstance(row.get("generator"), str | None):
            return f"generator is {row['generator']!r}, not a text or null"
        return _repeated(row, seen)

    return fault


def _prediction_fault(ids: pyarrow.Array) -> Fault:
    seen: set[str] = set()
    known: set[str] = set()

    def fault(row: Row) -> str | None:
        known.update(() if known else ids.to_pylist())
        score, verdict = row.get("score"), row.get("verdict")
        if score is not None and (isinstance(score, bool) or not isinstance(score, int | float)):
            return f"score is {score!r}, not a number"
        if score is not None and not (math.isfinite(score) and 0 <= score <= 1):
            return f"score is {score!r}, outside [0, 1]"
        if verdict not in (None, *LABELS):
            return f"verdict is {verdict!r}, expected 'real' or 'fake'"
        for name in ("image", "error", "reasoning", "score_source"):
            if not isinstance(row.get(name), str | None):
                return f"{name} is {row[name]!r}, not a text"
        reason = _repeated(row, seen)
        return reason or (None if row["id"] in known else f"id {row['id']!r} is no sample of this set")

    return fault
