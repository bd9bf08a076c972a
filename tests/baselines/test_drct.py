"""DRCT's two networks, their checkpoints and its preprocessing, on tiny networks; the real size: test_goldens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from baselines import _drct
from baselines._clip import ImageTower, from_openai
from baselines._drct import ConvNeXtEmbedding, DRCTNet, build, text_side
from baselines.drct import DRCT, VIEWS
from fdr_bench.errors import WeightsError
from fdr_bench.images import geometry
from tests.baselines.made import picture

TINY: dict[str, Any] = {"depths": (1, 1, 1, 1), "widths": (4, 6, 8, 10), "embedding": 5}
VISION = {
    "hidden_size": 8,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 224,
    "patch_size": 56,
    "projection_dim": 6,
    "hidden_act": "quick_gelu",
}
TEXT = {"width": 4, "layers": 1, "vocabulary": 9, "context": 5, "projection": 6}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the paper's sizes by tiny ones."""
    monkeypatch.setattr(DRCT, "sized", {"official": TINY, "official-clip": {"backbone": "clip", "embedding": 5}})
    monkeypatch.setattr(_drct, "VIT_L_14", VISION)
    monkeypatch.setattr(_drct, "TEXT_OF_VIT_L_14", TEXT)


def convnext() -> DRCTNet:
    """Return a network whose every tensor matters."""
    torch.manual_seed(0)
    network = build(**TINY).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.1, 0.4)
    return network


def clip_state() -> dict[str, Tensor]:
    """Return a random checkpoint of the variant on CLIP, in the names and shapes that the official code gives."""
    visual = {
        "class_embedding": (8,),
        "positional_embedding": (17, 8),
        "proj": (8, 6),
        "conv1.weight": (8, 3, 56, 56),
        **{f"ln_{place}.{kind}": (8,) for place in ("pre", "post") for kind in ("weight", "bias")},
    }
    for layer in range(2):
        inner = {"attn.in_proj_weight": (24, 8), "attn.in_proj_bias": (24,), "attn.out_proj.weight": (8, 8)}
        inner |= {"mlp.c_fc.weight": (32, 8), "mlp.c_fc.bias": (32,), "mlp.c_proj.weight": (8, 32)}
        inner |= {name: (8,) for name in ("attn.out_proj.bias", "mlp.c_proj.bias")}
        inner |= {f"ln_{number}.{kind}": (8,) for number in (1, 2) for kind in ("weight", "bias")}
        visual |= {f"transformer.resblocks.{layer}.{name}": shape for name, shape in inner.items()}
    shapes = {f"model.model.visual.{name}": shape for name, shape in visual.items()}
    shapes |= {f"model.model.{name}": shape for name, shape in text_side(**TEXT).items()}
    shapes |= {"model.fc.weight": (5, 6), "model.fc.bias": (5,), "fc.weight": (2, 5), "fc.bias": (2,)}
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}


def load(state: dict[str, Any], folder: Path, preset: str = "official") -> DRCT:
    torch.save(state, folder / "a.pth")
    return DRCT(preset=preset, weights={"weights": folder / "a.pth"})


# ---------------------------------------------------------------- networks


def test_the_logits_are_linear_in_the_embedding_of_the_normalised_mean() -> None:
    network = convnext()
    assert isinstance(network.model, ConvNeXtEmbedding)
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        mean = network.model.features(x).mean(dim=(2, 3))
        spread = mean.var(dim=1, unbiased=False, keepdim=True).add(1e-6).sqrt()
        norm, head = network.model.head["norm"], network.model.head["fc"]
        embedding = ((mean - mean.mean(dim=1, keepdim=True)) / spread * norm.weight + norm.bias) @ head.weight.T
        expected = (embedding + head.bias) @ network.fc.weight.T + network.fc.bias
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4)


def test_the_card_counts_the_parameters_of_both_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for size in ("official", "official-clip"):
        preset = DRCT.card.presets[size]
        with torch.device("meta"):
            network = DRCT.network(**DRCT.sizes()[size])
        assert sum(parameter.numel() for parameter in network.parameters()) == preset.parameters


# ---------------------------------------------------------------- checkpoints


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"model": state, "epoch": 3},
    ],
)
def test_a_checkpoint_loads_bare_prefixed_and_nested(tmp_path: Path, wrap: Callable[[Any], Any]) -> None:
    network = convnext()
    detector = load(wrap(network.state_dict()), tmp_path)
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(detector.logits(x), network(x), rtol=1e-5, atol=1e-5)


def test_safetensors_in_half_precision_compute_in_float32(tmp_path: Path) -> None:
    save_file({name: tensor.half() for name, tensor in convnext().state_dict().items()}, tmp_path / "a.safetensors")
    detector = DRCT(preset="official", weights={"weights": tmp_path / "a.safetensors"})
    assert {parameter.dtype for parameter in detector.network.parameters()} == {torch.float32}


@pytest.mark.parametrize("with_text", [True, False])
def test_the_variant_on_clip_loads_with_the_text_side_or_without(tmp_path: Path, with_text: bool) -> None:
    state = clip_state()
    if not with_text:
        text = {f"model.model.{name}" for name in text_side(**TEXT)}
        state = {name: tensor for name, tensor in state.items() if name not in text}
    detector = load(state, tmp_path, "official-clip")
    tower = ImageTower(**VISION).eval()
    visual = {name.removeprefix("model.model."): tensor for name, tensor in state.items() if ".visual." in name}
    tower.clip.load_state_dict(from_openai(visual))
    x = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        embedding = tower(x) @ state["model.fc.weight"].T + state["model.fc.bias"]
        expected = embedding @ state["fc.weight"].T + state["fc.bias"]
        torch.testing.assert_close(detector.logits(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state: state.pop("fc.bias"), r"missing \(fc\.bias\)"),
        (lambda state: state.update(extra=torch.zeros(1)), r"unknown \(extra\)"),
        (lambda state: state.update({"model.fc.bias": torch.zeros(4)}), r"model\.fc\.bias is \[4\], expected \[5\]"),
        (lambda state: state.pop("model.model.visual.proj"), r"missing \(model\.visual\..*visual_projection"),
        (lambda state: state.update({"model.model.visual.odd": torch.zeros(1)}), r"unknown \(.*odd"),
        (lambda state: state.update({"model.model.odd": torch.zeros(1)}), r"unknown \(model\.model\.odd"),
        (lambda state: state.pop("model.model.logit_scale"), r"text side .* 1 tensors .*model\.model\.logit_scale"),
        (
            lambda state: state.update({"model.model.ln_final.bias": torch.zeros(5)}),
            r"text side .* 1 tensors .*model\.model\.ln_final\.bias",
        ),
    ],
)
def test_each_kind_of_misfit_on_clip_is_named(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], object], named: str
) -> None:
    state = clip_state()
    change(state)
    with pytest.raises(WeightsError, match=named):
        load(state, tmp_path, "official-clip")


def test_a_tensor_too_few_or_too_many_is_refused(tmp_path: Path) -> None:
    state = convnext().state_dict()
    state["model.head.surplus"] = state.pop("model.head.fc.bias")
    with pytest.raises(WeightsError, match=r"missing \(model\.head\.fc\.bias\).*unknown \(model\.head\.surplus\)"):
        load(state, tmp_path)


def test_a_file_of_the_other_preset_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="use it as drct@official-clip"):
        load(clip_state(), tmp_path, "official")
    with pytest.raises(WeightsError, match=r"use it as drct@official$"):
        load(convnext().state_dict(), tmp_path, "official-clip")


# ---------------------------------------------------------------- pictures


def test_predictions_are_the_softmax_and_do_not_depend_on_their_batch(tmp_path: Path) -> None:
    detector = load(convnext().state_dict(), tmp_path)
    images = [picture(*size, seed) for seed, size in enumerate([(300, 260), (224, 224), (1, 1), (225, 31)])]
    together = [prediction.score for prediction in detector.predict(images)]
    assert together == pytest.approx([detector.predict([image])[0].score for image in images], abs=1e-5)
    logits = detector.logits(torch.from_numpy(np.stack([detector.preprocess(image) for image in images])))
    assert together == pytest.approx((1 - logits.softmax(dim=1)[:, 0]).tolist(), abs=1e-5)
    assert len(set(together)) == 4


def test_an_odd_difference_is_halved_downwards() -> None:
    image = picture(227, 301)
    # 3 columns too many: 1 off the left; 77 rows too many: 38 off the top.
    assert np.array_equal(geometry(VIEWS["crop224"], image), np.asarray(image)[38:262, 1:225])


def test_the_other_path_fits_the_longer_side_and_pads_the_shorter_with_black() -> None:
    fitted = np.asarray(geometry(VIEWS["longest224"], picture(448, 150)))
    # 150 / 2 = 75 rows; 149 are missing, 74 of them above.
    assert fitted.shape == (224, 224, 3)
    assert not fitted[:74].any() and fitted[74].any() and fitted[148].any() and not fitted[149:].any()
    assert np.asarray(geometry(VIEWS["longest224"], picture(500, 1))).shape == (224, 224, 3)
