"""Reading checkpoint files: what fits is loaded, what does not is named, and nothing in a file is run."""

from __future__ import annotations

import pickle
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from baselines._checkpoints import build_from, find_state, load_strictly, read_checkpoint
from fdr_bench.errors import WeightsError


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {name: torch.randn(value.shape).to(value.dtype) for name, value in network().state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s, "optimizer": {"lr": 1.0}, "total_steps": 7}])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_is_found_bare_wrapped_and_prefixed(
    tmp_path: Path, wrap: Callable[[object], object], prefix: str, zipped: bool
) -> None:
    path = tmp_path / "a.pth"
    torch.save(
        wrap({prefix + name: value for name, value in state().items()}), path, _use_new_zipfile_serialization=zipped
    )
    assert same(find_state(read_checkpoint(path), path), state())


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "a.safetensors")
    assert same(find_state(read_checkpoint(tmp_path / "a.safetensors"), tmp_path), state())


def test_a_network_built_from_a_state_holds_exactly_it() -> None:
    half = {name: value.half() if value.is_floating_point() else value for name, value in state().items()}
    built = build_from(network, half, "x")
    assert not built.training
    assert same(built.state_dict(), {name: half[name].to(value.dtype) for name, value in state().items()})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: s.pop("0.bias"), r"1 missing \(0\.bias\)"),
        (lambda s: s.update(extra=torch.zeros(1)), r"1 unknown \(extra\)"),
        (lambda s: s.update({"0.weight": torch.zeros(3, 2)}), r"0\.weight is \[3, 2\], expected \[2, 3\]"),
        (lambda s: s["1.running_var"].fill_(float("nan")), r"not finite \(1\.running_var\)"),
    ],
)
def test_each_kind_of_misfit_is_named_and_nothing_is_loaded(
    change: Callable[[dict[str, torch.Tensor]], object], named: str
) -> None:
    wrong, target = state(), network()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    change(wrong)
    with pytest.raises(WeightsError, match=named):
        load_strictly(target, wrong, "a.pth")
    assert same(target.state_dict(), before)


def test_many_misfits_are_counted() -> None:
    with pytest.raises(WeightsError, match=r"7 missing \(.*and 2 more\)"):
        load_strictly(network(), {}, "a.pth")


def test_a_file_may_hold_only_what_its_card_says_it_keeps() -> None:
    head = {name: value for name, value in state().items() if name.startswith("1.")}
    target = network()
    load_strictly(target, head, "a", kept=lambda name: name.startswith("1."))
    assert torch.equal(target.state_dict()["1.weight"], head["1.weight"])
    with pytest.raises(WeightsError, match=r"1 missing \(1\.bias\)"):
        load_strictly(target, {k: v for k, v in head.items() if k != "1.bias"}, "a", kept=lambda n: n.startswith("1."))


class Hostile:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return open, (str(self.target), "w")


def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    path, target = tmp_path / "a.pth", tmp_path / "run"
    path.write_bytes(pickle.dumps({"model": Hostile(target)}))
    with pytest.raises(WeightsError, match="more than tensors"):
        read_checkpoint(path)
    torch.save({"model": Hostile(target)}, path)
    with pytest.raises(WeightsError, match="run code"):
        read_checkpoint(path)
    assert not target.exists()


def test_a_class_that_the_reader_names_as_harmless_is_let_through_in_that_reading_alone(tmp_path: Path) -> None:
    path = tmp_path / "with_arguments.pth"
    torch.save({"model": {"a": torch.ones(1)}, "args": Namespace(lr=0.1)}, path)
    named = read_checkpoint(path, inert={"argparse.Namespace": Namespace})
    assert named["args"] == Namespace(lr=0.1)
    with pytest.raises(WeightsError, match="more than tensors"):
        read_checkpoint(path)


def test_a_pickled_module_is_refused_with_what_to_do(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"state_dict\(\)"):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint", "half"])
def test_a_damaged_file_is_refused(tmp_path: Path, name: str, content: bytes | str) -> None:
    path = tmp_path / name
    if isinstance(content, str):
        torch.save(state(), path) if name.endswith(".pth") else save_file(state(), path)
        content = path.read_bytes()[:-200]
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=name):
        read_checkpoint(path)


def test_a_missing_file_and_a_file_without_tensors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no weights file"):
        read_checkpoint(tmp_path / "none.pth")
    path = tmp_path / "a.pth"
    torch.save([1, 2], path)
    with pytest.raises(WeightsError, match="holds a list"):
        read_checkpoint(path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(WeightsError, match="no tensor: epoch"):
        find_state(read_checkpoint(path), path)
