"""Reading checkpoints: every layout gives the same tensors, and nothing in a checkpoint is run or leads elsewhere."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fakereasoning.checkpoints import all_finite, read_file, read_json, read_state
from fdr_bench.errors import WeightsError

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2).half(), "b": torch.tensor([7])}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one
    )


def write_shards(folder: Path, kind: str, changes: Mapping[str, object] | None = None) -> Path:
    """Write STATE in two shards; `changes` replaces entries of the index's weight map."""
    stem, suffix = kind.split(".")
    weight_map: dict[str, object] = {}
    for number, names in enumerate((["a.weight"], ["a.bias", "b"]), start=1):
        file = f"{stem}-0000{number}-of-00002.{suffix}"
        part = {name: STATE[name] for name in names}
        (save_file if suffix == "safetensors" else torch.save)(part, folder / file)
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": 36}, "weight_map": weight_map | dict(changes or {})}
    (folder / f"{kind}.index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin", "x.pth", "old.pth"])
def test_a_file_is_read_as_it_was_stored(tmp_path: Path, file: str) -> None:
    if file.endswith("safetensors"):
        save_file(STATE, tmp_path / file)
    else:
        torch.save(STATE, tmp_path / file, _use_new_zipfile_serialization=file != "old.pth")
    assert same(read_state(tmp_path / file), STATE)


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_is_read_whole_and_sharded(tmp_path: Path, kind: str) -> None:
    whole, sharded = tmp_path / "whole", tmp_path / "sharded"
    whole.mkdir()
    sharded.mkdir()
    (save_file if kind.endswith("safetensors") else torch.save)(STATE, whole / kind)
    assert same(read_state(whole), STATE)
    assert same(read_state(write_shards(sharded, kind)), STATE)


def test_safetensors_win_over_pickles_in_one_folder(tmp_path: Path) -> None:
    torch.save({"b": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    assert same(read_state(write_shards(tmp_path, "model.safetensors")), STATE)


@pytest.mark.parametrize(
    "file", ["../secret.safetensors", "/etc/secret.safetensors", "..", "sub/x.safetensors", "C:\\x.bin", "..\\x.bin"]
)
def test_an_index_that_points_elsewhere_is_refused_and_nothing_is_read(tmp_path: Path, file: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"b": torch.tensor([7])}, tmp_path / "secret.safetensors")
    write_shards(folder, "model.safetensors", {"b": file})
    for shard in folder.glob("*.safetensors"):
        shard.write_bytes(b"reading this would be another error")
    with pytest.raises(WeightsError, match=r"outside its own folder.*Nothing was read"):
        read_state(folder)


@pytest.mark.parametrize(
    ("weight_map", "named"),
    [
        ({"missing": "model-00001-of-00002.safetensors"}, "lacks tensors .*: missing"),
        ({"b": "model-00003-of-00003.safetensors"}, "lists model-00003-of-00003.safetensors, which is not beside it"),
        ({"a.weight": "model-00002-of-00002.safetensors"}, "lacks tensors .*: a.weight"),
        ({"b": 5}, "no 'weight_map'"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_refused(
    tmp_path: Path, weight_map: Mapping[str, object], named: str
) -> None:
    with pytest.raises(WeightsError, match=named):
        read_state(write_shards(tmp_path, "model.safetensors", weight_map))


def test_a_tensor_that_the_index_does_not_list_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, "model.safetensors")
    save_file({"a.weight": STATE["a.weight"], "more": torch.ones(1)}, tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(WeightsError, match="does not list there: more"):
        read_state(tmp_path)


class Trap:
    """What a hostile file brings: unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_not_run(tmp_path: Path, zipped: bool) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.ones(1), "b": Trap(sprung)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="would run code out of the file, so it was not read"):
        read_state(tmp_path)
    assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung)))  # the trap works where it is loaded
    assert sprung.exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (nn.Linear(2, 2), "would run code"),
        ({"state": STATE}, r"no tensor \(state\)"),
        ([torch.ones(1)], "holds a list"),
        ({}, "without tensors"),
    ],
)
def test_what_is_no_bare_state_dict_is_refused(tmp_path: Path, content: object, named: str) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=named):
        read_file(tmp_path / "x.pth")


@pytest.mark.parametrize("file", ["x.safetensors", "x.bin"])
def test_a_cut_off_file_is_refused(tmp_path: Path, file: str) -> None:
    path = tmp_path / file
    (save_file if file.endswith("safetensors") else torch.save)(STATE, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(WeightsError, match="fetch it anew"):
        read_file(path)


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"there is no .*nowhere"):
        read_state(tmp_path / "nowhere")
    with pytest.raises(WeightsError, match=r"holds no checkpoint; expected one of model\.safetensors"):
        read_state(tmp_path)


@pytest.mark.parametrize(
    ("text", "named"), [(None, "there is no"), ("{", "as JSON"), ("[1]", "a JSON list"), ("[" * 100_000, "as JSON")]
)
def test_a_json_file_is_an_object_or_an_error(tmp_path: Path, text: str | None, named: str) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=named):
        read_json(tmp_path / "config.json")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 60_000.0])
def test_values_that_are_not_finite_are_seen_in_every_precision(dtype: torch.dtype, value: float) -> None:
    tensor = torch.full((3, 5), 60_000.0, dtype=dtype)
    tensor[1, 2] = value
    assert all_finite(tensor) == (value == 60_000.0)
    assert all_finite(torch.zeros(0, dtype=dtype)) and all_finite(torch.tensor([1]))
