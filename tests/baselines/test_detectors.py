"""CNNDetection, NPR and what PyTorch detectors share: batches, views, weights folders, sizes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from baselines import _torch
from baselines._resnet import ResNet, multiply_adds
from baselines.cnndetection import CNNDetection
from baselines.npr import NPR
from baselines.univfd import UnivFD
from fdr_bench.errors import ImageError, UsageError, WeightsError
from tests.baselines.made import picture, weights_folder

CONVOLUTIONAL = [CNNDetection, NPR]


@pytest.fixture(params=CONVOLUTIONAL, ids=lambda factory: factory.card.name)
def detector(request: pytest.FixtureRequest, tmp_path: Path) -> _torch.TorchDetector:
    """An untrained detector of the size for FDR-Scenes, whose last layer is steep, so that scores differ."""
    made = request.param(
        preset=None, device="cpu", weights={"weights": weights_folder(request.param, "scenes", tmp_path)}
    )
    head = made.network.get_submodule(made.network.head)
    assert isinstance(head, nn.Linear)
    nn.init.normal_(head.weight, 0.0, 1.0, generator=torch.Generator().manual_seed(3))
    return made


def test_predictions_come_in_order_and_do_not_depend_on_their_batch(detector: _torch.TorchDetector) -> None:
    detector.view = CNNDetection.card.presets["official"].views["no_crop"]
    images = [
        picture(width, height, seed) for seed, (width, height) in enumerate([(64, 48), (30, 40), (64, 48), (9, 8)])
    ]
    together = [prediction.score for prediction in detector.predict(images)]
    alone = [detector.predict([image])[0].score for image in images]
    assert together == pytest.approx(alone, abs=1e-5)
    assert len(set(together)) == 4
    assert detector.predict([]) == []
    assert {prediction.score_source for prediction in detector.predict(images)} == {"sigmoid"}


def test_the_score_is_the_sigmoid_of_the_logit(detector: _torch.TorchDetector) -> None:
    image = picture(128, 128)
    logit = float(detector.logits(torch.from_numpy(detector.preprocess(image)[None])))
    assert detector.predict([image])[0].score == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-12)


def test_memory_is_bounded_by_splitting_batches(
    detector: _torch.TorchDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [picture(40, 40, seed) for seed in range(5)]
    whole = [prediction.score for prediction in detector.predict(images)]
    monkeypatch.setattr(type(detector), "at_once", 2 * 128 * 128)
    seen: list[int] = []
    inner = detector.logits
    monkeypatch.setattr(detector, "logits", lambda x: (seen.append(len(x)), inner(x))[1])
    assert [prediction.score for prediction in detector.predict(images)] == pytest.approx(whole, abs=1e-5)
    assert seen == [2, 2, 1]


def test_an_image_too_large_for_its_view_is_that_images_error(
    detector: _torch.TorchDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(detector), "largest", 100)
    with pytest.raises(ImageError, match="128x128 px is more"):
        detector.predict([picture(10, 10)])


def test_one_training_step_lowers_the_loss(detector: _torch.TorchDetector) -> None:
    network = type(detector).network(**type(detector).sizes()["scenes"]).train()
    images = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0.0, 1.0] * 4)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(2):
        loss = nn.functional.binary_cross_entropy_with_logits(network(images), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]


@pytest.mark.parametrize("factory", CONVOLUTIONAL, ids=lambda factory: factory.card.name)
def test_sizes_keep_to_their_limits(factory: type[_torch.TorchDetector]) -> None:
    def parameters(size: str) -> int:
        with torch.device("meta"):
            network = factory.network(**factory.sizes()[size])
        return sum(parameter.numel() for parameter in network.parameters())

    assert parameters("official") == factory.card.presets["official"].parameters
    assert parameters("small") <= 3_000_000
    assert 4 * parameters("scenes") <= 2 * 1024**2  # bytes in float32


def test_multiply_adds_are_counted_as_by_hand() -> None:
    # 6x6 px: stem 3*2*9*36 = 1944; one basic block 2*(2*2*9*36) = 2592; head 2.
    assert multiply_adds(ResNet(block="basic", depths=(1,), widths=(2,), stem="3x3"), 6) == 1944 + 2592 + 2


def test_half_precision_weights_give_nearly_the_same_scores(tmp_path: Path) -> None:
    image = picture(128, 128)
    scores = [
        CNNDetection(weights={"weights": weights_folder(CNNDetection, "scenes", tmp_path / str(half), half=half)})
        .predict([image])[0]
        .score
        for half in (False, True)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_a_folder_is_known_by_its_model_file_too_and_keeps_its_own_view(tmp_path: Path) -> None:
    folder = weights_folder(CNNDetection, "small", tmp_path)
    detector = CNNDetection(weights={"weights": folder / "model.safetensors"}, preset=None)
    assert detector.view == CNNDetection.recipe("small").view
    other = CNNDetection(weights={"weights": folder}, preset="official", view="crop224")
    assert other.view == CNNDetection.card.presets["official"].views["crop224"]


def test_weights_of_another_detector_are_refused(tmp_path: Path) -> None:
    folder = weights_folder(NPR, "scenes", tmp_path)
    with pytest.raises(WeightsError, match="trained for 'npr', not for 'cnndetection'"):
        CNNDetection(weights={"weights": folder})


def test_a_checkpoint_of_another_network_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "npr.pth"
    torch.save(NPR.network().state_dict(), path)
    with pytest.raises(WeightsError, match=r"missing \(.*layer3\.0\.conv1\.weight.*unknown \(.*fc1\.weight"):
        CNNDetection(preset="official", weights={"weights": path})


def test_an_unknown_view_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"Did you mean 'crop224'.*no_crop"):
        _torch.choose_view(CNNDetection.card, "official", "crop225")


@pytest.mark.parametrize("factory", [*CONVOLUTIONAL, UnivFD], ids=lambda factory: factory.card.name)
def test_the_official_preset_says_how_to_get_what_may_not_be_fetched(factory: type[_torch.TorchDetector]) -> None:
    for weights in factory.card.presets["official"].weights:
        assert weights.filename and weights.licence
        assert weights.manual or (weights.hub and weights.revision and weights.sha256)


def test_the_scenes_preset_takes_its_facts_from_the_shipped_card(monkeypatch: pytest.MonkeyPatch) -> None:
    told: Mapping[str, object] = {"trained_on": {"dataset": "d", "generators": ["g"]}, "parameters": 7}
    monkeypatch.setattr(_torch, "packaged_card", lambda place: told if place.endswith("weights/npr-scenes") else {})
    preset = _torch.scenes_preset("npr", view=NPR.recipe("scenes").view)
    assert preset.trained_on is not None
    assert (preset.trained_on.generators, preset.parameters) == (("g",), 7)
    missing = _torch.scenes_preset("nothing", view=NPR.recipe("scenes").view)
    assert missing.parameters is None and "fdr-bench train nothing" in str(missing.weights[0].manual)


def test_card_json_of_another_format_or_damaged_is_refused(tmp_path: Path) -> None:
    folder = weights_folder(CNNDetection, "scenes", tmp_path)
    card = json.loads((folder / "card.json").read_text())
    for change, reason in [({"format": 2}, "format 2"), ({"view": {"steps": [{"step": "spin"}]}}, "damaged")]:
        (folder / "card.json").write_text(json.dumps(card | change))
        with pytest.raises(WeightsError, match=reason):
            CNNDetection(weights={"weights": folder})
    (folder / "card.json").write_text("{")
    with pytest.raises(WeightsError, match="damaged"):
        CNNDetection(weights={"weights": folder})


def test_recipes_evaluate_as_they_say_and_can_be_replaced() -> None:
    for factory in (*CONVOLUTIONAL, UnivFD):
        for size in factory.sizes():
            assert replace(factory.recipe(size), epochs=1).epochs == 1
        assert factory.recipe("scenes").view == factory.card.presets["scenes"].views["crop128"]
