"""Parquet shards: polarity from names, lazily read row groups, several shards."""

import json
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fdr_bench.data import open_dataset, parquet
from fdr_bench.errors import DataError, ImageError, UsageError
from tests.data.trees import PNG


def write(path, labels, *, names=("FAKE", "REAL"), payloads=None, group=2, extra=None, label_type=None):
    """Write a shard as the `datasets` library stores an image folder; row i holds PNG and i more bytes."""
    payloads = [PNG + bytes(number) for number in range(len(labels))] if payloads is None else payloads
    images = pa.array(
        [{"bytes": payload, "path": f"{number}.png"} for number, payload in enumerate(payloads)],
        type=pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    features = {"image": {"_type": "Image"}}
    if names is not None:
        features["label"] = {"names": list(names), "_type": "ClassLabel"}
    table = pa.table({"image": images, "label": pa.array(labels, type=label_type), **(extra or {})})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=group)
    return path


def labels_of(dataset):
    return [sample.label for sample in dataset.samples]


def test_polarity_comes_from_the_names(tmp_path):
    alphabetical = open_dataset(f"parquet:{write(tmp_path / 'a.parquet', [0, 1, 1])}")
    assert labels_of(alphabetical) == ["fake", "real", "real"]
    other = open_dataset(f"parquet:{write(tmp_path / 'b.parquet', [0, 1, 1], names=('0_real', '1_fake'))}")
    assert labels_of(other) == ["real", "fake", "fake"]


def test_numbers_without_names_are_refused_until_they_are_named(tmp_path):
    path = write(tmp_path / "a.parquet", [0, 1], names=None)
    with pytest.raises(DataError, match="which one is fake is unknown"):
        open_dataset(f"parquet:{path}")
    assert labels_of(open_dataset(f"parquet:{path}?names=real,fake")) == ["real", "fake"]


def test_text_labels_are_their_own_names(tmp_path):
    path = write(tmp_path / "a.parquet", ["Fake", "real"], names=None)
    assert labels_of(open_dataset(f"parquet:{path}")) == ["fake", "real"]


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 1], ("cat", "dog"), "label name 'cat' is no known class"),
        ([0, -1], ("FAKE", "REAL"), "row 1 has the label -1"),
        ([0, None], ("FAKE", "REAL"), "row 1 has the label None"),
        ([0, 2], ("FAKE", "REAL"), "row 1 has the label 2"),
    ],
)
def test_labels_that_mean_nothing_are_refused(tmp_path, labels, names, message):
    path = write(tmp_path / "a.parquet", labels, names=names, label_type=pa.int64())
    with pytest.raises(DataError, match=message):
        open_dataset(f"parquet:{path}")


def test_rows_are_read_from_their_own_row_group(tmp_path):
    dataset = open_dataset(f"parquet:{write(tmp_path / 'a.parquet', [0, 1, 0, 1, 0])}")
    assert [sample.id for sample in dataset.samples] == [f"a.parquet#{row:08d}" for row in range(5)]
    for row, sample in reversed(list(enumerate(dataset.samples))):
        assert pickle.loads(pickle.dumps(sample.image)).read() == PNG + bytes(row)
        assert sample.image.size == len(PNG) + row
    assert dataset.samples[3].image.location == f"{tmp_path}/a.parquet[group 1, row 1]!3.png"


def test_few_row_groups_are_kept_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "CACHED_BYTES", 5000)
    payloads = [bytes([number]) * 2000 for number in range(8)]
    dataset = open_dataset(f"parquet:{write(tmp_path / 'a.parquet', [0] * 8, payloads=payloads, group=1)}")
    for sample, payload in zip(dataset.samples, payloads, strict=True):
        assert sample.image.read() == payload
        assert sum(rows.nbytes for rows in parquet._cache.values()) <= 5000


def test_several_shards_are_one_set(tmp_path):
    write(tmp_path / "train-00000-of-00002.parquet", [0, 1])
    write(tmp_path / "train-00001-of-00002.parquet", [1])
    for spec in (f"parquet:{tmp_path}", f"parquet:{tmp_path}/train-*.parquet", str(tmp_path)):
        assert labels_of(open_dataset(spec)) == ["fake", "real", "real"]


def test_a_generator_column_is_read_and_left_off_the_reals(tmp_path):
    path = write(tmp_path / "a.parquet", [0, 1, 0], extra={"generator": pa.array(["flux", "camera", None])})
    assert [sample.generator for sample in open_dataset(f"parquet:{path}").samples] == ["flux", None, None]
    path = write(tmp_path / "b.parquet", [0, 1])
    assert [sample.generator for sample in open_dataset(f"parquet:{path}?generator=sd14").samples] == ["sd14", None]


def test_a_row_without_bytes_fails_as_a_sample(tmp_path):
    dataset = open_dataset(f"parquet:{write(tmp_path / 'a.parquet', [0, 1], payloads=[None, PNG])}")
    with pytest.raises(ImageError, match="only a path"):
        dataset.samples[0].image.read()
    assert dataset.samples[1].image.read() == PNG


def test_a_plain_binary_column_under_another_name(tmp_path):
    table = pa.table({"picture": pa.array([PNG], type=pa.binary()), "class": ["fake"]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"has no column 'image'; its columns are picture, class"):
        open_dataset(f"parquet:{tmp_path / 'a.parquet'}")
    dataset = open_dataset(f"parquet:{tmp_path / 'a.parquet'}?image=picture&label=class")
    assert dataset.samples[0].image.read() == PNG


def test_what_is_no_shard_is_told(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing of the kind")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        open_dataset(f"parquet:{tmp_path / 'a.parquet'}")
    with pytest.raises(UsageError, match="no Parquet shard"):
        open_dataset(f"parquet:{tmp_path / 'b.parquet'}")
    pq.write_table(pa.table({"image": [1], "label": [1]}), tmp_path / "c.parquet")
    with pytest.raises(DataError, match="expected binary or a struct"):
        open_dataset(f"parquet:{tmp_path / 'c.parquet'}")


def test_a_shard_that_vanished_fails_the_sample(tmp_path):
    sample = open_dataset(f"parquet:{write(tmp_path / 'a.parquet', [0])}").samples[0]
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(ImageError, match="shard cannot be read"):
        sample.image.read()
