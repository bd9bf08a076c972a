"""Effort's residual layers against figures of the official code, and the layouts of its two code bases, tiny."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPModel
from transformers.models.clip.configuration_clip import CLIPConfig

from baselines import _effort
from baselines._clip import small_tower
from baselines._effort import PROJECTIONS, RESIDUAL, ResidualLinear
from baselines._torch import CLIP
from baselines.effort import Effort
from fdr_bench.errors import WeightsError
from fdr_bench.images import apply_view
from fdr_bench.types import View
from fdr_bench.weights import packaged_path
from tests.baselines.made import picture
from tests.goldens.fill import fill_tensor

TINY = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 224,
    "patch_size": 56,
    "projection_dim": 6,
}
TEXT = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 9}
GOLDENS = Path(__file__).resolve().parents[1] / "goldens"


def told(name: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((GOLDENS / f"{name}.json").read_text())
    return figures


# ---------------------------------------------------------------- the residual layer


def decomposed(layer: Mapping[str, Any]) -> tuple[nn.Linear, ResidualLinear]:
    """Return a filled linear layer of the fixture and what it is decomposed into."""
    shapes = {name: shape for name, shape, _ in layer["state_dict"]}
    outputs, inputs = shapes["weight_main"]
    plain = nn.Linear(inputs, outputs)
    with torch.no_grad():
        plain.weight.copy_(fill_tensor(layer["weight"], (outputs, inputs), seed=layer["fill_seed"]))
        plain.bias.copy_(fill_tensor(layer["bias"], (outputs,), seed=layer["fill_seed"]))
    return plain, ResidualLinear.decompose(plain, inputs - layer["r"])


def difference(figures: Mapping[str, Any], tensor: Tensor) -> float:
    assert list(tensor.shape) == figures["shape"]
    picked = tensor.detach().double().flatten().numpy()[figures["flat_index"]]
    moments = [tensor.double().mean().item() - figures["mean"], tensor.double().std(correction=0).item()]
    return float(np.abs([*(picked - figures["value"]), moments[0], moments[1] - figures["std"]]).max())


@pytest.mark.parametrize("number", [0, 1], ids=["1024", "64"])
def test_training_starts_from_the_official_decomposition(number: int) -> None:
    layer = told("effort")["svd_init"]["layers"][number]
    _, made = decomposed(layer)
    product = (made.U_residual * made.S_residual) @ made.V_residual
    assert made.S_residual.tolist() == pytest.approx(layer["S_residual"], abs=3e-7)
    assert {name: list(tensor.shape) for name, tensor in made.state_dict().items()} == {
        name: shape for name, shape, _ in layer["state_dict"] if not name.endswith("_r")
    }
    assert difference(layer["weight_main"], made.weight_main) < 1e-6
    assert difference(layer["residual_product"], product) < 1e-6
    assert made.weight_main.norm().item() == pytest.approx(layer["weight_main_fnorm"], rel=1e-6)
    x = fill_tensor(layer["input"], layer["input_shape"], seed=layer["fill_seed"])
    with torch.no_grad():
        assert difference(layer["output"], made(x)) < 2e-6


def test_a_decomposed_layer_computes_what_the_plain_one_did() -> None:
    torch.manual_seed(0)
    plain = nn.Linear(7, 5)
    made = ResidualLinear.decompose(plain, 2)
    torch.testing.assert_close(made.weight(), plain.weight, rtol=0, atol=1e-6)
    # The main part has the 3 largest of 5 singular values, the residual the 2 smallest.
    values = torch.linalg.svdvals(plain.weight.detach())
    torch.testing.assert_close(torch.linalg.svdvals(made.weight_main)[:3], values[:3], rtol=0, atol=1e-6)
    torch.testing.assert_close(made.S_residual.detach(), values[3:], rtol=0, atol=1e-6)


def test_the_weight_is_the_main_part_plus_scaled_outer_products() -> None:
    made = ResidualLinear(3, 4, 2)
    for parameter in made.parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    expected = made.weight_main.clone()
    for k in range(2):
        for i in range(4):
            for j in range(3):
                expected[i, j] += (made.U_residual[i, k] * made.S_residual[k] * made.V_residual[k, j]).detach()
    x = torch.randn(5, 3)
    torch.testing.assert_close(made(x), x @ expected.T + made.bias, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("fixture", "classes"), [("effort", 2), ("effort_univfd", 1)])
def test_what_learns_is_what_the_official_code_trains_of_the_image_side(fixture: str, classes: int) -> None:
    with torch.device("meta"):
        network = _effort.build(classes=classes)
    learning = {name: parameter.numel() for name, parameter in network.named_parameters() if parameter.requires_grad}
    residual = {name for name in learning if name.rpartition(".")[2] in RESIDUAL}
    assert len(residual) == 24 * len(PROJECTIONS) * len(RESIDUAL)
    assert set(learning) - residual == {"head.weight", "head.bias"}
    official = told(fixture)["trainable"]
    if fixture == "effort":
        assert (len(learning), sum(learning.values())) == (official["tensors"], official["parameters"])
    else:  # there the text side is left trainable beside it, without ever getting a gradient
        assert len(residual) == official["tensors"] - official["outside_vision_attention_count"]


# ---------------------------------------------------------------- layouts


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Tensor]]:
    """One tiny network with both heads in both layouts; the paper's size is replaced by the tiny one."""
    monkeypatch.setattr(_effort, "VIT_L_14", TINY)
    torch.manual_seed(0)
    clip = CLIPModel(CLIPConfig(vision_config=TINY, text_config=TEXT, projection_dim=6))
    whole = {name: torch.randn_like(tensor) * 0.3 for name, tensor in clip.state_dict().items()}
    for name in [name for name in whole if name.startswith("vision_model.") and "_proj.weight" in name]:
        stem = name.removesuffix("weight")
        whole[f"{stem}weight_main"] = whole.pop(name)
        shapes = ((1,), (8, 1), (1, 8))
        whole |= {stem + part: torch.randn(shape) for part, shape in zip(RESIDUAL, shapes, strict=True)}
    vision = {n.replace("vision_model.", "backbone.", 1): t for n, t in whole.items() if n.startswith("vision_model.")}
    return {
        "official": vision | {"head.weight": torch.randn(2, 8), "head.bias": torch.randn(2)},
        "official-univfd": {f"model.{name}": tensor for name, tensor in whole.items()}
        | {"fc.weight": torch.randn(1, 8), "fc.bias": torch.randn(1)},
    }


def expected(state: Mapping[str, Tensor], preset: str, x: Tensor) -> Tensor:
    """Compute the logits with a plain CLIP, whose weights are put together here."""
    clip = CLIPModel(CLIPConfig(vision_config=TINY, text_config=TEXT, projection_dim=6)).eval().vision_model
    tower, head = ("backbone.", "head.") if preset == "official" else ("model.vision_model.", "fc.")
    plain = {name.removeprefix(tower): tensor for name, tensor in state.items() if name.startswith(tower)}
    for name in [name for name in plain if name.endswith("weight_main")]:
        stem = name.removesuffix("weight_main")
        scale, left, right = (plain.pop(stem + part) for part in RESIDUAL)
        plain[f"{stem}weight"] = plain.pop(name) + left @ torch.diag(scale) @ right
    clip.load_state_dict(plain)
    with torch.inference_mode():
        logits = clip(pixel_values=x).pooler_output @ state[f"{head}weight"].T + state[f"{head}bias"]
    return logits.squeeze(1)


def frozen_triples(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what DeepfakeBench stores beside: S_r, U_r and V_r of every layer, and the positions of old files."""
    stems = [name.removesuffix("weight_main") for name in state if name.endswith("weight_main")]
    shapes = {"S_r": (7,), "U_r": (8, 7), "V_r": (7, 8)}
    extra = {stem + name: torch.zeros(shape) for stem in stems for name, shape in shapes.items()}
    return extra | {"backbone.embeddings.position_ids": torch.arange(17)[None]}


def load(path: Path, preset: str) -> Effort:
    return Effort(preset=preset, device="cpu", weights={"weights": path})


@pytest.mark.parametrize("preset", ["official", "official-univfd"])
@pytest.mark.parametrize("key", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("extra", [False, True], ids=["without", "with_extra"])
def test_every_layout_gives_the_same_logits(
    states: dict[str, dict[str, Tensor]], tmp_path: Path, preset: str, key: str | None, prefix: str, extra: bool
) -> None:
    state = states[preset]
    stored = dict(state)
    if extra and preset == "official":
        stored |= frozen_triples(state)
    elif extra:
        stored |= {f"model.{side}_model.embeddings.position_ids": torch.arange(5)[None] for side in ("text", "vision")}
    stored = {prefix + name: tensor for name, tensor in stored.items()}
    torch.save({key: stored, "total_steps": 3} if key else stored, tmp_path / "made.pth")
    x = torch.randn(2, 3, 224, 224)
    logits = load(tmp_path / "made.pth", preset).logits(x)
    torch.testing.assert_close(logits, expected(state, preset, x), rtol=1e-5, atol=1e-5)


def test_safetensors_in_half_precision_load(states: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    state = {name: tensor.half() for name, tensor in states["official"].items()}
    save_file(state, tmp_path / "made.safetensors")
    x = torch.randn(1, 3, 224, 224)
    whole = {name: tensor.float() for name, tensor in state.items()}
    logits = load(tmp_path / "made.safetensors", "official").logits(x)
    torch.testing.assert_close(logits, expected(whole, "official", x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"backbone.encoder.layers.1.self_attn.v_proj.S_residual": None}, r"1 missing \(.*v_proj\.S_residual\)"),
        ({"backbone.encoder.layers.0.self_attn.k_proj.weight": torch.ones(8, 8)}, r"1 unknown \(.*k_proj\.weight\)"),
        ({"backbone.encoder.layers.0.mlp.fc1.S_r": torch.ones(7)}, r"1 unknown \(.*fc1\.S_r\)"),
        ({"head.weight": torch.ones(2, 9)}, r"head\.weight is \[2, 9\], expected \[2, 8\]"),
        ({"head.bias": torch.tensor([0.0, float("nan")])}, r"not finite \(head\.bias\)"),
    ],
)
def test_a_misfit_is_named(
    states: dict[str, dict[str, Tensor]], tmp_path: Path, change: Mapping[str, Tensor | None], reason: str
) -> None:
    state = {**states["official"], **change}
    torch.save({name: tensor for name, tensor in state.items() if tensor is not None}, tmp_path / "made.pth")
    with pytest.raises(WeightsError, match=reason):
        load(tmp_path / "made.pth", "official")


@pytest.mark.parametrize(("preset", "other"), [("official", "official-univfd"), ("official-univfd", "official")])
def test_a_file_of_the_other_code_base_is_refused_with_its_preset(
    states: dict[str, dict[str, Tensor]], tmp_path: Path, preset: str, other: str
) -> None:
    torch.save(states[other], tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=f"use it with --models effort@{other}$"):
        load(tmp_path / "other.pth", preset)


# ---------------------------------------------------------------- the detector


@pytest.mark.parametrize("preset", ["official", "official-univfd"])
def test_predictions_do_not_depend_on_their_batch(
    states: dict[str, dict[str, Tensor]], tmp_path: Path, preset: str
) -> None:
    torch.save(states[preset], tmp_path / "made.pth")
    detector = load(tmp_path / "made.pth", preset)
    images = [picture(*size, seed=1) for size in ((300, 260), (9, 7), (1, 1), (224, 500))]
    together = [prediction.score for prediction in detector.predict(images)]
    alone = [detector.predict([image])[0].score for image in images]
    assert together == pytest.approx(alone, abs=1e-5)
    logits = detector.logits(torch.from_numpy(detector.preprocess(images[0])[None])).double()
    fake = logits.sigmoid() if preset == "official-univfd" else logits.softmax(dim=1)[:, 1]
    assert together[0] == pytest.approx(fake.item(), abs=1e-6)


def test_a_small_image_is_tiled_before_its_crop() -> None:
    detector = Effort.__new__(Effort)  # its preprocessing alone: no weights needed
    detector.view = Effort.card.presets["official-univfd"].views["tile256_crop224"]
    image = picture(100, 300)
    # 100 px wide: three copies side by side; 300 px high: none. Cut at (300 - 224) / 2 = 38 both ways.
    tiled = np.tile(np.asarray(image), (1, 3, 1))[38:262, 38:262]
    assert np.array_equal(detector.preprocess(image), apply_view(View(**CLIP), Image.fromarray(tiled)))


@pytest.mark.parametrize(("preset", "classes"), [("official", 2), ("official-univfd", 1)])
def test_the_card_counts_the_parameters_of_the_network(preset: str, classes: int) -> None:
    with torch.device("meta"):
        network = Effort.network(classes=classes)
    assert sum(parameter.numel() for parameter in network.parameters()) == Effort.card.presets[preset].parameters


def test_the_scenes_size_starts_as_the_small_clip_and_learns_its_residuals_only() -> None:
    torch.manual_seed(0)
    network = Effort.network(**Effort.sizes()["scenes"]).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x, target = torch.randn(6, 3, 128, 128), torch.tensor([0.0, 1.0] * 3)
    with torch.no_grad():
        plain = small_tower(packaged_path("baselines/weights/clip-scenes")).clip.vision_model
        features = plain(pixel_values=x).pooler_output
    torch.testing.assert_close(network.backbone(pixel_values=x).pooler_output, features, rtol=1e-4, atol=1e-4)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.0)
    losses = []
    for _ in range(3):
        loss = nn.functional.binary_cross_entropy_with_logits(network(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed and all(name.startswith("head.") or name.endswith("_residual") for name in changed)
    assert Effort.recipe("scenes").save == ("*_residual", "head.*")
