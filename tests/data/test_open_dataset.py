"""From a spec to a dataset: kinds, bare paths, stable fingerprints, and what goes wrong."""

import hashlib
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

import fdr_bench.data
from fdr_bench.data import kinds, make_dataset, open_dataset
from fdr_bench.data.files import FileImage
from fdr_bench.data.specs import dataset_name, split_options
from fdr_bench.errors import DataError, PluginError, UsageError
from fdr_bench.types import Dataset, ImageFile, Sample
from tests.data.trees import PNG, grow, tar_of

PAIR = ["0_real/a.png", "1_fake/a.png"]


def sample(identity, size=5, label="real", generator=None):
    return Sample(id=identity, image=FileImage(f"/x/{identity}", size), label=label, generator=generator)


def test_the_fingerprint_is_the_documented_sum_over_sorted_samples():
    dataset = make_dataset("n", "s", [sample("b", 7, "fake", "sd"), sample("a")])
    assert [each.id for each in dataset.samples] == ["a", "b"]
    assert dataset.fingerprint == hashlib.sha256(b"a\treal\t\t5\nb\tfake\tsd\t7\n").hexdigest()


@pytest.mark.parametrize(
    "changed", [sample("c"), sample("a", 6), sample("a", label="fake"), sample("a", generator="sd")]
)
def test_the_fingerprint_tells_ids_sizes_labels_and_generators_apart(changed):
    assert make_dataset("n", "s", [changed]).fingerprint != make_dataset("n", "s", [sample("a")]).fingerprint


def test_the_fingerprint_does_not_depend_on_where_the_data_lies(tmp_path):
    one, other = grow(tmp_path / "one", PAIR), grow(tmp_path / "other" / "deeper", PAIR)
    assert open_dataset(f"folders:{one}").fingerprint == open_dataset(f"folders:{other}").fingerprint


def test_no_samples_and_equal_ids_are_refused():
    with pytest.raises(DataError, match="no images found"):
        make_dataset("n", "s", [])
    with pytest.raises(DataError, match="two images have the id 'a'"):
        make_dataset("n", "s", [sample("a"), sample("a", 6)])


def test_a_bare_path_is_recognised_by_its_content(tmp_path):
    folder = grow(tmp_path / "set", PAIR)
    assert open_dataset(str(folder)).spec == f"folders:{folder}"
    archive = tar_of(tmp_path / "x.tar", [(name, PNG) for name in PAIR])
    assert open_dataset(str(archive)).spec == f"tar:{archive}"
    sets = grow(tmp_path / "mmfr", [f"evaluation_sets/flux/{name}" for name in PAIR])
    assert open_dataset(str(sets)).spec == f"mmfr:{sets}"
    assert {each.generator for each in open_dataset(f"{folder}?generator=sd").samples} == {None, "sd"}


def test_a_path_that_exists_wins_over_a_kind_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("folders", "tar:odd", "what?"):
        grow(tmp_path / name, PAIR)
        assert open_dataset(name).spec == f"folders:{name}"
    assert open_dataset("folders:what?").name == "what"


def test_a_single_image_is_pointed_to_predict(tmp_path):
    grow(tmp_path, ["a.png"])
    with pytest.raises(UsageError, match="fdr-bench predict"):
        open_dataset(str(tmp_path / "a.png"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("foldrs:x", "no kind of dataset is called 'foldrs'. Did you mean 'folders'"),
        ("zzz:x", "Known: folders, mmfr, parquet, scenes, tar"),
        ("no/such/place", "no such file or folder"),
        ("nowhere?generator=x", "no such file or folder"),
        ("folders:", "expected a path"),
        ("folders:no/such/place", "is not there"),
    ],
)
def test_words_that_name_nothing_are_usage_errors(spec, message):
    with pytest.raises(UsageError) as caught:
        open_dataset(spec)
    assert message in str(caught.value)


def test_every_installed_kind_is_found():
    assert {"folders", "mmfr", "parquet", "scenes", "tar"} <= set(kinds())


def stub_kinds(monkeypatch, **values):
    entries = [EntryPoint(name, value, fdr_bench.data.GROUP) for name, several in values.items() for value in several]

    def entry_points(**wanted):
        return EntryPoints(entries).select(**wanted)

    monkeypatch.setattr(fdr_bench.data, "entry_points", entry_points)


def test_a_strangers_kind_enters_by_the_entry_point_group(monkeypatch):
    stub_kinds(monkeypatch, mine=[f"{__name__}:open_mine"])
    assert open_dataset("mine:rest?x=1").spec == "rest?x=1"
    assert open_dataset("mine").spec == ""
    assert open_dataset("mine?x=1").spec == "?x=1"


def open_mine(rest: str) -> Dataset:
    return make_dataset("mine", rest, [sample("a")])


def test_a_kind_that_cannot_be_loaded_or_is_offered_twice_says_so(monkeypatch):
    stub_kinds(monkeypatch, gone=["no_such_module:f"], twice=["a:f", "b:f"])
    with pytest.raises(PluginError, match=r"'gone' \(no_such_module:f\) cannot be loaded"):
        open_dataset("gone:x")
    with pytest.raises(PluginError, match=r"several packages offer the dataset kind 'twice': a:f, b:f"):
        open_dataset("twice:x")


def test_options_are_split_off_behind_the_path(tmp_path):
    assert split_options("a/b?generator=x&below=category", ("generator", "below")) == (
        "a/b",
        {"generator": "x", "below": "category"},
    )
    with pytest.raises(UsageError, match="needs a value"):
        split_options("a?generator", ("generator",))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/x/cifake/test", "cifake-test"),
        ("/x/progan_mini/", "progan_mini"),
        ("/x/set.tar.part1", "set"),
        ("/x/full_train.parquet", "full_train"),
        ("/x/My photos (2024)", "My-photos-2024"),
        ("/x/photos v1.5", "photos-v1.5"),
    ],
)
def test_a_dataset_is_named_for_its_path(path, name):
    assert dataset_name(path) == name


def test_a_file_image_is_an_image_file():
    image = FileImage("/x/a.png", 5)
    assert isinstance(image.location, str) and {"location", "size", "read"} <= set(dir(ImageFile))


def test_opening_folders_imports_nothing_heavy(tmp_path):
    grow(tmp_path, PAIR)
    program = (
        "import sys; from fdr_bench.data import open_dataset; open_dataset(sys.argv[1])\n"
        "heavy = {'torch', 'pyarrow', 'pydantic', 'pandas', 'scipy', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
