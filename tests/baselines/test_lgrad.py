"""LGrad's discriminator against StyleGAN's steps, its gradient images, its files; the figures are in test_goldens."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, leaky_relu

from baselines import _lgrad
from baselines._lgrad import Discriminator, Halving, LGradNet, Scaled, from_files, levels
from baselines._torch import IMAGENET
from baselines.lgrad import LGrad
from fdr_bench.errors import WeightsError
from fdr_bench.types import Resize, View
from tests.baselines.made import picture

TINY = {
    "discriminator": {"side": 16, "widths": (4, 5, 6)},
    "classifier": {"block": "basic", "depths": (1, 1), "widths": (4, 4), "stem": "3x3"},
}
VIEW = View(steps=(Resize((16, 16)),), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def tiny() -> LGradNet:
    torch.manual_seed(0)
    network = LGradNet(**TINY).eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        if name.startswith("discriminator.") and name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    torch.nn.init.normal_(network.classifier.get_submodule("fc").weight)
    return network


def detector(network: LGradNet) -> LGrad:
    made = LGrad.__new__(LGrad)
    made.device, made.view, made.network = torch.device("cpu"), VIEW, network
    return made


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Path], LGradNet]:
    """The two files of a tiny network; the paper's size is replaced by the tiny one."""
    monkeypatch.setattr(_lgrad, "build", lambda: LGradNet(**TINY))
    network = tiny()
    paths = {"weights": tmp_path / "classifier.pth", "discriminator": tmp_path / "discriminator.pth"}
    torch.save(network.classifier.state_dict(), paths["weights"])
    torch.save(network.discriminator.state_dict(), paths["discriminator"])
    return paths, network


def nowhere() -> NoReturn:
    raise AssertionError("the discriminator was looked for")


# ---------------------------------------------------------------- the discriminator


def test_a_weight_is_scaled_when_it_is_used_and_a_bias_is_not() -> None:
    layer = Scaled(2, 3, 1, 1)
    torch.nn.init.ones_(layer.weight)
    torch.nn.init.constant_(layer.bias, 0.5)
    # sqrt(2) / sqrt(3 inputs), times the sum of three ones, plus the bias
    assert layer(torch.ones(1, 3, 1, 1)).flatten().tolist() == pytest.approx([6**0.5 + 0.5] * 2)


@pytest.mark.parametrize("side", [4, 10])
def test_halving_is_blur_then_convolution_then_the_mean_of_each_cell(side: int) -> None:
    torch.manual_seed(0)
    layer = Halving(3, 2).double()
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    kernel = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=torch.float64) / 16
    blurred = torch.stack([conv2d(x[:, n : n + 1], kernel[None, None], padding=1)[:, 0] for n in range(3)], dim=1)
    weight = layer.weight * (2 / 27) ** 0.5
    with torch.no_grad():
        torch.testing.assert_close(layer(x), avg_pool2d(conv2d(blurred, weight, layer.bias, padding=1), 2))


def test_the_discriminator_is_its_layers_one_after_the_other() -> None:
    own = tiny().discriminator.double()
    x = torch.randn(3, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def layer(name: str, x: Tensor) -> Tensor:
        return leaky_relu(own.get_submodule(name)(x), 0.2)

    h = layer("input0", x)
    for name in ("layer0", "layer1", "layer2", "layer3"):
        h = layer(name, h)
    h = torch.cat([h, torch.full((3, 1, 4, 4), 1e-4, dtype=torch.float64)], dim=1)
    h = layer("layer5", layer("layer4", h).reshape(3, 6 * 16))
    weight = own.get_submodule("layer6").weight
    expected = h @ weight[0] / 6**0.5 + own.get_submodule("layer6").bias
    torch.testing.assert_close(own(x), expected)


def test_a_side_that_the_widths_do_not_reach_is_refused() -> None:
    with pytest.raises(ValueError, match="3 widths halve 16 px down to 4, not 32"):
        Discriminator(side=32, widths=(4, 4, 4))


# ---------------------------------------------------------------- gradient images


def test_the_gradient_is_the_slope_of_the_score() -> None:
    network = tiny().double()
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    gradient = network.gradient(x)
    for place in [(0, 0, 0, 0), (0, 2, 7, 9), (1, 1, 15, 3)]:
        step = torch.zeros_like(x)
        step[place] = 1e-6
        slope = (network.discriminator(x + step) - network.discriminator(x - step))[place[0]] / 2e-6
        assert gradient[place] == pytest.approx(float(slope), rel=1e-5, abs=1e-12)


def test_a_gradient_is_had_where_autograd_is_off_and_leaves_no_graph() -> None:
    network, x = tiny(), torch.rand(1, 3, 16, 16)
    expected = network.gradient(x)
    assert not expected.requires_grad
    with torch.inference_mode():
        assert torch.equal(network.gradient(x.clone()), expected)
    with torch.no_grad():
        assert torch.equal(network.gradient(x), expected)


def test_levels_reach_from_the_lowest_to_the_highest_value_of_each_image() -> None:
    gradient = torch.tensor([[-2.0, 0.0, 2.0], [1e-5, 2e-5, 3e-5]]).reshape(2, 3, 1, 1)
    # 127.5 goes to the even level, as OpenCV rounds when it writes a picture.
    assert levels(gradient).reshape(2, 3).tolist() == [[0.0, 128.0, 255.0], [0.0, 128.0, 255.0]]


def test_a_gradient_that_is_the_same_everywhere_gives_a_black_picture() -> None:
    assert not levels(torch.full((1, 3, 2, 2), 7.0)).any()


def test_the_classifier_sees_an_eight_bit_picture_normalised_as_any_other() -> None:
    made = detector(tiny())
    array = made.preprocess(picture(20, 11))
    assert (array.dtype, array.shape) == (np.float32, (3, 16, 16))
    mean, std = (np.array(IMAGENET[name])[:, None, None] for name in ("mean", "std"))
    level = (array * std + mean) * 255
    np.testing.assert_allclose(level, level.round(), atol=1e-4)
    assert (level.round().min(), level.round().max()) == (0, 255)


def test_a_batch_gives_what_its_images_give_alone_by_either_way() -> None:
    network = tiny()
    made = detector(network)
    images = [
        picture(width, height, seed) for seed, (width, height) in enumerate([(16, 16), (1, 1), (9, 40), (16, 16)])
    ]
    alone = [made.predict([image])[0].score for image in images]
    assert len(set(alone)) == 4
    assert [each.score for each in made.predict(images)] == pytest.approx(alone, abs=1e-6)
    inputs = np.stack([super(LGrad, made).preprocess(image) for image in images])
    with torch.inference_mode():
        scores = network(torch.from_numpy(inputs)).double().sigmoid()
    # A batch rounds otherwise, and a gradient on the fence between two levels may go to the other one.
    assert scores.tolist() == pytest.approx(alone, abs=1e-2)


# ---------------------------------------------------------------- files


def test_both_files_load_and_the_discriminator_is_found_where_only_one_is_named(
    files: tuple[dict[str, Path], LGradNet],
) -> None:
    paths, network = files
    both = from_files(paths, nowhere)
    one = from_files({"weights": paths["weights"]}, lambda: paths["discriminator"])
    for loaded in (both, one):
        state = loaded.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())
        assert len(state) == len(network.state_dict())


def test_a_missing_and_an_unknown_tensor_are_named_with_the_network_they_are_of(
    files: tuple[dict[str, Path], LGradNet],
) -> None:
    paths, network = files
    state = network.discriminator.state_dict()
    state["surplus"] = state.pop("layer1.blur.kernel")
    torch.save(state, paths["discriminator"])
    with pytest.raises(WeightsError, match=r"missing \(discriminator\.layer1\.blur\.kernel\).*discriminator\.surplus"):
        from_files(paths, nowhere)


def test_files_that_were_swapped_are_refused(files: tuple[dict[str, Path], LGradNet]) -> None:
    paths, _ = files
    with pytest.raises(WeightsError, match=r"missing \(discriminator\.lod.*unknown \(classifier\.lod"):
        from_files({"weights": paths["discriminator"], "discriminator": paths["weights"]}, nowhere)


def test_a_discriminator_that_was_still_growing_is_refused(files: tuple[dict[str, Path], LGradNet]) -> None:
    paths, network = files
    torch.save(network.discriminator.state_dict() | {"lod": torch.tensor(1.5)}, paths["discriminator"])
    with pytest.raises(WeightsError, match=r"still growing \(its lod is 1\.5, expected 0\)"):
        from_files(paths, nowhere)


def test_the_card_counts_the_parameters_of_both_networks() -> None:
    with torch.device("meta"):
        network = LGrad.network(**LGrad.sizes()["official"])
    assert sum(parameter.numel() for parameter in network.parameters()) == LGrad.card.presets["official"].parameters


def test_every_file_says_how_to_get_it() -> None:
    for weights in LGrad.card.presets["official"].weights:
        assert weights.filename and weights.licence and weights.manual
