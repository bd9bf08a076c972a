"""Configs: what fits together, what is refused with which words, and the published sizes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from fakereasoning.config import FakeReasoningConfig, Fusion
from fakereasoning.model import FakeReasoning
from fakereasoning.sizes import SIZES, size
from fdr_bench.errors import UsageError
from tests.fakereasoning.tiny import tiny_config

FUSIONS: tuple[Fusion, ...] = ("none", "interleave", "cross-attention", "faff")


def test_reading_a_config_imports_neither_torch_nor_transformers() -> None:
    program = (
        "import sys\nfrom fakereasoning.sizes import size\nsize('nano')\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_config_comes_back_from_json_as_it_went(name: str, fusion: Fusion) -> None:
    config = size(name, fusion=fusion, vocabulary=777)
    assert FakeReasoningConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_one_tower_and_no_fusion_follow_from_each_other() -> None:
    assert size("nano", vision="clip") == size("nano", fusion="none")
    assert size("nano", vision="clip").dino is None
    assert size("nano", fusion="interleave").vision == "clip+dino"


def test_another_vocabulary_leaves_the_size_itself_alone() -> None:
    assert size("nano", vocabulary=300).language["vocab_size"] == 300
    assert SIZES["nano"].language["vocab_size"] == 1024


def test_image_tokens_are_the_patches_and_twice_as_many_interleaved() -> None:
    assert size("llava-1.5-13b").image_tokens == 576  # 336 / 14 = 24; 24 x 24
    assert size("llava-1.5-13b", fusion="interleave").image_tokens == 1152
    assert size("nano").image_tokens == 64  # 128 / 16 = 8; 8 x 8


def test_the_released_size_has_the_released_number_of_parameters() -> None:
    model = FakeReasoning.empty(size("llava-1.5-13b"))
    # The release's 14,304,823,344 without the second copy of CLIP that it never uses.
    assert sum(parameter.numel() for parameter in model.parameters()) == 14_304_823_344 - 303_507_456


def test_nano_fits_into_sixteen_megabytes_of_half_precision() -> None:
    stored = FakeReasoning.empty(size("nano")).stored_tensors()
    assert 2 * sum(tensor.numel() for tensor in stored.values()) < 14e6


def test_an_unknown_size_is_named_with_its_nearest() -> None:
    with pytest.raises(UsageError, match=r"no size 'nanoo'.*'nano'"):
        size("nanoo")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusion": "faf"}, r"fusion is 'faf'.*Did you mean 'faff'"),
        ({"vision": "clip"}, "vision is 'clip' but the config has a DINO tower"),
        ({"dino": None}, r"vision is 'clip\+dino' but the config has no DINO tower"),
        ({"fusion": "none"}, "two towers cannot have fusion 'none'"),
        ({"vision": "clip", "dino": None}, "one tower needs fusion 'none', not 'faff'"),
        ({"fusion_heads": 5}, "5 fusion heads do not divide .* 24"),
        ({"fusion_heads": 8}, "the fusion has 8 heads and DINO 4"),
        ({"fusion_hidden": 0}, "fusion_hidden is 0"),
        ({"max_length": 0}, "max_length is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"select_layer": 4}, "select_layer is 4; the CLIP tower has 4 hidden states"),
        ({"select_layer": -5}, "select_layer is -5"),
        ({"dino": {"patch_size": 4}}, "8 px and 4 px; expected one size"),
        ({"dino": {"image_size": 20}}, "20 px has no whole patches of 8 px"),
        ({"clip": {"image_size": 20}}, "20 px has no whole patches of 8 px"),
        ({"clip": {"image_size": None}}, "clip has image_size = None"),
        ({"language": {"hidden_size": "24"}}, "language has hidden_size = '24'"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], message: str) -> None:
    config = tiny_config()
    whole: dict[str, Any] = {
        name: dict(getattr(config, name)) | change if isinstance(change, dict) else change
        for name, change in changes.items()
    }
    with pytest.raises(UsageError, match=message):
        replace(config, **whole)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "llava"}, "format is 'llava'; expected"),
        ({"fusion_head": 3}, r"unknown field 'fusion_head'.*'fusion_heads'"),
        ({"clip": None, "vision": None}, "lacks clip, vision"),
    ],
)
def test_a_file_of_something_else_is_refused(changes: dict[str, Any], message: str) -> None:
    written = {name: value for name, value in (tiny_config().to_json() | changes).items() if value is not None}
    with pytest.raises(UsageError, match=message):
        FakeReasoningConfig.from_json(written)
