"""Parquet shards in the image-folder schema of the `datasets` library: "parquet:PATH".

Columns: `image`, a struct of bytes and path, and `label`, a ClassLabel whose names stand in the schema's metadata. The
names decide what is fake, never the numbers: names sorted by the alphabet make FAKE = 0.
"""

from __future__ import annotations

import glob
import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fdr_bench.data import make_dataset
from fdr_bench.data.classes import KNOWN_SPELLINGS, label_of
from fdr_bench.data.listing import stable_name
from fdr_bench.data.specs import dataset_name, split_options
from fdr_bench.errors import DataError, ImageError, UsageError
from fdr_bench.types import Dataset, Label, Sample


@dataclass(frozen=True, slots=True)
class ParquetImage:
    """The image in one row: its row group within the shard, and its place within the group."""

    shard: str
    column: str
    group: int
    row: int
    name: str
    size: int

    @property
    def location(self) -> str:
        return f"{self.shard}[group {self.group}, row {self.row}]!{self.name}"

    def read(self) -> bytes:
        """Return the row's bytes. Raises `ImageError` for a row without bytes or a shard that cannot be read."""
        if self.size < 0:
            raise ImageError(f"{self.location}: the row holds no image bytes, only a path on the machine that wrote it")
        try:
            rows = _row_group(self.shard, self.column, self.group)
        except (OSError, ValueError) as error:  # Arrow's own errors are subclasses of ValueError and OSError
            raise ImageError(f"{self.location}: the shard cannot be read: {error}") from error
        payload = rows[self.row].as_py()
        if not isinstance(payload, bytes):
            raise ImageError(
                f"{self.location}: the row holds no image bytes; was the shard changed since it was listed?"
            )
        return payload


def open_parquet(rest: str) -> Dataset:
    """Open Parquet shards. `rest` is "PATH[?names=FAKE,REAL&image=COLUMN&label=COLUMN&generator=NAME]".

    PATH is a shard, a folder of shards or a glob pattern. `names` gives the label names by number where the schema
    has none. Generators come from a text or ClassLabel column "generator" or "model" if there is one, else from
    `generator`, which all fakes get. Ids are "<shard>#<row>". Image bytes are read when a sample is: one row group at
    a time. Raises `UsageError` where nothing is found, `DataError` for another schema or unknown label names.
    """
    path, options = split_options(rest, ("names", "image", "label", "generator"))
    shards = _shards(path)
    samples: list[Sample] = []
    for shard in shards:
        samples += _samples(shard, options)
    return make_dataset(dataset_name(path), f"parquet:{rest}", samples)


def _shards(path: str) -> list[str]:
    if os.path.isdir(path):
        found = sorted(glob.glob(os.path.join(glob.escape(path), "*.parquet")))
    else:
        found = [path] if os.path.isfile(path) else sorted(glob.glob(path))
    if not found:
        raise UsageError(f"no Parquet shard at '{path}': expected a .parquet file, a folder of them, or a glob pattern")
    return found


def _samples(shard: str, options: Mapping[str, str]) -> Iterator[Sample]:
    """Yield a shard's samples, its image bytes being looked at for their lengths only, a row group at a time."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(shard) as file:
            schema = file.schema_arrow
            features = _features(schema.metadata or {})
            image, label = _columns(shard, schema, options)
            labels = _labels(shard, label, schema.field(label).type, features, options)
            maker = next((name for name in ("generator", "model") if name in schema.names), None)
            makers = _names(features, maker) if maker else None
            start = 0
            for group in range(file.num_row_groups):
                columns = [image, label, *([maker] if maker else [])]
                table = file.read_row_group(group, columns=columns, use_threads=False)
                lengths, paths = _lengths_and_paths(table.column(image).combine_chunks())
                stated = table.column(label).to_pylist()
                made_by = table.column(maker).to_pylist() if maker else [None] * len(stated)
                for row, (length, name, value, made) in enumerate(zip(lengths, paths, stated, made_by, strict=True)):
                    if value not in labels:
                        raise DataError(
                            f"{shard}: row {start + row} has the label {value!r}, which is none of {labels}"
                        )
                    yield _sample(
                        ParquetImage(shard, image, group, row, name or "", -1 if length is None else length),
                        start + row,
                        labels[value],
                        makers[made] if makers and isinstance(made, int) else made or options.get("generator"),
                    )
                start += len(stated)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{shard}: cannot be read as Parquet: {error}. Fetch it again?") from error


def _sample(image: ParquetImage, row: int, label: Label, generator: object) -> Sample:
    made = str(generator) if generator is not None and label == "fake" else None
    return Sample(
        id=f"{stable_name(os.path.basename(image.shard))}#{row:08d}", image=image, label=label, generator=made
    )


def _lengths_and_paths(images: Any) -> tuple[list[int | None], list[str | None]]:
    import pyarrow.compute

    fields = {field.name: images.field(index) for index, field in enumerate(images.type)} if _is_struct(images) else {}
    payloads = fields.get("bytes", images)
    lengths = pyarrow.compute.binary_length(payloads).to_pylist()
    paths = fields["path"].to_pylist() if "path" in fields else [None] * len(lengths)
    return lengths, paths


def _is_struct(array: Any) -> bool:
    import pyarrow

    return bool(pyarrow.types.is_struct(array.type))


def _columns(shard: str, schema: Any, options: Mapping[str, str]) -> tuple[str, str]:
    """Return the names of the image and the label column. Raises `DataError` where they are not as expected."""
    import pyarrow

    image, label = options.get("image", "image"), options.get("label", "label")
    for name in (image, label):
        if name not in schema.names:
            raise DataError(
                f"{shard}: has no column '{name}'; its columns are {', '.join(schema.names)}. Expected 'image' (a "
                "struct of bytes and path) and 'label'; '?image=COLUMN&label=COLUMN' names others"
            )
    kind = schema.field(image).type
    binary = pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)
    if not binary and not (pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0):
        raise DataError(f"{shard}: the column '{image}' is {kind}, expected binary or a struct with the field 'bytes'")
    return image, label


def _features(metadata: Mapping[bytes, bytes]) -> Mapping[str, Any]:
    """Return the features that `datasets` wrote down in the schema; empty where there are none."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _names(features: Mapping[str, Any], column: str) -> Sequence[str] | None:
    feature = features.get(column)
    names = feature.get("names") if isinstance(feature, dict) else None
    return [str(name) for name in names] if isinstance(names, list) else None


def _labels(
    shard: str, column: str, kind: Any, features: Mapping[str, Any], options: Mapping[str, str]
) -> dict[object, Label]:
    """Return the label that each stored value means, by its name. Raises `DataError` where names are missing."""
    import pyarrow

    given = options["names"].split(",") if "names" in options else _names(features, column)
    if given is None and (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
        return _StatedLabels()
    if given is None:
        raise DataError(
            f"{shard}: the numbers in '{column}' have no names in the schema, so which one is fake is unknown. "
            "Say it with '?names=FAKE,REAL' (the name of 0 first)"
        )
    labels: dict[object, Label] = {}
    for number, name in enumerate(given):
        label = label_of(name)
        if label is None:
            raise DataError(
                f"{shard}: the label name '{name}' is no known class. Known spellings: {KNOWN_SPELLINGS}; "
                "'?names=FAKE,REAL' renames them (the name of 0 first)"
            )
        labels[number] = label
    return labels


class _StatedLabels(dict[object, Label]):
    """Labels of a text column: each value is its own name."""

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and label_of(value) is not None

    def __missing__(self, value: object) -> Label:
        label = label_of(str(value))
        if label is None:
            raise KeyError(value)
        return label


CACHED_BYTES = 256 << 20
_cache: OrderedDict[tuple[str, str, int], Any] = OrderedDict()


def _row_group(shard: str, column: str, group: int) -> Any:
    """Return the bytes column of a row group, keeping those last used up to `CACHED_BYTES` a process.

    A run reads rows in order and needs one group at a time; training reads them shuffled, and a small set whole.
    """
    import pyarrow.parquet

    key = (shard, column, group)
    if key in _cache:
        _cache.move_to_end(key)
        return _cache[key]
    # Without threads: Arrow's pool does not survive a fork, and the harness has its own workers.
    with pyarrow.parquet.ParquetFile(shard) as file:
        images = file.read_row_group(group, columns=[column], use_threads=False).column(column).combine_chunks()
    _cache[key] = images.field("bytes") if _is_struct(images) else images
    while len(_cache) > 1 and sum(rows.nbytes for rows in _cache.values()) > CACHED_BYTES:
        _cache.popitem(last=False)
    return _cache[key]
