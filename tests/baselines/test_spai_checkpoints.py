"""SPAI's checkpoint in every layout it comes in, and what is refused."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from baselines._spai import from_file
from fdr_bench.errors import WeightsError
from tests.baselines.tiny_spai import TINY, seeded, tiny


class CfgNode(dict[str, Any]):
    """Pickled as the class of that name in yacs: a dict with attributes."""

    def __init__(self, **values: Any) -> None:
        super().__init__(values)
        self.__dict__["__immutable__"] = True


@pytest.fixture
def state() -> dict[str, Tensor]:
    network = tiny()
    network.mfvit.frequencies_mask[0] = 1  # not what the constructor makes
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def logit_of(network: nn.Module) -> Tensor:
    with torch.inference_mode():
        logit: Tensor = network(seeded(1, 3, 16, 16))
    return logit


def as_official(state: dict[str, Tensor], path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the authors' wrapping, with the configuration of a library that is not installed here."""
    module = ModuleType("yacs.config")
    monkeypatch.setattr(CfgNode, "__module__", "yacs.config")
    monkeypatch.setattr(module, "CfgNode", CfgNode, raising=False)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "yacs", ModuleType("yacs"))
        patch.setitem(sys.modules, "yacs.config", module)
        config = CfgNode(MODEL=CfgNode(TYPE="vit", SIZES=[224, (1, 2)]), EPOCHS=35)
        rest = {"optimizer": {"state": {0: torch.ones(1)}}, "lr_scheduler": {"t": 1}, "max_accuracy": 0.9, "epoch": 3}
        torch.save({"model": state, **rest, "config": config, "amp": {}}, path)
    return path


@pytest.mark.parametrize("layout", ["official", "bare", "module", "safetensors"])
def test_every_layout_loads_with_its_own_mask(
    state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    path = tmp_path / ("spai.safetensors" if layout == "safetensors" else "spai.pth")
    if layout == "official":
        as_official(state, path, monkeypatch)
    elif layout == "safetensors":
        save_file(state, path)
    else:
        torch.save({("module." if layout == "module" else "") + name: tensor for name, tensor in state.items()}, path)
    network = from_file(path, TINY)
    reference = tiny()
    constructed = logit_of(reference)
    reference.load_state_dict(state)
    torch.testing.assert_close(logit_of(network), logit_of(reference), rtol=1e-5, atol=1e-6)
    assert (logit_of(network) - constructed).abs() > 1e-4
    assert network.state_dict()["mfvit.frequencies_mask"].dtype == torch.int64


def test_half_precision_is_widened(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "spai.pth"
    torch.save({"model": {name: tensor.half() for name, tensor in state.items()}}, path)
    network = from_file(path, TINY)
    dtypes = {name: tensor.dtype for name, tensor in network.state_dict().items()}
    assert dtypes.pop("mfvit.frequencies_mask") == torch.int64
    assert set(dtypes.values()) == {torch.float32}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"to_kv.weight": None}, r"1 missing \(to_kv\.weight\)"),
        ({"mfvit.frequencies_mask": None}, r"1 missing \(mfvit\.frequencies_mask\)"),
        ({"mfvit.vit.head.bias": None}, r"1 missing \(mfvit\.vit\.head\.bias\)"),
        ({"mfvit.vit.cls_token": torch.ones(1, 1, 9)}, r"mfvit\.vit\.cls_token is \[1, 1, 9\], expected \[1, 1, 8\]"),
        # The official loader would keep these alone and drop all the others.
        ({"encoder.pos_embed": torch.ones(1)}, r"1 unknown \(encoder\.pos_embed\)"),
        ({"norm.bias": torch.full((18,), math.nan)}, r"not finite \(norm\.bias\)"),
    ],
)
def test_a_misfit_is_named(state: dict[str, Tensor], tmp_path: Path, change: dict[str, Any], said: str) -> None:
    changed = {name: tensor for name, tensor in (state | change).items() if tensor is not None}
    torch.save({"model": changed}, tmp_path / "spai.pth")
    with pytest.raises(WeightsError, match=said):
        from_file(tmp_path / "spai.pth", TINY)


def test_the_backbones_pre_training_is_refused_with_what_is_wanted(state: dict[str, Tensor], tmp_path: Path) -> None:
    mfm = {f"encoder.{name.removeprefix('mfvit.vit.')}": value for name, value in state.items() if ".vit." in name}
    torch.save({"model": mfm | {"decoder.0.weight": torch.ones(1)}}, tmp_path / "mfm_pretrain_vit_base.pth")
    with pytest.raises(WeightsError, match=r"pre-training of the backbone.*expected the authors' spai\.pth"):
        from_file(tmp_path / "mfm_pretrain_vit_base.pth", TINY)


def test_other_objects_in_a_file_are_still_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"model": state, "config": Path("somewhere")}, tmp_path / "spai.pth")
    with pytest.raises(WeightsError, match="more than tensors"):
        from_file(tmp_path / "spai.pth", TINY)
