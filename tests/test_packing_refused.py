"""What is not packed, so that nobody is sent what cannot be opened."""

import pytest

from fdr_bench.errors import RunError, UsageError
from fdr_bench.packing import pack
from fdr_bench.scoring import score_run
from tests.runs import make_run, renamed


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = make_run(tmp_path_factory.mktemp("runs") / "monday", 10, models=("npr@scenes", "constant"))
    score_run(root, resamples=0)
    return root


@pytest.mark.parametrize("name", ["npr:scenes", "npr.", ".npr"])
def test_what_could_not_be_unpacked_is_not_packed(run, tmp_path, name):
    other = renamed(run, tmp_path / "other", "npr@scenes", name)
    with pytest.raises(RunError, match="that no packed run may have"):
        pack(other, tmp_path / "other.zip")
    assert not (tmp_path / "other.zip").exists()


def test_a_folder_to_pack_into_is_refused_with_the_name_of_a_file(run, tmp_path):
    with pytest.raises(UsageError, match=r"is a folder; name the file to write, such as .*monday\.zip"):
        pack(run, tmp_path)
    assert list(tmp_path.iterdir()) == []
