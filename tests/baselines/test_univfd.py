"""UnivFD's weights in every layout they come in, on a tiny CLIP; the figures of the real size are in test_goldens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPModel
from transformers.models.clip.configuration_clip import CLIPConfig

from baselines import _clip, _univfd
from baselines.univfd import UnivFD
from fdr_bench.errors import WeightsError

TINY = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
    "projection_dim": 6,
}
TEXT = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 9}
GOLDENS = Path(__file__).resolve().parents[1] / "goldens"


def whole_clip() -> CLIPModel:
    torch.manual_seed(0)
    clip = CLIPModel(CLIPConfig(vision_config=TINY, text_config=TEXT, projection_dim=6)).eval()
    for parameter in clip.parameters():
        nn.init.normal_(parameter, 0.0, 0.3)
    return clip


def openai_layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Write an image tower in OpenAI's names, spelt out after the description in the fixture univfd.json."""
    vision = "vision_model."
    out = {
        "visual.class_embedding": state[f"{vision}embeddings.class_embedding"],
        "visual.positional_embedding": state[f"{vision}embeddings.position_embedding.weight"],
        "visual.conv1.weight": state[f"{vision}embeddings.patch_embedding.weight"],
        "visual.proj": state["visual_projection.weight"].T,
    }
    for kind in ("weight", "bias"):
        out[f"visual.ln_pre.{kind}"] = state[f"{vision}pre_layrnorm.{kind}"]
        out[f"visual.ln_post.{kind}"] = state[f"{vision}post_layernorm.{kind}"]
        for layer in range(TINY["num_hidden_layers"]):
            a, b = f"{vision}encoder.layers.{layer}.", f"visual.transformer.resblocks.{layer}."
            thirds = [state[f"{a}self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
            out[f"{b}attn.in_proj_{kind}"] = torch.cat(thirds)
            out[f"{b}attn.out_proj.{kind}"] = state[f"{a}self_attn.out_proj.{kind}"]
            out[f"{b}ln_1.{kind}"] = state[f"{a}layer_norm1.{kind}"]
            out[f"{b}ln_2.{kind}"] = state[f"{a}layer_norm2.{kind}"]
            out[f"{b}mlp.c_fc.{kind}"] = state[f"{a}mlp.fc1.{kind}"]
            out[f"{b}mlp.c_proj.{kind}"] = state[f"{a}mlp.fc2.{kind}"]
    return {name: tensor.contiguous() for name, tensor in out.items()}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, CLIPModel, dict[str, Tensor]]:
    """A folder with one tiny CLIP and head in all layouts; the paper's size is replaced by the tiny one."""
    monkeypatch.setattr(_univfd, "VIT_L_14", TINY)
    clip = whole_clip()
    state = dict(clip.state_dict())
    head = {"weight": torch.randn(1, 6), "bias": torch.randn(1)}
    openai = openai_layout(state) | {"logit_scale": torch.ones(()), "transformer.resblocks.0.ln_1.bias": torch.ones(8)}
    save_file(state, tmp_path / "whole.safetensors")
    save_file(_clip.tower_state(state), tmp_path / "tower.safetensors")
    torch.save({**openai, "input_resolution": torch.tensor(8)}, tmp_path / "openai.pt")
    torch.save(head, tmp_path / "head.pth")
    trained = {f"model.{name}": tensor for name, tensor in openai.items()}
    trained |= {f"fc.{name}": tensor for name, tensor in head.items()}
    torch.save({"model": trained, "optimizer": {}, "total_steps": 3}, tmp_path / "train.pth")
    return tmp_path, clip, head


def expected(clip: CLIPModel, head: dict[str, Tensor], x: Tensor) -> Tensor:
    features = clip.visual_projection(clip.vision_model(pixel_values=x).pooler_output)
    return (features @ head["weight"].T + head["bias"]).squeeze(1)


def nowhere() -> NoReturn:
    raise AssertionError("the tower was looked for")


@pytest.mark.parametrize("backbone", ["whole.safetensors", "tower.safetensors", "openai.pt"])
def test_head_and_tower_load_from_every_layout(files: tuple[Path, CLIPModel, dict[str, Tensor]], backbone: str) -> None:
    folder, clip, head = files
    network = _univfd.from_files({"head": folder / "head.pth", "backbone": folder / backbone}, nowhere)
    x = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), expected(clip, head, x), rtol=0, atol=1e-5)


def test_a_checkpoint_of_the_official_training_loads_alone(files: tuple[Path, CLIPModel, dict[str, Tensor]]) -> None:
    folder, clip, head = files
    network = _univfd.from_files({"weights": folder / "train.pth"}, nowhere)
    x = torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), expected(clip, head, x), rtol=0, atol=1e-5)


def test_a_head_alone_takes_the_tower_from_where_it_is(files: tuple[Path, CLIPModel, dict[str, Tensor]]) -> None:
    folder, clip, head = files
    network = _univfd.from_files({"weights": folder / "head.pth"}, lambda: folder / "tower.safetensors")
    x = torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), expected(clip, head, x), rtol=0, atol=1e-5)


def test_a_tower_with_a_tensor_too_few_or_too_many_is_refused(
    files: tuple[Path, CLIPModel, dict[str, Tensor]], tmp_path: Path
) -> None:
    folder, clip, _ = files
    tower = _clip.tower_state(dict(clip.state_dict()))
    tower["vision_model.surplus"] = tower.pop("visual_projection.weight")
    save_file(tower, folder / "odd.safetensors")
    with pytest.raises(WeightsError, match=r"missing \(visual\.clip\.visual_projection\.weight\).*surplus"):
        _univfd.from_files({"head": folder / "head.pth", "backbone": folder / "odd.safetensors"}, nowhere)


def test_openais_names_map_onto_the_fixtures_hugging_face_names_and_shapes() -> None:
    told = json.loads((GOLDENS / "univfd.json").read_text())["backbone"]
    openai = {name: torch.empty(shape, device="meta") for name, shape, _ in told["openai"]}
    mapped = {name: list(tensor.shape) for name, tensor in _clip.from_openai(openai).items()}
    assert mapped == {name: shape for name, shape, _ in told["huggingface"]}


def test_the_card_counts_the_parameters_of_the_network() -> None:
    with torch.device("meta"):
        network = UnivFD.network()
    preset = UnivFD.card.presets["official"]
    assert sum(parameter.numel() for parameter in network.parameters()) == preset.parameters


def test_the_scenes_size_stands_on_a_trained_small_clip_and_learns_its_head_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = whole_clip()
    save_file({name: tensor.half() for name, tensor in clip.state_dict().items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(clip.config.to_json_string(use_diff=False))
    monkeypatch.setattr(_univfd, "packaged_path", lambda place: tmp_path)
    network = UnivFD.network(**UnivFD.sizes()["scenes"])
    x = torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        features = network.get_submodule("visual")(x)
        whole = clip.visual_projection(clip.vision_model(pixel_values=x).pooler_output)
    torch.testing.assert_close(features, whole, rtol=0, atol=2e-2)  # float16 on disk
    recipe = UnivFD.recipe("scenes")
    assert (recipe.freeze, recipe.save) == (("visual.*",), ("fc.*",))
