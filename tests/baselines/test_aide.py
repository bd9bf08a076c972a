"""AIDE's windows, filters, network and checkpoints, on tiny networks; the figures of the real size: test_goldens."""

from __future__ import annotations

import hashlib
import json
import math
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.fft import dctn
from torch import nn

from baselines import _aide
from baselines._aide import AIDENet, srm_filters, to_clip_statistics
from baselines._torch import CLIP, IMAGENET
from baselines._windows import choose_windows, dct_matrix, grades
from baselines.aide import AIDE
from fdr_bench.errors import ImageError, WeightsError
from tests.baselines.made import picture
from tests.baselines.test_checkpoints import Hostile

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
TINY: dict[str, Any] = {
    "depths": (1, 1, 1, 1),
    "widths": (4, 6, 8, 10),
    "semantic": 3,
    "residual_depths": (1, 1),
    "residual_widths": (2, 3),
    "unused": 7,
    "hidden": 6,
}


def tiny() -> AIDENet:
    """Return a network whose every tensor but the filters is random."""
    torch.manual_seed(0)
    network = AIDENet(**TINY).eval()
    for name, parameter in network.named_parameters():
        if not name.startswith("hpf."):
            nn.init.normal_(parameter, 0.1, 0.4)
    return network


@pytest.fixture
def detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AIDE:
    monkeypatch.setattr(AIDE, "sized", {"official": TINY})
    torch.save({"model": tiny().state_dict()}, tmp_path / "a.pth")
    return AIDE(preset="official", weights={"weights": tmp_path / "a.pth"})


# ---------------------------------------------------------------- windows


def naive_grade(window: np.ndarray) -> float:
    """Grade one window (32, 32, 3) band after band, with SciPy's transform."""
    total = 0.0
    for channel in range(3):
        spectrum = np.log(np.abs(dctn(window[:, :, channel].astype(float) / 255, norm="ortho")) + 1)
        for band in range(6):
            low, high = band * 64 / 6, (band + 1) * 64 / 6
            cells = [spectrum[i, j] for i in range(32) for j in range(32) if low <= i + j <= high]
            total += 2**band * sum(cells) / len(cells)
    return total


def test_grades_are_the_weighted_means_of_the_bands() -> None:
    image = np.asarray(picture(70, 50))
    expected = [
        [naive_grade(image[top : top + 32, left : left + 32]) for left in (0, 16, 32)]
        for top in (0, 16)  # 50 - 32 = 18
    ]
    np.testing.assert_allclose(grades(image), expected, rtol=1e-5)


def test_the_transform_is_orthonormal() -> None:
    np.testing.assert_allclose(dct_matrix(32) @ dct_matrix(32).T, np.eye(32), atol=1e-6)


def test_the_windows_of_the_photographs_are_those_of_the_official_code() -> None:
    told = json.loads((GOLDENS / "aide.json").read_text())["intermediates"]["windows"]
    for name, windows in told.items():
        grade = grades(np.asarray(Image.open(GOLDENS / "images" / name).convert("RGB")))
        assert grade.size == windows["windows"]
        ordered = np.sort(grade.ravel())
        np.testing.assert_allclose(ordered[:3], windows["grades_smallest"], rtol=1e-5)
        np.testing.assert_allclose(ordered[:-4:-1], windows["grades_largest"], rtol=1e-5)
        # By grade, because which of several black windows comes first is nobody's choice.
        indices = [windows["window_indices"][key] for key in ("minmin", "maxmax", "minmin1", "maxmax1")]
        np.testing.assert_array_equal(grade.ravel()[indices], ordered[[0, -1, 1, -2]])


def test_windows_come_lowest_highest_second_lowest_second_highest() -> None:
    # Four windows in a row (32 + 3 * 16 = 80 px) of more and more noise to the right.
    noise = np.random.default_rng(0).normal(size=(32, 80, 3)) * np.linspace(0, 40, 80)[None, :, None]
    pixels = (128 + noise).clip(0, 255).astype(np.uint8)
    assert choose_windows(pixels) == [(0, 0), (0, 48), (0, 16), (0, 32)]


@pytest.mark.parametrize(("size", "windows"), [((32, 32), [(0, 0)] * 4), ((47, 47), [(0, 0)] * 4)])
def test_an_only_window_is_all_four(size: tuple[int, int], windows: list[tuple[int, int]]) -> None:
    assert choose_windows(np.asarray(picture(*size))) == windows


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (1, 1)])
def test_an_image_without_a_window_is_refused(detector: AIDE, size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=rf"at least 32x32 px; the image is {size[0]}x{size[1]} px"):
        detector.preprocess(picture(*size))
    with pytest.raises(ValueError, match="no window"):
        grades(np.asarray(picture(*size)))


def test_the_input_is_the_enlarged_windows_and_the_whole_image(detector: AIDE) -> None:
    image = picture(90, 61)
    array = detector.preprocess(image)
    assert array.shape == (5, 3, 256, 256) and array.dtype == np.float32
    pictures = [image.crop((left, top, left + 32, top + 32)) for top, left in choose_windows(np.asarray(image))]
    mean, std = (torch.tensor(IMAGENET[name])[:, None, None] for name in ("mean", "std"))
    for given, expected in zip(array, [*pictures, image], strict=True):
        values = torch.from_numpy(np.asarray(expected).transpose(2, 0, 1) / np.float32(255))[None]
        enlarged = nn.functional.interpolate(values, (256, 256), mode="bilinear")[0]
        torch.testing.assert_close(torch.from_numpy(given), (enlarged - mean) / std, rtol=0, atol=1e-5)


# ---------------------------------------------------------------- network


def test_the_filters_are_those_of_the_official_constructor() -> None:
    told = json.loads((GOLDENS / "aide.json").read_text())["constants"]["hpf.hpf.weight"]
    assert hashlib.sha256(srm_filters().numpy().tobytes()).hexdigest() == told["float32_sha256"]


def test_filters_answer_to_nothing_in_flat_regions_and_have_minus_one_in_the_middle() -> None:
    filters = srm_filters()
    assert filters.shape == (30, 3, 5, 5)
    assert filters.sum(dim=(2, 3)).abs().max() < 1e-6
    assert (filters[:, :, 2, 2] == -1).all()
    assert len({tuple(each.flatten().tolist()) for each in filters}) == 30


def test_the_logits_join_what_both_branches_give() -> None:
    network = tiny()
    x = torch.randn(2, 5, 3, 64, 64)
    with torch.inference_mode():
        residuals = [network.hpf["hpf"](x[:, view]) for view in range(4)]
        branches = [network.model_min, network.model_max, network.model_min, network.model_max]
        windows = torch.stack([net.features(y) for net, y in zip(branches, residuals, strict=True)]).mean(dim=0)
        trunk = network.openclip_convnext_xxl
        semantic = network.convnext_proj(trunk.head["norm"](trunk.features(to_clip_statistics(x[:, 4]))).mean((2, 3)))
        hidden = nn.functional.gelu(network.fc.fc1(torch.cat([semantic, windows], dim=1)))
        torch.testing.assert_close(network(x), network.fc.fc2(hidden), rtol=1e-4, atol=1e-4)


def test_statistics_are_changed_from_imagenets_to_clips() -> None:
    pixels = torch.rand(1, 3, 2, 2)
    means, stds = ([torch.tensor(of[name])[:, None, None] for of in (IMAGENET, CLIP)] for name in ("mean", "std"))
    changed = to_clip_statistics((pixels - means[0]) / stds[0])
    torch.testing.assert_close(changed, (pixels - means[1]) / stds[1], rtol=0, atol=1e-6)


def test_predictions_do_not_depend_on_their_batch(detector: AIDE) -> None:
    images = [picture(*size, seed) for seed, size in enumerate([(64, 48), (32, 32), (300, 201), (64, 48)])]
    together = [prediction.score for prediction in detector.predict(images)]
    assert together == pytest.approx([detector.predict([image])[0].score for image in images], abs=1e-5)
    assert len(set(together)) == 4 and all(math.isfinite(score) for score in together if score is not None)


def test_the_card_counts_the_parameters() -> None:
    with torch.device("meta"):
        network = AIDE.network()
    assert sum(parameter.numel() for parameter in network.parameters()) == AIDE.card.presets["official"].parameters


# ---------------------------------------------------------------- checkpoints


def test_the_arguments_of_the_training_may_lie_beside_the_state(tmp_path: Path) -> None:
    network = tiny()
    path = tmp_path / "a.pth"
    beside = {"optimizer": {"state": {}}, "epoch": 3, "scaler": None, "args": Namespace(lr=1e-4, device="cuda")}
    torch.save({"model": network.state_dict(), **beside}, path)
    loaded = _aide.from_file(path, TINY)
    x = torch.randn(1, 5, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(x), network(x), rtol=1e-5, atol=1e-5)


def test_nothing_else_may_lie_there(tmp_path: Path) -> None:
    path, target = tmp_path / "a.pth", tmp_path / "run"
    torch.save({"model": tiny().state_dict(), "args": Namespace(hostile=Hostile(target))}, path)
    with pytest.raises(WeightsError, match="run code"):
        _aide.from_file(path, TINY)
    assert not target.exists()


def test_a_bare_prefixed_half_precision_state_loads(tmp_path: Path) -> None:
    state = {f"module.{name}": t.half() if t.is_floating_point() else t for name, t in tiny().state_dict().items()}
    torch.save(state, tmp_path / "a.pth")
    loaded = _aide.from_file(tmp_path / "a.pth", TINY)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


def test_a_missing_an_unknown_and_a_misshapen_tensor_are_named(tmp_path: Path) -> None:
    state = tiny().state_dict()
    state["model_min.surplus"] = state.pop("model_min.fc.bias")
    state["hpf.hpf.weight"] = torch.zeros(30, 3, 3, 3)
    torch.save({"model": state}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"model_min\.fc\.bias.*model_min\.surplus.*hpf\.hpf\.weight is \[30, 3, 3"):
        _aide.from_file(tmp_path / "a.pth", TINY)
