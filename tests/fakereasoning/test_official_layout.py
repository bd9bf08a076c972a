"""What an official checkpoint holds, by its config: names, shapes, config.json, and writing one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from fakereasoning.official import (
    TensorShape,
    export_official,
    from_official,
    load_official,
    official_config,
    official_manifest,
)
from fakereasoning.official_names import CLIP, CLIP_COPY, DINO, FUSION
from fakereasoning.sizes import SIZES, size
from fdr_bench.errors import UsageError, WeightsError
from tests.fakereasoning.filled import filled_config, filled_state, fixtures, read

Figures = Mapping[str, Any]
OWN: Figures = read(fixtures("tiny")[0])


@pytest.fixture(params=fixtures("tiny"), ids=str)
def figures(request: pytest.FixtureRequest) -> Figures:
    return read(request.param)


@pytest.mark.goldens
def test_the_13b_manifest_is_the_official_one(figures: Figures) -> None:
    told = figures["full_size"]
    manifest = official_manifest(size("llava-1.5-13b"))
    expected = {
        name.replace("{i}", str(i)): tuple(shape) for name, shape, count in told["templates"] for i in range(count)
    }
    assert dict(manifest) == expected
    assert len(manifest) == told["n_tensors"]
    assert digest(manifest) == told["sha256"]
    alone = [line for line in manifest if not line.name.startswith((CLIP, CLIP_COPY, DINO))]
    assert (len(alone), digest(alone)) == (told["n_without_towers"], told["sha256_without_towers"])
    parameters = {prefix: 0 for prefix in told["groups"]}
    for name, shape in manifest:
        prefix = next((each for each in parameters if name.startswith(each)), "language model")
        parameters[prefix] += torch.Size(shape).numel()
    assert parameters == {prefix: group["parameters"] for prefix, group in told["groups"].items()}


def digest(manifest: list[TensorShape]) -> str:
    lines = sorted(f"{name} {'x'.join(map(str, shape))}" for name, shape in manifest)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@pytest.mark.goldens
def test_the_tiny_manifest_is_the_fixtures(figures: Figures) -> None:
    manifest = official_manifest(filled_config(figures))
    assert dict(manifest) == {name: tuple(shape) for name, shape, _ in figures["manifest"]}


@pytest.mark.goldens
def test_an_export_is_the_state_it_came_from_without_the_unused_clip(figures: Figures) -> None:
    state = filled_state(figures)
    exported = export_official(from_official(filled_config(figures), state, "x"))
    expected = {name: value for name, value in state.items() if not name.startswith(CLIP_COPY)}
    assert exported.keys() == expected.keys()
    assert all(torch.equal(exported[name], expected[name]) for name in expected)


def written(**changes: Any) -> dict[str, Any]:
    """Return a config.json of LLaVA-1.5 at 13B, with changes."""
    language = {
        "vocab_size": 32000,
        "hidden_size": 5120,
        "intermediate_size": 13824,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
        "num_key_value_heads": 40,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    return language | {"model_type": "llava_llama"} | OWN["config"]["multimodal"] | {"mm_hidden_size": 1024} | changes


NAMES: Mapping[str, tuple[str, ...]] = {
    "faff": ("model.mm_projector.0.weight", "model.dino_mm_projector.0.weight", f"{FUSION}norm.0.a_2"),
    "interleave": ("model.mm_projector.0.weight", "model.dino_mm_projector.0.weight"),
    "none": ("model.mm_projector.0.weight",),
}


@pytest.mark.parametrize("fusion", NAMES)
def test_an_official_config_gives_the_size_and_the_tensors_tell_the_fusion(fusion: str) -> None:
    found = official_config(written(), NAMES[fusion])
    expected = size("llava-1.5-13b", fusion=fusion)  # type: ignore[arg-type]
    assert dict(official_manifest(found)) == dict(official_manifest(expected))
    assert (found.fusion, found.vision, found.max_length, found.select_layer) == (fusion, expected.vision, 2048, -2)
    # The rest of the language model's config is what the sizes here say.
    assert {name: found.language[name] for name in expected.language} == dict(expected.language)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"mm_projector_type": "linear"}, "mm_projector_type = 'linear'; expected 'mlp2x_gelu'"),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling"),
        ({"hidden_size": None}, "lacks hidden_size"),
        ({"hidden_size": 5121}, "does not describe a FakeReasoning model"),
        ({"mm_vision_select_layer": -40}, "select_layer is -40"),
    ],
)
def test_an_official_config_that_says_something_else_is_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(WeightsError, match=named):
        official_config(written(**changes), NAMES["faff"])


def test_the_config_beside_the_weights_is_read(tmp_path: Path) -> None:
    save_file(filled_state(OWN), tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"there is no .*config\.json"):
        load_official(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(written()))
    with pytest.raises(WeightsError, match=r"lm_head\.weight is \[32000, 64\], expected \[32000, 5120\]"):
        load_official(tmp_path)


def test_an_architecture_without_an_official_counterpart_is_refused() -> None:
    with pytest.raises(UsageError, match="the official FakeReasoning has no tensor like"):
        official_manifest(SIZES["nano"])
