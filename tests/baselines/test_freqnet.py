"""FreqNet's filters against the paper's operations on whole, shifted spectra; its figures are in test_goldens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from baselines._freqnet import CHANNELS, SPACE, FrequencyNet, high_pass, spectral_layer
from baselines.freqnet import FreqNet
from fdr_bench.errors import ImageError, WeightsError
from tests.baselines.made import picture, weights_folder

TINY = {"depths": (1, 1), "widths": (4, 4)}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def detector(view: str = "native") -> FreqNet:
    """Return an untrained detector of a tiny network, whose last layer is steep, so that scores differ."""
    made = FreqNet.__new__(FreqNet)
    made.device = torch.device("cpu")
    made.view = FreqNet.card.presets["official"].views[view]
    torch.manual_seed(0)
    network = FrequencyNet(**TINY).eval().requires_grad_(False)
    nn.init.normal_(network.fc1.weight)
    made.network = network
    return made


def naive_high_pass(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Shift the whole spectrum, clear the block in the middle row by row, shift back, take the real part."""
    spectrum = torch.fft.fftshift(torch.fft.fftn(x, dim=axes), dim=axes)
    middles = []
    for axis in range(x.ndim):
        size = x.shape[axis]
        inside = axis in {each % x.ndim for each in axes}
        middles.append(slice(size // 2 - size // 4, size // 2 + size // 4) if inside else slice(None))
    spectrum[tuple(middles)] = 0
    return torch.fft.ifftn(torch.fft.ifftshift(spectrum, dim=axes), dim=axes).real.clamp(min=0)


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 6, 7, 8, 17])
@pytest.mark.parametrize("width", [1, 3, 4, 6, 9, 16])
def test_the_high_pass_of_half_a_spectrum_is_that_of_the_whole(height: int, width: int) -> None:
    x = noise(2, 3, height, width)
    torch.testing.assert_close(high_pass(x, SPACE), naive_high_pass(x, SPACE), rtol=0, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7, 8, 64])
def test_the_high_pass_over_channels_is_that_of_the_whole_spectrum(channels: int) -> None:
    x = noise(2, channels, 3, 4)
    torch.testing.assert_close(high_pass(x, CHANNELS), naive_high_pass(x, CHANNELS), rtol=0, atol=1e-12)


def test_a_flat_image_has_no_high_frequencies() -> None:
    assert high_pass(torch.full((1, 3, 8, 9), 2.5), SPACE).abs().max() < 1e-6


@pytest.mark.parametrize("size", [(1, 1), (4, 6), (5, 8), (7, 3)])
def test_the_spectral_layer_keeps_real_and_imaginary_part_apart(size: tuple[int, int]) -> None:
    x = noise(2, 3, *size)
    real, imaginary = noise(3, 3, seed=1), noise(3, 3, seed=2)
    layers = []
    for matrix in (real, imaginary):
        layer = nn.Conv2d(3, 3, 1, bias=False, dtype=torch.float64)
        layer.weight.data = matrix[..., None, None]
        layers.append(layer)
    spectrum = torch.fft.fft2(x)
    mixed = torch.complex(
        torch.einsum("oi,bihw->bohw", real, spectrum.real), torch.einsum("oi,bihw->bohw", imaginary, spectrum.imag)
    )
    expected = torch.fft.ifft2(mixed).real.clamp(min=0)
    with torch.no_grad():
        torch.testing.assert_close(spectral_layer(x, *layers), expected, rtol=0, atol=1e-12)


def test_half_precision_is_transformed_in_single() -> None:
    x = noise(1, 4, 6, 6)
    layers = [nn.Conv2d(4, 4, 1, bias=False, dtype=torch.float64) for _ in range(2)]
    with torch.no_grad():
        exact = spectral_layer(high_pass(x, SPACE), *layers)
        rounded = spectral_layer(high_pass(x.half(), SPACE), *(layer.half() for layer in layers))
    assert rounded.dtype == torch.float16
    torch.testing.assert_close(rounded.double(), exact, rtol=0, atol=5e-3)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (13, 8)])
def test_images_of_any_size_are_answered(size: tuple[int, int]) -> None:
    (prediction,) = detector().predict([Image.new("RGB", size, (200, 10, 90))])
    assert prediction.score is not None and 0 <= prediction.score <= 1


def test_a_batch_gives_what_its_images_give_alone_however_it_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    made = detector()
    images = [picture(24, 17, seed) for seed in range(4)]
    alone = [made.predict([image])[0].score for image in images]
    assert len(set(alone)) == 4
    assert [each.score for each in made.predict(images)] == pytest.approx(alone, abs=1e-6)
    monkeypatch.setattr(FreqNet, "at_once", 3 * 24 * 17)
    assert [each.score for each in made.predict(images)] == pytest.approx(alone, abs=1e-6)


def test_an_image_too_large_for_its_view_is_that_images_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FreqNet, "largest", 100)
    with pytest.raises(ImageError, match="20x10 px is more than this view takes"):
        detector().preprocess(picture(20, 10))


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"model": state}], ids=["bare", "under model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_authors_layouts_load_strictly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrap: object, prefix: str
) -> None:
    monkeypatch.setattr(FreqNet, "sized", {"official": TINY})
    assert callable(wrap)
    state = FrequencyNet(**TINY).state_dict()
    path = tmp_path / "a.pth"
    torch.save(wrap({prefix + name: tensor for name, tensor in state.items()}), path)
    loaded = FreqNet(preset="official", weights={"weights": path}).network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    state["weight5"] = state.pop("weight1")
    torch.save(wrap({prefix + name: tensor for name, tensor in state.items()}), path)
    with pytest.raises(WeightsError, match=r"missing \(weight1\).*unknown \(weight5\)"):
        FreqNet(preset="official", weights={"weights": path})


def test_sizes_keep_to_their_limits_and_the_card_counts_right() -> None:
    def parameters(size: str) -> int:
        with torch.device("meta"):
            network = FreqNet.network(**FreqNet.sizes()[size])
        return sum(parameter.numel() for parameter in network.parameters())

    assert parameters("official") == FreqNet.card.presets["official"].parameters
    assert 4 * parameters("scenes") <= 2_000_000  # bytes in float32


def test_a_trained_folder_is_used_and_one_step_lowers_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FreqNet, "sized", {"scenes": TINY})
    made = FreqNet(weights={"weights": weights_folder(FreqNet, "scenes", tmp_path)})
    assert made.view == FreqNet.recipe("scenes").view
    network = made.network.train().requires_grad_(True)
    images, target = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([0.0, 1.0] * 4)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(2):
        loss = nn.functional.binary_cross_entropy_with_logits(network(images), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
