"""LoRA runs of the official training: put on their base they give what peft merges, and misfits are named."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from fakereasoning.config import FakeReasoningConfig
from fakereasoning.model import FakeReasoning
from fakereasoning.official import from_official, load_official
from fakereasoning.official_names import CLIP_COPY, FUSION
from fdr_bench.errors import UsageError, WeightsError
from tests.fakereasoning.filled import filled_config, filled_state, fixtures, read

# Of peft, which asks transformers 5.23 for a name on its way out.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
State = dict[str, Tensor]


class Written(NamedTuple):
    """A base and a LoRA run on it as peft writes them, and the model that peft's own merging gives."""

    run: Path
    base: Path
    merged: FakeReasoning
    config: FakeReasoningConfig
    told: Mapping[str, Any]
    """What the fixture says of the layout."""


@pytest.fixture(scope="module", params=fixtures("tiny"), ids=str)
def figures(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    return read(request.param)


@pytest.fixture(scope="module")
def state(figures: Mapping[str, Any]) -> State:
    return filled_state(figures)


@pytest.fixture
def lora(tmp_path: Path, figures: Mapping[str, Any], state: State) -> Written:
    config, told = filled_config(figures), figures["checkpoint_layouts"]["lora_run"]
    run, base = tmp_path / "run", tmp_path / "base"
    base.mkdir()
    in_base = {name: value for name, value in state.items() if not name.startswith((FUSION, CLIP_COPY))}
    # The base's projectors are others, so that keeping them would show.
    spoilt = {name: value + 1 if "mm_projector" in name else value for name, value in in_base.items()}
    save_file(spoilt, base / "model.safetensors")
    targets = told["adapter_targets"]
    settings = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.05, bias="none", target_modules=targets)
    merged = from_official(config, {name: value.clone() for name, value in state.items()}, "x")
    wrapped = get_peft_model(merged.language, settings)
    torch.manual_seed(3)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            parameter.data = 0.1 * torch.randn(parameter.shape)
    wrapped.save_pretrained(run)
    merged.language = wrapped.merge_and_unload()  # type: ignore[operator]
    full = told["non_lora_trainables"]
    torch.save({name: state[name.removeprefix("base_model.model.")] for name in full}, run / "non_lora_trainables.bin")
    return Written(run, base, merged, config, told)


@pytest.mark.goldens
def test_a_lora_run_on_its_base_is_what_peft_merges(lora: Written) -> None:
    assert lora.told["adapter_key_example"] in load_file(lora.run / "adapter_model.safetensors")
    loaded = load_official(lora.run, base=lora.base, config=lora.config)
    expected = lora.merged.state_dict()
    found = loaded.state_dict()
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-6)


def test_a_lora_run_needs_its_base_and_a_merged_checkpoint_takes_none(lora: Written) -> None:
    with pytest.raises(WeightsError, match="is a LoRA run, which goes onto a base model"):
        load_official(lora.run, config=lora.config)
    with pytest.raises(UsageError, match="is a whole checkpoint, not a LoRA run"):
        load_official(lora.base, base=lora.run, config=lora.config)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: s.pop(next(n for n in s if "lora_A" in n)), r"has only lora_B"),
        (lambda s: [s.pop(n) for n in list(s) if "layers.1.mlp.up_proj" in n], r"no adapter for .*layers\.1\.mlp\.up"),
        (lambda s: s.update({"base_model.model.model.odd": torch.ones(1)}), "of no LoRA adapter: .*odd"),
        (
            lambda s: s.update({"base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight": torch.ones(4, 64)}),
            r"layers\.7\.self_attn\.q_proj.* no such tensor in the base",
        ),
        (
            lambda s: s.update({"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(4, 63)}),
            r"is \[\d+, 4\] times \[4, 63\], which does not give the base's ",
        ),
    ],
)
def test_an_adapter_that_does_not_fit_is_named(lora: Written, change: Callable[[State], object], named: str) -> None:
    adapter = dict(load_file(lora.run / "adapter_model.safetensors"))
    change(adapter)
    save_file(adapter, lora.run / "adapter_model.safetensors")
    with pytest.raises(WeightsError, match=named):
        load_official(lora.run, base=lora.base, config=lora.config)


@pytest.mark.parametrize(
    "setting", [{"use_dora": True}, {"rank_pattern": {"q_proj": 8}}, {"r": "4"}, {"fan_in_fan_out": True}]
)
def test_an_adapter_that_is_not_plain_lora_is_refused(lora: Written, setting: dict[str, Any]) -> None:
    file = lora.run / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | setting))
    with pytest.raises(WeightsError, match=next(iter(setting))):
        load_official(lora.run, base=lora.base, config=lora.config)
