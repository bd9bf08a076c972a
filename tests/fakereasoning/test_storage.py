"""Folders of models: what is written is what is read, in every precision, and misfits are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fakereasoning.config import Fusion, Stem
from fakereasoning.model import FakeReasoning
from fakereasoning.prompts import IMAGE_TOKEN
from fdr_bench.errors import WeightsError
from tests.fakereasoning.tiny import noise, tiny_config, tiny_model

IDS = torch.tensor([[1, IMAGE_TOKEN, 5, 6], [1, 7, IMAGE_TOKEN, 8]])
PIXELS = noise(2, 3, 16, 16)
HEAD, EMBEDDING = "language.lm_head.weight", "language.model.embed_tokens.weight"


def logits(model: FakeReasoning) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(IDS, pixels=PIXELS).logits
    return found


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("fusion", "stem"), [("none", "patch"), ("interleave", "patch"), ("faff", "patch"), ("faff", "convolutions")]
)
def test_a_saved_model_comes_back_bit_by_bit(tmp_path: Path, fusion: Fusion, stem: Stem, tied: bool) -> None:
    model = tiny_model(fusion, stem=stem, dino_stem="patch" if stem == "patch" else "residual", tied=tied)
    model.save_pretrained(tmp_path / "new" / "folder")
    loaded = FakeReasoning.from_pretrained(tmp_path / "new" / "folder")
    assert loaded.config == model.config and not any(module.training for module in loaded.modules())
    assert torch.equal(logits(loaded), logits(model))


# Measured: 0, 0.0044 and 0.047, of logits with a deviation of 1.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 0), (torch.float16, 0.015), (torch.bfloat16, 0.15)])
def test_every_precision_is_saved_loaded_and_run(tmp_path: Path, dtype: torch.dtype, tolerance: float) -> None:
    model = tiny_model(stem="convolutions", dino_stem="residual")
    model.save_pretrained(tmp_path, dtype=dtype)
    stored = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values() if tensor.is_floating_point()} == {dtype}
    loaded = FakeReasoning.from_pretrained(tmp_path)
    assert loaded.dtype == dtype
    torch.testing.assert_close(logits(loaded).float(), logits(model), rtol=0, atol=tolerance)
    # Half a precision on disk, and all of it in use.
    full = FakeReasoning.from_pretrained(tmp_path, dtype=torch.float32)
    assert all(torch.equal(tensor, stored[name].to(tensor.dtype)) for name, tensor in full.stored_tensors().items())


def test_a_tied_output_layer_is_stored_once_and_stays_tied(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    assert HEAD not in load_file(tmp_path / "model.safetensors")
    loaded = FakeReasoning.from_pretrained(tmp_path, dtype=torch.float16)
    assert loaded.language.lm_head.weight is loaded.language.model.embed_tokens.weight


@pytest.mark.parametrize("cast", [lambda m: m.half(), lambda m: m.to(torch.bfloat16), lambda m: m.to("cpu")])
def test_rotary_frequencies_stay_float32_through_every_cast(cast: Callable[[FakeReasoning], FakeReasoning]) -> None:
    model = tiny_model()
    expected = model.language.model.rotary_emb.inv_freq.clone()
    found = cast(model).language.model.rotary_emb.inv_freq
    assert found.dtype == torch.float32 and torch.equal(found, expected)


def test_loaded_tensors_become_the_models_storage() -> None:
    given = tiny_model().stored_tensors()
    model = FakeReasoning.empty(tiny_config())
    model.load_tensors(given, "x")
    assert all(tensor.data_ptr() == given[name].data_ptr() for name, tensor in model.stored_tensors().items())
    assert not [name for name, tensor in [*model.named_buffers(), *model.named_parameters()] if tensor.is_meta]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: s.pop("fusion.merge.bias"), r"1 missing \(fusion\.merge\.bias\)"),
        (lambda s: s.update(odd=torch.ones(1)), r"1 unknown \(odd\)"),
        (
            lambda s: s.update({EMBEDDING: torch.ones(49, 24)}),
            r"embed_tokens\.weight is \[49, 24\], expected \[50, 24\]",
        ),
        (lambda s: s["fusion.merge.bias"].fill_(torch.nan), r"not finite \(fusion\.merge\.bias\)"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], object], named: str
) -> None:
    tiny_model().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    change(state)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=rf"model\.safetensors does not fit the model.*{named}"):
        FakeReasoning.from_pretrained(tmp_path)


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"config\.json"):
        FakeReasoning.from_pretrained(tmp_path)
    tiny_model().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(WeightsError, match=r"model\.safetensors cannot be read"):
        FakeReasoning.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"format": "llava"}))
    with pytest.raises(WeightsError, match=r"config\.json is no FakeReasoning config: .*'llava'"):
        FakeReasoning.from_pretrained(tmp_path)


def test_saving_leaves_no_unfinished_file(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    tiny_model().save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
