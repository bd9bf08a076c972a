"""The layouts of FatFormer's checkpoint: a network under several names, or once, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from baselines._fatformer import FatFormerNet
from baselines._fatformer_names import first_name, from_file, own_names, repeats_of
from baselines.fatformer import FatFormer
from fdr_bench.errors import WeightsError
from tests.baselines.test_fatformer import TINY, images, tiny

GOLDEN = Path(__file__).resolve().parents[1] / "goldens" / "fatformer.json"
ADAPTER = "clip_model.visual.transformer.resblocks.1.forgery_aware_adapter."


@pytest.fixture
def network() -> FatFormerNet:
    return tiny()


def openai_names(clip: dict[str, Tensor]) -> dict[str, Tensor]:
    """Write both towers in OpenAI's names, spelt out, with what the image tower's blocks have beside."""
    out = {"logit_scale": clip["logit_scale"]}
    out["visual.proj"] = clip["visual_projection.weight"].T.contiguous()
    out["text_projection"] = clip["text_projection.weight"].T.contiguous()
    out["token_embedding.weight"] = clip["text_model.embeddings.token_embedding.weight"]
    out["visual.class_embedding"] = clip["vision_model.embeddings.class_embedding"]
    out["visual.conv1.weight"] = clip["vision_model.embeddings.patch_embedding.weight"]
    parts = {"self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2"}
    parts |= {"mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    for ours, theirs in (("vision_model.", "visual."), ("text_model.", "")):
        out[f"{theirs}positional_embedding"] = clip[f"{ours}embeddings.position_embedding.weight"]
        for name, tensor in clip.items():
            if not name.startswith(f"{ours}encoder.layers."):
                continue
            _, _, _, layer, part = name.split(".", 4)
            block = f"{theirs}transformer.resblocks.{layer}."
            stem, _, kind = part.rpartition(".")
            if stem == "self_attn.q_proj":
                thirds = [clip[name.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
                out[f"{block}attn.in_proj_{kind}"] = torch.cat(thirds)
            elif stem not in ("self_attn.k_proj", "self_attn.v_proj"):
                out[block + (f"{parts[stem]}.{kind}" if stem in parts else part)] = tensor
    for kind in ("weight", "bias"):
        out[f"visual.ln_pre.{kind}"] = clip[f"vision_model.pre_layrnorm.{kind}"]
        out[f"visual.ln_post.{kind}"] = clip[f"vision_model.post_layernorm.{kind}"]
        out[f"ln_final.{kind}"] = clip[f"text_model.final_layer_norm.{kind}"]
    return out


def official_layout(network: FatFormerNet, *, repeated: bool = True) -> dict[str, Tensor]:
    """Write a network as the authors' checkpoint has it, with the repeats of its modules or without."""
    out = {f"clip_model.{name}": tensor for name, tensor in openai_names(dict(network.clip.state_dict())).items()}
    half = 0.5**0.5
    for block in (1, 3):
        prefix = ADAPTER.replace(".1.", f".{block}.")
        for transform, letter in (("dwt_transform", "h"), ("idwt_transform", "g")):
            for number, sign in ((0, 1), (1, -1)):
                taps = torch.tensor([half, sign * half])
                out[f"{prefix}{transform}.{letter}{number}_col"] = taps.reshape(1, 1, 2, 1)
                out[f"{prefix}{transform}.{letter}{number}_row"] = taps.reshape(1, 1, 1, 2)
    if repeated:
        out |= {repeat: tensor for name, tensor in out.items() for repeat in repeats_of(name)}
    names = {"context": "ctx", "token_prefix": "token_prefix", "token_suffix": "token_suffix"}
    state = network.state_dict()
    out |= {f"language_guided_alignment.{theirs}": state[ours] for ours, theirs in names.items()}
    for ours, theirs, attention_name in (
        ("context_enhancer.", "language_guided_alignment.", "patch_basaed_enhancer."),
        ("interactor.", "", "text_guided_interactor."),
    ):
        for name, tensor in state.items():
            if name.startswith(ours):
                inner = name.removeprefix(ours)
                out[theirs + inner.replace("attention.", attention_name)] = tensor
    return out


def save(state: object, folder: Path) -> Path:
    torch.save(state, folder / "checkpoint.pth")
    return folder / "checkpoint.pth"


@pytest.mark.parametrize("layout", ["model", "bare", "DataParallel", "half", "deduplicated"])
def test_the_checkpoint_loads_in_every_layout(network: FatFormerNet, tmp_path: Path, layout: str) -> None:
    state = official_layout(network, repeated=layout != "deduplicated")
    if layout == "DataParallel":
        state = {f"module.{name}": tensor for name, tensor in state.items()}
    if layout == "half":
        state = {name: tensor.half() for name, tensor in state.items()}
    path = save({"model": state} if layout == "model" else state, tmp_path)
    if layout == "deduplicated":
        path = tmp_path / "checkpoint.safetensors"
        save_file({name: tensor.clone() for name, tensor in state.items()}, path)
    loaded = from_file(path, TINY)
    atol = 1e-2 if layout == "half" else 1e-6
    torch.testing.assert_close(loaded(images(2)), network(images(2)), rtol=0, atol=atol)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("logit_scale", None, r"logit_scale is missing"),
        ("image_encoder.proj", None, r"image_encoder\.proj is missing"),
        ("image_encoder.proj", torch.zeros(16, 12), r"image_encoder\.proj differs from clip_model\.visual\.proj"),
        ("text_encoder.ln_final.bias", torch.zeros(5), r"text_encoder\.ln_final\.bias differs"),
        ("clip_model.visual.proj", None, r"image_encoder\.proj has no clip_model\.visual\.proj to repeat"),
        ("clip_model.token_embedding.weight", None, r"missing \(clip\.text_model\.embeddings\.token_embedding"),
        ("language_guided_alignment.ctx", None, r"missing \(context\)"),
        ("norm1.bias", torch.zeros(5), r"interactor\.norm1\.bias is \[5\], expected \[12\]"),
        ("surplus", torch.zeros(5), r"unknown \(surplus\)"),
        (f"{ADAPTER}dwt_transform.h0_col", None, r"dwt_transform\.h0_col to repeat"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(
    network: FatFormerNet, tmp_path: Path, name: str, value: Tensor | None, reason: str
) -> None:
    state = official_layout(network)
    if value is None:
        del state[name]
    else:
        state[name] = value
    with pytest.raises(WeightsError, match=reason):
        from_file(save({"model": state}, tmp_path), TINY)


def test_filters_that_are_not_haars_or_missing_are_refused(network: FatFormerNet, tmp_path: Path) -> None:
    state = official_layout(network, repeated=False)
    state[f"{ADAPTER}dwt_transform.h1_row"] = -state[f"{ADAPTER}dwt_transform.h1_row"]
    del state[f"{ADAPTER}idwt_transform.g0_col"]
    with pytest.raises(WeightsError, match=r"dwt_transform\.h1_row is not Haar's.*idwt_transform\.g0_col is missing"):
        from_file(save(state, tmp_path), TINY)


def test_the_official_names_are_the_networks_and_the_card_counts_its_parameters() -> None:
    told = json.loads(GOLDEN.read_text())
    names = {name for name, _, _ in told["state_dict"]}
    assert {name: first_name(name) for name in names if first_name(name) != name} == told["aliases"]
    assert {repeat: name for name in names for repeat in repeats_of(name)} == told["aliases"]
    with torch.device("meta"):
        network = FatFormer.network()
        official = {
            name: torch.empty(shape)
            for name, shape, _ in told["state_dict"]
            if name not in told["aliases"] and name not in told["constants"]
        }
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert {name: tensor.shape for name, tensor in own_names(official).items()} == expected
    preset = FatFormer.card.presets["official"]
    assert sum(parameter.numel() for parameter in network.parameters()) == preset.parameters
