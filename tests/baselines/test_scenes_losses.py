"""What the detectors minimise at scenes size is their papers' loss, worked out here by other means."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

from baselines._aide import ChoosingAIDE, chosen_windows
from baselines._c2p_training import AdaptedC2PCLIP
from baselines._drct import DRCTNet, contrastive_loss
from baselines._fatformer import FatFormerNet
from baselines._lgrad import LGradNet, StandIn
from baselines._mfm import MaskedFrequencies, masked_distance
from baselines._spai import frequency_mask, normalise
from baselines._torch import IMAGENET, TorchDetector
from baselines._windows import SIDE, choose_windows
from baselines.aide import AIDE
from baselines.c2p_clip import C2PCLIP
from baselines.cnndetection import CNNDetection
from baselines.drct import DRCT
from baselines.fatformer import FatFormer
from baselines.lgrad import LGrad
from baselines.train_mfm import MaskedFrequencyModelling
from fdr_bench.images import apply_view
from fdr_bench.training.loop import set_training
from fdr_bench.training.network import Classify
from fdr_bench.weights import packaged_path
from tests.baselines.made import picture

FAKE = torch.tensor([True, False, True, False, False, True])


def network_of(detector: type[TorchDetector]) -> torch.nn.Module:
    torch.manual_seed(0)
    return detector.network(**detector.sizes()["scenes"])


def pictures(count: int = 6, side: int = 128) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)


def learning(network: torch.nn.Module) -> set[str]:
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


def plain(fake: Tensor) -> Classify:
    def classify(logits: Tensor) -> Tensor:
        two = torch.stack([torch.zeros_like(logits), logits], dim=1) if logits.ndim == 1 else logits
        return cross_entropy(two, fake.long())

    return classify


# ---------------------------------------------------------------- FatFormer


def test_fatformers_prompts_tell_its_classes_apart_and_clip_stays_as_it_is() -> None:
    network = network_of(FatFormer).eval()
    assert isinstance(network, FatFormerNet)
    with torch.no_grad():
        texts = network.text_features(network.image_features(pictures(2)))
    # At 0.9999, which contexts of any length give, no image would be nearer to one prompt than to the other.
    assert (cosine_similarity(texts[:, 0], texts[:, 1], dim=-1) < 0.99).all()
    begun = ("context", "interactor.")
    assert all("forgery_aware_adapter" in name or name.startswith(begun) for name in learning(network))
    network(pictures(2)).softmax(dim=1)[:, 1].sum().backward()
    lacking = {
        name for name, parameter in network.named_parameters() if parameter.requires_grad and parameter.grad is None
    }
    assert not lacking


# ---------------------------------------------------------------- DRCT, C2P-CLIP


def test_drcts_loss_is_seven_parts_of_cross_entropy_and_three_of_contrast() -> None:
    network = network_of(DRCT).eval()
    assert isinstance(network, DRCTNet)
    features = torch.randn(6, network.model.get_submodule("visual").features_out)  # type: ignore[arg-type]
    embedding = network.model(features)
    expected = 0.7 * cross_entropy(network(features), FAKE.long()) + 0.3 * contrastive_loss(embedding, FAKE)
    torch.testing.assert_close(network.training_loss(features, fake=FAKE, classify=plain(FAKE)), expected)


def test_c2p_clips_loss_is_clips_own_and_half_the_cross_entropy() -> None:
    network = network_of(C2PCLIP).eval()
    assert isinstance(network, AdaptedC2PCLIP)
    x, text = pictures(), normalize(torch.randn(6, 256), dim=1) * 15
    with torch.no_grad():
        image = normalize(network.model(pixel_values=x).image_embeds, dim=1)
        similarity, own = image @ text.T, torch.arange(6)
        contrast = (cross_entropy(similarity, own) + cross_entropy(similarity.T, own)) / 2
        expected = contrast + 0.5 * cross_entropy(torch.stack([torch.zeros(6), network(x)], dim=1), FAKE.long())
        found = network.training_loss(x, text, fake=FAKE, classify=plain(FAKE))
    torch.testing.assert_close(found, expected)
    # The two parts pull at an embedding alike: the head is as long as the temperature.
    assert float(network.model.fc.weight.detach().norm()) == pytest.approx(15, rel=0.2)


# ---------------------------------------------------------------- AIDE


def test_aide_takes_the_windows_that_its_preprocessing_takes() -> None:
    images = [picture(128, 128, seed) for seed in range(3)]
    x = torch.from_numpy(np.stack([apply_view(AIDE.recipe("scenes").view, image) for image in images]))
    found = chosen_windows(x)
    assert found.shape == (3, 4, 3, SIDE, SIDE)
    for number, image in enumerate(images):
        for place, (top, left) in enumerate(choose_windows(np.asarray(image))):
            expected = x[number, :, top : top + SIDE, left : left + SIDE]
            assert torch.equal(found[number, place], expected)


def test_aide_learns_from_smoothed_labels_beside_a_clip_that_stays_as_it_is() -> None:
    network = network_of(AIDE)
    assert isinstance(network, ChoosingAIDE)
    begun = ("model_min.", "model_max.", "convnext_proj.", "fc.")
    assert all(name.startswith(begun) for name in learning(network))
    assert {name.partition(".")[0] + "." for name in learning(network)} == set(begun)
    set_training(network)
    assert network.model_min.training and not network.openclip_convnext_xxl.training
    recipe = AIDE.recipe("scenes")
    assert (recipe.label_smoothing, recipe.weight_decay, recipe.schedule) == (0.1, 0.0, "cosine")


# ---------------------------------------------------------------- LGrad


def test_lgrads_picture_is_the_gradient_of_the_trained_cnndetection() -> None:
    network = network_of(LGrad)
    assert isinstance(network, LGradNet)
    set_training(network)  # what stands in for the discriminator keeps its statistics all the same
    assert isinstance(network.discriminator, StandIn) and all(
        name.startswith("classifier.") for name in learning(network)
    )
    folder = packaged_path("baselines/weights/cnndetection-scenes")
    other = CNNDetection(preset="scenes", device="cpu", weights={"weights": folder}).network
    x = pictures(2, 48)
    image = ((x + 1) / 2).requires_grad_()
    mean, std = (torch.tensor(IMAGENET[name])[:, None, None] for name in ("mean", "std"))
    (slope,) = torch.autograd.grad(other((image - mean) / std).sum(), image)
    torch.testing.assert_close(network.gradient(x), slope / 2, rtol=1e-3, atol=1e-5)  # of a range of 2, not of 1
    network(x).sum().backward()
    assert all(parameter.grad is None for parameter in network.discriminator.parameters())


# ---------------------------------------------------------------- masked frequency modelling


def masked() -> MaskedFrequencies:
    torch.manual_seed(0)
    return MaskedFrequencies(**MaskedFrequencyModelling.sizes()["scenes"])  # type: ignore[arg-type]


def test_the_distance_is_the_mean_modulus_over_what_was_lost() -> None:
    filled, whole = torch.randn(2, 2, 3, 8, 8)
    lost = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    lost[0, 0, 1, 2] = lost[1, 0, 7, 0] = lost[1, 0, 0, 0] = True
    spectra = [np.fft.fft2(each.numpy()) / 8 for each in (filled, whole)]
    places = [(0, 1, 2), (1, 7, 0), (1, 0, 0)]
    expected = np.mean([abs(spectra[0][n, c, i, j] - spectra[1][n, c, i, j]) for n, i, j in places for c in range(3)])
    assert float(masked_distance(filled, whole, lost)) == pytest.approx(expected, abs=1e-5)
    assert float(masked_distance(filled, whole, torch.zeros_like(lost))) == 0.0


def test_only_real_pictures_teach_and_only_what_they_lost() -> None:
    network, x = masked(), torch.rand(6, 3, 32, 32)
    torch.manual_seed(1)
    loss = network.training_loss(x, fake=FAKE, classify=plain(FAKE)).detach()
    changed = x.clone()
    changed[FAKE] = 0.5
    torch.manual_seed(1)
    again = network.training_loss(changed, fake=FAKE, classify=plain(FAKE)).detach()
    torch.testing.assert_close(again, loss)
    none_real = torch.ones(6, dtype=torch.bool)
    assert network.training_loss(x, fake=none_real, classify=plain(none_real)).item() == 0.0
    network.forward = lambda _: normalise(x[~FAKE])  # type: ignore[method-assign, assignment]
    assert network.training_loss(x, fake=FAKE, classify=plain(FAKE)).item() == pytest.approx(0, abs=1e-5)


def test_what_a_picture_keeps_and_what_it_lost_make_it_whole() -> None:
    network, x = masked(), 0.6 + 0.02 * torch.randn(8, 3, 32, 32)
    seen: list[Tensor] = []

    def note(kept: Tensor) -> Tensor:
        seen.append(kept)
        return torch.zeros_like(kept)

    network.forward = note  # type: ignore[method-assign, assignment]
    real = torch.zeros(8, dtype=torch.bool)
    torch.manual_seed(3)
    loss = network.training_loss(x, fake=real, classify=plain(real))
    is_low = torch.fft.ifftshift(frequency_mask(32, 4)).bool()
    spectrum, kept = torch.fft.fft2(normalise(x), norm="ortho"), torch.fft.fft2(seen[0], norm="ortho")
    total, count, kinds = 0.0, 0, set()
    for each in range(8):
        # A picture without its low frequencies is dark.
        loses_low = bool(kept[each, :, 0, 0].abs().mean() > 2 * spectrum[each, :, 0, 0].abs().mean())
        kinds.add(loses_low)
        lost = is_low if loses_low else ~is_low
        total += float(spectrum[each][:, lost].abs().sum())
        count += 3 * int(lost.sum())
    assert kinds == {True, False}
    assert loss.item() == pytest.approx(total / count, rel=1e-4)


def test_masked_frequency_modelling_learns() -> None:
    network, x = masked(), torch.rand(8, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    real, losses = torch.zeros(8, dtype=torch.bool), []
    for _ in range(25):
        loss = network.training_loss(x, fake=real, classify=plain(real))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
