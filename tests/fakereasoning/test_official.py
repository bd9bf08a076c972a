"""Official checkpoints: every released layout gives the same model, and what does not fit is named."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, Dinov2Config, Dinov2Model

from fakereasoning.config import FakeReasoningConfig
from fakereasoning.model import FakeReasoning
from fakereasoning.official import from_official, load_official
from fakereasoning.official_names import BIAS, CLIP, CLIP_COPY, DINO
from fdr_bench.errors import WeightsError
from fdr_bench.types import Weights
from tests.fakereasoning.filled import filled_config, filled_state, fixtures, read, write_config

State = dict[str, Tensor]
Figures = Mapping[str, Any]


@pytest.fixture(scope="module", params=fixtures("tiny"), ids=str)
def figures(request: pytest.FixtureRequest) -> Figures:
    return read(request.param)


@pytest.fixture(scope="module")
def config(figures: Figures) -> FakeReasoningConfig:
    return filled_config(figures)


@pytest.fixture(scope="module")
def state(figures: Figures) -> State:
    return filled_state(figures)


@pytest.fixture(scope="module")
def right(config: FakeReasoningConfig, state: State) -> FakeReasoning:
    return from_official(config, state, "the filled state")


def same(one: FakeReasoning, other: FakeReasoning) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def without(state: Mapping[str, Tensor], *prefixes: str) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith(prefixes)}


def inner(state: Mapping[str, Tensor], prefix: str) -> State:
    """Return what lies behind a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


# ---------------------------------------------------------------- merged checkpoints


@pytest.mark.goldens
@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_merged_checkpoint_with_its_towers_is_read(
    tmp_path: Path, config: FakeReasoningConfig, state: State, right: FakeReasoning, file: str
) -> None:
    (save_file if file.endswith("safetensors") else torch.save)(state, tmp_path / file)
    loaded = load_official(tmp_path, config=config)
    assert same(loaded, right)
    assert not loaded.training
    assert not [name for name, buffer in loaded.named_buffers() if buffer.is_meta]


@pytest.mark.goldens
def test_a_sharded_checkpoint_is_read(
    tmp_path: Path, config: FakeReasoningConfig, state: State, right: FakeReasoning
) -> None:
    names = sorted(state)
    weight_map = {name: f"model-0000{1 + index % 3}-of-00003.safetensors" for index, name in enumerate(names)}
    for file in set(weight_map.values()):
        save_file({name: state[name] for name in names if weight_map[name] == file}, tmp_path / file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert same(load_official(tmp_path, config=config), right)


@pytest.mark.goldens
def test_the_unused_second_clip_and_old_counters_may_be_there_or_not(
    config: FakeReasoningConfig, state: State, right: FakeReasoning
) -> None:
    less = without(state, CLIP_COPY)
    assert len(less) < len(state)
    more = state | {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8),
        f"{CLIP}embeddings.position_ids": torch.arange(17)[None],
    }
    assert same(from_official(config, less, "x"), right)
    assert same(from_official(config, more, "x"), right)


def test_layer_scales_that_transformers_4_renamed_are_read(
    tmp_path: Path, config: FakeReasoningConfig, state: State, right: FakeReasoning
) -> None:
    renamed = {name.replace(".gamma", ".weight") if DINO in name else name: value for name, value in state.items()}
    assert renamed.keys() != state.keys()
    save_file(renamed, tmp_path / "model.safetensors")
    assert same(load_official(tmp_path, config=config), right)


@pytest.mark.parametrize(("stored", "asked"), [(torch.float16, None), (torch.float32, torch.bfloat16)])
def test_every_part_has_the_checkpoints_dtype_or_the_one_asked_for(
    config: FakeReasoningConfig, state: State, stored: torch.dtype, asked: torch.dtype | None
) -> None:
    # Towers outside a float16 checkpoint are float32 files as a rule.
    mixed = {name: value if name.startswith((CLIP, DINO)) else value.to(stored) for name, value in state.items()}
    loaded = from_official(config, mixed, "x", dtype=asked)
    assert {parameter.dtype for parameter in loaded.parameters()} == {asked or stored}


def test_the_bias_may_be_left_out_of_weights_that_have_one(
    config: FakeReasoningConfig, state: State, right: FakeReasoning
) -> None:
    plain = dataclasses.replace(config, fusion="cross-attention")
    loaded = from_official(plain, state, "x")
    assert same(loaded, from_official(plain, without(state, BIAS), "x"))
    assert loaded.fusion is not None and right.fusion is not None
    assert loaded.fusion.bias is None and torch.equal(loaded.fusion.query.weight, right.fusion.query.weight)


# ---------------------------------------------------------------- what does not fit


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: s.pop("model.norm.weight"), r"1 missing \(model\.norm\.weight\)"),
        (lambda s: s.pop(f"{DINO}blocks.1.attn.qkv.bias"), r"1 missing \(model\.dino_tower.*blocks\.1\.attn\.qkv"),
        (lambda s: s.update({"model.extra": torch.ones(1)}), r"1 unknown \(model\.extra\)"),
        (lambda s: s.update({"lm_head.weight": torch.ones(31999, 64)}), r"lm_head\.weight is \[31999, 64\], expected"),
        (
            lambda s: s.update({f"{DINO}blocks.0.attn.qkv.bias": torch.ones(143)}),
            r"qkv\.bias is \[143\], expected \[\d+\]",
        ),
        (
            lambda s: s.update({"model.norm.weight": torch.full_like(s["model.norm.weight"], float("nan"))}),
            r"not finite \(.*norm\.weight",
        ),
    ],
)  # fmt: skip
def test_a_tensor_that_does_not_fit_is_named(
    config: FakeReasoningConfig, state: State, change: Callable[[State], object], named: str
) -> None:
    wrong = dict(state)
    change(wrong)
    with pytest.raises(WeightsError, match=rf"(?s)the file .*{named}"):
        from_official(config, wrong, "the file")


def test_a_checkpoint_without_towers_asks_for_them(tmp_path: Path, config: FakeReasoningConfig, state: State) -> None:
    save_file(without(state, CLIP, CLIP_COPY, DINO), tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"no CLIP tower .*clip=PATH, and no DINO tower .*dino=PATH"):
        load_official(tmp_path, config=config)


# ---------------------------------------------------------------- towers outside the checkpoint


def hugging_face_clip(_: FakeReasoningConfig, state: State) -> State:
    """Return a whole CLIP as the hub has it, with text side and projections."""
    small = {"hidden_size": 48, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = small | {"vocab_size": 16, "max_position_embeddings": 8}
    config = CLIPConfig(text_config=text, vision_config=small | {"image_size": 56, "patch_size": 14})
    others = {name: value for name, value in CLIPModel(config).state_dict().items() if "vision_model" not in name}
    assert {"logit_scale", "visual_projection.weight", "text_projection.weight"} < others.keys()
    return others | {f"vision_model.{name}": value for name, value in inner(state, CLIP).items()}


def hugging_face_dino(config: FakeReasoningConfig, state: State) -> State:
    """Return DINOv2 as transformers names it: by its own strict load of tensors cut from the official ones."""
    own = {f"dino.{name}": value for name, value in from_official(config, state, "x").dino.state_dict().items()}  # type: ignore[union-attr]
    plain = {name.removeprefix("dino."): value for name, value in own.items()}
    Dinov2Model(Dinov2Config(**config.dino or {})).load_state_dict(plain)
    return plain


def before_version_5(dino: State) -> State:
    """Return Hugging Face's DINOv2 with the names that its files on the hub have."""
    renamed = {}
    for name, value in dino.items():
        for since, before in (
            ("attention.q_proj", "attention.attention.query"),
            ("attention.k_proj", "attention.attention.key"),
            ("attention.v_proj", "attention.attention.value"),
            ("attention.o_proj", "attention.output.dense"),
        ):
            name = name.replace(since, before)
        renamed[name] = value
    return renamed


Tower = Callable[[FakeReasoningConfig, State], State]
TOWERS: Mapping[str, tuple[Tower, Tower]] = {
    "hub files": (hugging_face_clip, lambda c, s: before_version_5(hugging_face_dino(c, s))),
    "towers alone, Meta's DINO": (lambda _, s: inner(s, CLIP), lambda _, s: inner(s, DINO)),
    "transformers 5": (lambda _, s: inner(s, CLIP), hugging_face_dino),
}


@pytest.mark.goldens
@pytest.mark.parametrize("layout", TOWERS)
@pytest.mark.parametrize("as_folder", [True, False])
def test_towers_outside_the_checkpoint_count_instead_of_those_inside(
    tmp_path: Path, config: FakeReasoningConfig, state: State, right: FakeReasoning, layout: str, as_folder: bool
) -> None:
    # The towers inside are spoilt, so that reading them would show.
    spoilt = {name: value + 1 if name.startswith((CLIP, DINO)) else value for name, value in state.items()}
    save_file(spoilt, tmp_path / "merged.safetensors")
    places = []
    for number, make in enumerate(TOWERS[layout]):
        folder = tmp_path / str(number)
        folder.mkdir()
        file = "model.safetensors" if as_folder else "tower.pth"
        (save_file if as_folder else torch.save)(make(config, state), folder / file)
        places.append(folder if as_folder else folder / file)
    assert same(load_official(tmp_path / "merged.safetensors", clip=places[0], dino=places[1], config=config), right)


def test_a_tower_may_be_given_as_where_the_hub_has_it(
    tmp_path: Path, config: FakeReasoningConfig, state: State, right: FakeReasoning, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FDR_BENCH_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "cache" / "weights" / "fakereasoning" / "clip.safetensors"
    place.parent.mkdir(parents=True)
    save_file(inner(state, CLIP), place)
    save_file(without(state, CLIP), tmp_path / "model.safetensors")
    tower = Weights(role="clip", hub="nobody/nothing", filename="clip.safetensors")
    assert same(load_official(tmp_path, clip=tower, config=config), right)


def test_where_the_hub_has_a_tower_counts_only_for_a_checkpoint_without_one(
    tmp_path: Path, config: FakeReasoningConfig, state: State, right: FakeReasoning, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Path:
        raise AssertionError("a tower is looked up that is there")

    monkeypatch.setattr("fakereasoning.official.locate", refuse)
    save_file(state, tmp_path / "model.safetensors")
    tower = Weights(hub="nobody/nothing", filename="x.safetensors")
    assert same(load_official(tmp_path, clip=tower, dino=tower, config=config), right)


def test_the_tower_that_config_json_names_is_taken_where_it_exists(
    tmp_path: Path,
    figures: Figures,
    config: FakeReasoningConfig,
    state: State,
    right: FakeReasoning,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fakereasoning.official.SIZES", {"llava-1.5-13b": config})
    tower = tmp_path / "tower"
    tower.mkdir()
    save_file(inner(state, CLIP), tower / "model.safetensors")
    save_file(without(state, CLIP), tmp_path / "model.safetensors")
    write_config(tmp_path, figures, mm_vision_tower=str(tower))
    hub = Weights(hub="nobody/nothing", filename="x.safetensors")
    assert same(load_official(tmp_path, clip=hub), right)
    write_config(tmp_path, figures, mm_vision_tower=str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError, match="no CLIP tower"):
        load_official(tmp_path)


@pytest.mark.parametrize("missing", ["blocks.1.attn.qkv.weight", "cls_token"])
def test_a_tower_that_lacks_a_tensor_is_refused(
    tmp_path: Path, config: FakeReasoningConfig, state: State, missing: str
) -> None:
    save_file(state, tmp_path / "model.safetensors")
    tower = inner(state, DINO)
    del tower[missing]
    torch.save(tower, tmp_path / "dino.pth")
    with pytest.raises(WeightsError, match=r"missing|no DINO tower"):
        load_official(tmp_path, dino=tmp_path / "dino.pth", config=config)
