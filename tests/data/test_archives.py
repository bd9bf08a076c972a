"""Tar archives: read in place, whole or in parts, and nothing hostile in them touches the disk."""

import gzip
import io
import os
import pickle
import tarfile

import pytest

from fdr_bench.data import open_dataset
from fdr_bench.errors import DataError, ImageError, UsageError
from tests.data.trees import PNG, facts, grow, tar_of

MEMBERS = [f"progan/{label}/{number}.png" for label in ("0_real", "1_fake") for number in range(20)]


@pytest.fixture
def folder(tmp_path):
    root = grow(tmp_path / "set", MEMBERS)
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        path.write_bytes(PNG + bytes([number]) * (number * 37))
    return root


@pytest.fixture
def archive(folder, tmp_path):
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(folder, arcname=".")
    return path


def test_an_archive_is_the_same_dataset_as_its_folder(folder, archive):
    unpacked, packed = open_dataset(f"folders:{folder}"), open_dataset(f"tar:{archive}")
    assert facts(packed) == facts(unpacked)
    assert packed.fingerprint == unpacked.fingerprint
    for one, other in zip(unpacked.samples, packed.samples, strict=True):
        assert one.image.read() == pickle.loads(pickle.dumps(other.image)).read()
    assert packed.samples[0].image.location == "set.tar!progan/0_real/0.png"


@pytest.mark.parametrize(
    "names",
    [
        ["set.tar.part1", "set.tar.part2", "set.tar.part3"],
        ["set.tar.part-00", "set.tar.part-01", "set.tar.part-02"],
        ["set.tar.000", "set.tar.001", "set.tar.002"],
        ["set.tar.001", "set.tar.002", "set.tar.003"],
        ["set.tar.aa", "set.tar.ab", "set.tar.ac"],
        ["set.tar-part_aa", "set.tar-part_ab", "set.tar-part_ac"],
        ["set.tar.part9", "set.tar.part10", "set.tar.part11"],  # by number, not by alphabet
    ],
)
def test_parts_are_read_as_one(folder, archive, tmp_path, names):
    payload = archive.read_bytes()
    archive.unlink()
    if names[0].endswith("part9"):
        names = [f"set.tar.part{number}" for number in range(12)]
    # Cuts that fall inside members and inside headers, and one tiny part.
    cuts = sorted({0, 700, *(len(payload) * n // len(names) for n in range(2, len(names))), len(payload)})
    for name, start, end in zip(names, cuts, cuts[1:], strict=False):
        (tmp_path / name).write_bytes(payload[start:end])
    expected = open_dataset(f"folders:{folder}")
    for path in (names[0], names[-1], "set.tar"):
        packed = open_dataset(f"tar:{tmp_path / path}")
        assert packed.fingerprint == expected.fingerprint, path
    for one, other in zip(expected.samples, packed.samples, strict=True):
        assert one.image.read() == other.image.read()


def split(archive, count):
    payload = archive.read_bytes()
    size = -(-len(payload) // count)
    parts = [archive.with_name(f"{archive.name}.{number:03d}") for number in range(count)]
    for number, part in enumerate(parts):
        part.write_bytes(payload[number * size : (number + 1) * size])
    archive.unlink()
    return parts


@pytest.mark.parametrize("lost", [0, 1, 3])  # part 3 begins where a member does: nothing is cut in two
def test_a_missing_part_is_told(archive, lost):
    parts = split(archive, 4)
    parts[lost].unlink()
    with pytest.raises(DataError, match="part"):
        open_dataset(f"tar:{archive}")


def test_an_archive_cut_off_between_two_members_is_noted(archive, tmp_path):
    with tarfile.open(archive) as tar:
        last = tar.getmembers()[-1]
    (tmp_path / "cut.tar").write_bytes(archive.read_bytes()[: last.offset])
    assert any("no end mark" in note for note in open_dataset(f"tar:{tmp_path / 'cut.tar'}").notes)


def test_damage_in_the_middle_does_not_shrink_the_set(archive):
    with tarfile.open(archive) as tar:
        middle = tar.getmembers()[20]
    payload = bytearray(archive.read_bytes())
    payload[middle.offset : middle.offset + 512] = b"\x01" * 512
    archive.write_bytes(payload)
    with pytest.raises(DataError, match=r"damaged at byte .* after 20 members"):
        open_dataset(f"tar:{archive}")


def test_a_compressed_archive_is_refused_with_the_command(archive):
    path = archive.with_name("set.tar.gz")
    path.write_bytes(gzip.compress(archive.read_bytes()))
    with pytest.raises(DataError, match=r"compressed with gzip.*gzip -dk set\.tar\.gz"):
        open_dataset(str(path))
    parts = split(path, 2)
    with pytest.raises(DataError, match=r"cat set\.tar\.gz\* \| gzip -dkc > joined\.tar"):
        open_dataset(f"tar:{parts[0]}")


def test_hostile_members_never_touch_the_disk_and_are_noted(tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    path = tar_of(
        work / "evil.tar",
        [
            ("0_real/good.png", PNG),
            ("../escaped.png", PNG),
            ("0_real/../../escaped.png", PNG),
            (str(tmp_path / "1_fake" / "absolute.png"), PNG),
        ],
    )
    with tarfile.open(path, "a") as archive:
        for name, kind, target in (
            ("1_fake/outside.png", tarfile.SYMTYPE, "/etc/hostname"),
            ("1_fake/hard.png", tarfile.LNKTYPE, "../../etc/hostname"),
            ("1_fake/device.png", tarfile.CHRTYPE, ""),
            ("1_fake/pipe.png", tarfile.FIFOTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    dataset = open_dataset(f"tar:{path}")
    assert sum("leads out of the archive" in note for note in dataset.notes) == 2
    assert sum("absolute" in note for note in dataset.notes) == 1
    for sample in dataset.samples:
        if sample.id == "0_real/good.png":
            assert sample.image.read() == PNG
        else:
            with pytest.raises(ImageError, match=r"device or pipe|no file in this archive"):
                sample.image.read()
    assert len(dataset.samples) == 5
    assert sorted(found.name for found in tmp_path.rglob("*")) == ["evil.tar", "work"]


def test_links_inside_the_archive_are_followed(tmp_path):
    path = tar_of(tmp_path / "links.tar", [("./0_real/a.png", PNG)])
    with tarfile.open(path, "a") as archive:
        for name, kind, target in (
            ("0_real/b.png", tarfile.LNKTYPE, "./0_real/a.png"),
            ("1_fake/c.png", tarfile.SYMTYPE, "../0_real/a.png"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    assert [sample.image.read() for sample in open_dataset(f"tar:{path}").samples] == [PNG] * 3


def test_of_a_member_stored_twice_the_last_counts(tmp_path):
    path = tar_of(tmp_path / "twice.tar", [("0_real/a.png", b"old"), ("0_real/a.png", PNG)])
    dataset = open_dataset(f"tar:{path}")
    assert [sample.image.read() for sample in dataset.samples] == [PNG]
    assert any("stored twice" in note for note in dataset.notes)


def test_a_folder_of_archives_named_for_generators(tmp_path):
    for name in ("sd15", "flux"):
        tar_of(tmp_path / f"{name}.tar", [("0_real/a.png", PNG), ("1_fake/a.png", PNG)])
    assert {sample.id: sample.generator for sample in open_dataset(f"tar:{tmp_path}").samples} == {
        "flux/0_real/a.png": "flux",
        "flux/1_fake/a.png": "flux",
        "sd15/0_real/a.png": "sd15",
        "sd15/1_fake/a.png": "sd15",
    }


def test_numbered_shards_are_one_set(tmp_path):
    tar_of(tmp_path / "train-000.tar", [("0_real/a.png", PNG)])
    tar_of(tmp_path / "train-001.tar", [("1_fake/b.png", PNG)])
    dataset = open_dataset(f"tar:{tmp_path}/train-*.tar")
    assert [sample.id for sample in dataset.samples] == ["0_real/a.png", "1_fake/b.png"]


def test_an_archive_that_shrank_since_it_was_listed_fails_the_sample(archive):
    sample = open_dataset(f"tar:{archive}").samples[-1]
    os.truncate(archive, 4096)
    with pytest.raises(ImageError, match="changed since it was listed"):
        sample.image.read()


def test_what_is_no_archive_is_told(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"not a tar archive" * 100)
    with pytest.raises(DataError, match="not a readable tar archive"):
        open_dataset(f"tar:{tmp_path / 'x.tar'}")
    with pytest.raises(UsageError, match="no archive at"):
        open_dataset(f"tar:{tmp_path / 'y.tar'}")


def test_a_reader_over_parts_behaves_as_a_file(tmp_path):
    from fdr_bench.data.parts import Parts, PartsReader

    payload = bytes(range(256)) * 4
    sizes = (1, 0, 500, 523)
    paths, start = [], 0
    for number, size in enumerate(sizes):
        paths.append(str(tmp_path / f"{number}"))
        (tmp_path / f"{number}").write_bytes(payload[start : start + size])
        start += size
    parts = Parts("x", tuple(paths), sizes)
    twin = io.BytesIO(payload)
    with PartsReader(parts) as reader:
        for offset, size in ((0, 5), (499, 4), (1000, 100), (0, -1), (1024, 3), (600, 0)):
            assert reader.seek(offset) == twin.seek(offset)
            assert reader.read(size) == twin.read(size) and reader.tell() == twin.tell()
            if size >= 0:
                assert parts.read(offset, size) == payload[offset : offset + size]
