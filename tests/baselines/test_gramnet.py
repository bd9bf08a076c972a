"""Gram-Net's Gram matrices and texture branches, and the layouts of its two versions' checkpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from baselines import _gramnet
from baselines._gramnet import BRANCHES, GramNetwork, gram_matrix
from baselines._torch import choose_view
from baselines.gramnet import GramNet
from fdr_bench.errors import WeightsError
from tests.baselines.made import picture, weights_folder

TINY: dict[str, Any] = {"depths": (1, 1, 1, 1), "widths": (4, 5, 6, 7), "texture": 3, "hidden": 8}


def tiny(classes: int = 1) -> GramNetwork:
    """Return a small network with statistics and scales other than those it starts with."""
    torch.manual_seed(classes)
    network = GramNetwork(**TINY, classes=classes).eval()
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.1 if "running_var" in name else torch.randn_like(tensor) * 0.3)
    return network


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the paper's network the tiny one, so that files of it are small."""
    monkeypatch.setattr(_gramnet, "GramNetwork", lambda classes=1: GramNetwork(**TINY, classes=classes))


def load(path: Path, preset: str = "official") -> GramNet:
    return GramNet(preset=preset, device="cpu", weights={"weights": path})


def test_a_gram_matrix_holds_the_mean_products_of_channels_over_their_number() -> None:
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(2, 3, 3)
    for b in range(2):
        for i in range(3):
            for j in range(3):
                for row in range(4):
                    for column in range(5):
                        expected[b, i, j] += x[b, i, row, column] * x[b, j, row, column] / (3 * 4 * 5)
    torch.testing.assert_close(gram_matrix(x), expected, rtol=0, atol=1e-6)


def test_a_gram_matrix_of_many_bright_pixels_is_finite_in_half_precision() -> None:
    x = torch.full((1, 2, 64, 64), 200.0, dtype=torch.float16)
    assert gram_matrix(x).float() == pytest.approx(torch.full((1, 2, 2), 200.0**2 / 2), rel=1e-2)


def test_features_are_the_trunk_and_six_textures_in_the_order_of_depth() -> None:
    network = tiny()
    x = torch.randn(1, 3, 33, 40)
    with torch.inference_mode():
        first = network.relu(network.bn1(network.conv1(x)))
        levels = [x, first, network.maxpool(first)]
        for number in range(1, 5):
            levels.append(network.get_submodule(f"layer{number}")(levels[-1]))
        expected = [levels.pop().mean(dim=(2, 3))]
        for level, (features, one, two) in zip(levels, BRANCHES, strict=True):
            f = network.get_submodule(features)(level).flatten(2)
            gram = f @ f.transpose(1, 2) / (f.shape[1] * f.shape[2])
            described = network.get_submodule(two)(network.get_submodule(one)(gram[:, None]))
            expected.append(described.mean(dim=(2, 3)) * network.scale.scale)
        torch.testing.assert_close(network.features(x), torch.cat(expected, dim=1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 5), (32, 33)])
def test_images_of_any_size_have_a_logit(shape: tuple[int, int]) -> None:
    with torch.inference_mode():
        logits = tiny()(torch.randn(2, 3, *shape))
    assert logits.shape == (2,) and logits.isfinite().all()


@pytest.mark.parametrize("key", [None, "netC"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_benchmarks_layouts_load(small: None, tmp_path: Path, key: str | None, prefix: str) -> None:
    network = tiny()
    state = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    torch.save({key: state, "epoch": 3} if key else state, tmp_path / "Gram.pth")
    x = torch.randn(1, 3, 20, 20)
    with torch.inference_mode():
        assert load(tmp_path / "Gram.pth").logits(x).tolist() == pytest.approx(network(x).tolist(), abs=1e-6)


def test_safetensors_in_half_precision_load(small: None, tmp_path: Path) -> None:
    network = tiny()
    halved = {name: t.half() if t.is_floating_point() else t for name, t in network.state_dict().items()}
    save_file(halved, tmp_path / "gram.safetensors")
    x = torch.randn(1, 3, 20, 20)
    with torch.inference_mode():
        assert load(tmp_path / "gram.safetensors").logits(x).tolist() == pytest.approx(network(x).tolist(), rel=3e-2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scale.scale": None}, r"1 missing \(scale\.scale\)"),
        ({"g4_fc2.0.bias": torch.ones(32)}, r"1 unknown \(g4_fc2\.0\.bias\)"),
        ({"fcnewr.0.weight": torch.ones(8, 5)}, r"fcnewr\.0\.weight is \[8, 5\], expected \[8, 199\]"),
    ],
)
def test_a_misfit_is_named(small: None, tmp_path: Path, change: Mapping[str, Tensor | None], reason: str) -> None:
    state = {**tiny().state_dict(), **change}
    torch.save({"netC": {name: t for name, t in state.items() if t is not None}}, tmp_path / "Gram.pth")
    with pytest.raises(WeightsError, match=reason):
        load(tmp_path / "Gram.pth")


@pytest.mark.parametrize(("preset", "other"), [("official", "official-original"), ("official-original", "official")])
def test_a_file_of_the_other_version_is_refused_with_its_preset(
    small: None, tmp_path: Path, preset: str, other: str
) -> None:
    torch.save(tiny(classes=1 if other == "official" else 2).state_dict(), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=f"use it with --models gramnet@{other}$"):
        load(tmp_path / "other.pth", preset)


def test_a_pickled_module_is_refused_with_its_conversion(tmp_path: Path) -> None:
    torch.save(nn.Linear(1, 1), tmp_path / "stylegan-ffhq.pth")
    with pytest.raises(
        WeightsError, match=r"was not read\. Where you trust its code, .*weights_only=False\); torch\.s"
    ):
        load(tmp_path / "stylegan-ffhq.pth", "official-original")


def test_the_first_of_the_authors_two_classes_is_fake(small: None, tmp_path: Path) -> None:
    network = tiny(classes=2)
    torch.save(network.state_dict(), tmp_path / "original.pth")
    detector = load(tmp_path / "original.pth", "official-original")
    image = picture(50, 40)
    fake, real = detector.logits(torch.from_numpy(detector.preprocess(image)[None]))[0].tolist()
    (prediction,) = detector.predict([image])
    assert prediction.score == pytest.approx(1 / (1 + math.exp(real - fake)), abs=1e-9)
    assert prediction.score_source == "softmax"


@pytest.mark.parametrize(("view", "size"), [("resize512", (512, 512)), ("native", (2, 3))])
def test_the_authors_version_reads_blue_first_and_levels_as_they_are(view: str, size: tuple[int, int]) -> None:
    detector = GramNet.__new__(GramNet)  # its preprocessing alone: no weights needed
    detector.view = choose_view(GramNet.card, "official-original", view)
    array = detector.preprocess(Image.new("RGB", (3, 2), (255, 128, 3)))
    assert array.shape == (3, *size) and array.dtype == np.float32
    assert [np.unique(channel).tolist() for channel in array] == [[3.0], [128.0], [255.0]]


def test_predictions_do_not_depend_on_their_batch(tmp_path: Path) -> None:
    detector = GramNet(weights={"weights": weights_folder(GramNet, "scenes", tmp_path)})
    images = [picture(140 + 9 * seed, 130, seed) for seed in range(4)]
    together = [prediction.score for prediction in detector.predict(images)]
    alone = [detector.predict([image])[0].score for image in images]
    assert together == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(("preset", "classes"), [("official", 1), ("official-original", 2)])
def test_the_card_counts_the_parameters_of_the_network(preset: str, classes: int) -> None:
    with torch.device("meta"):
        network = GramNet.network(classes=classes)
    assert sum(parameter.numel() for parameter in network.parameters()) == GramNet.card.presets[preset].parameters


def test_the_scenes_size_is_small_and_learns() -> None:
    torch.manual_seed(0)
    network = GramNet.network(**GramNet.sizes()["scenes"]).train()
    assert sum(parameter.numel() for parameter in network.parameters()) <= 500_000
    images, target = torch.randn(8, 3, 32, 32), torch.tensor([0.0, 1.0] * 4)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        loss = nn.functional.binary_cross_entropy_with_logits(network(images), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert GramNet.recipe("scenes").crop == 48 and GramNet.recipe("official").patience == 5
