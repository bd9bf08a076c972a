"""What a network may offer the trainer beyond one logit: two of them, a loss of its own, inputs beside the pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fdr_bench.store import read_json
from fdr_bench.training import train
from fdr_bench.training.network import Classify, fake_logit
from fdr_bench.types import Sample

from .made import Tiny, TinyDetector, made, with_recipe


def test_two_logits_have_the_cross_entropy_of_their_difference():
    logits, fake = torch.randn(9, 2), torch.tensor([True, False, False] * 3)
    single = fake_logit(logits)
    for smoothing in (0.0, 0.2):
        target = fake.float() * (1 - smoothing) + smoothing / 2
        expected = nn.functional.cross_entropy(logits, fake.long(), label_smoothing=smoothing)
        found = nn.functional.binary_cross_entropy_with_logits(single, target)
        torch.testing.assert_close(found, expected)
    assert torch.equal(fake_logit(single), single)


class TwoLogits(Tiny):
    """The tiny network with logits of real and fake."""

    def forward(self, x: Tensor) -> Tensor:
        fake = super().forward(x)
        return torch.stack((-fake, fake), dim=1)


class Taught(Tiny):
    """The tiny network with a loss of its own: the square of what its logits lack of 3, with the sign of the class."""

    def training_loss(self, x: Tensor, *beside: Tensor, fake: Tensor, classify: Classify) -> Tensor:
        assert not beside
        wanted = torch.where(fake, 3.0, -3.0)
        logits = self(x)
        assert classify(logits).ndim == 0
        return (logits - wanted).square().mean()


class Told(nn.Module):
    """A network that is told each sample's number, and answers by it alone: even ones are fake."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))

    def read_samples(self, samples: Sequence[Sample]) -> Tensor:
        # Fakes are named so; a row a sample, in the samples' order, whatever the order of the batches.
        return torch.tensor([[1.0 if sample.id.endswith("fake") else -1.0] for sample in samples])

    def forward(self, x: Tensor, sign: Tensor) -> Tensor:
        assert sign.shape == (len(x), 1)
        return self.scale * sign[:, 0]


def trained(network: type[nn.Module], out: Path, **options: float) -> Mapping[str, object]:
    class Detector(TinyDetector):
        @classmethod
        def network(cls, **architecture: int) -> nn.Module:
            return network(**architecture)

    train(Detector, made(), size="small", out=out, threads=1, quiet=True, **options)  # type: ignore[arg-type]
    return read_json(out / "card.json")


def test_a_network_of_two_logits_is_trained_and_validated_as_one_of_one(tmp_path):
    card = trained(TwoLogits, tmp_path, epochs=12)
    assert card["validation"]["accuracy"] >= 0.9


def test_a_networks_own_loss_is_what_is_minimised(tmp_path):
    card = trained(Taught, tmp_path, epochs=12)
    # At logits of 0 it is 9, which no cross-entropy comes near to.
    assert 4 < card["history"][0]["loss"] < 16 and card["history"][-1]["loss"] < card["history"][0]["loss"]
    assert card["validation"]["accuracy"] >= 0.9


def test_what_stands_beside_the_pixels_goes_with_its_image_in_training_and_validation(tmp_path):
    card = trained(Told, tmp_path, epochs=3)
    losses = [row["loss"] for row in card["history"]]
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]
    assert card["validation"]["accuracy"] == 1.0


@pytest.mark.parametrize("network", [Taught, Told])
def test_a_continued_training_of_such_a_network_gives_the_same_bytes(tmp_path, monkeypatch, network):
    from fdr_bench.training import checkpoint

    class Stopped(Exception):
        pass

    def save_and_stop(*args: object) -> None:
        wanted(*args)
        raise Stopped

    wanted = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", save_and_stop)
    with pytest.raises(Stopped):
        trained(network, tmp_path / "stopped", checkpoint_seconds=0.0)
    monkeypatch.undo()
    trained(network, tmp_path / "stopped")
    trained(network, tmp_path / "whole")
    stopped, whole = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("stopped", "whole"))
    assert stopped == whole


class Whole(nn.Module):
    """A layer on the mean of the image's left half, which differs between an image and its mirror image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.head = nn.Linear(3, 1)
        self.seen = 0

    def left(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return x[..., : x.shape[-1] // 2].mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.left(x)).squeeze(1)


class Halves(Whole):
    """The same network, which tells the trainer that its first part is frozen."""

    def frozen_features(self, x: Tensor) -> Tensor:
        return self.left(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x if x.ndim == 2 else self.left(x)).squeeze(1)


def keeping(network: type[Whole], **recipe: float) -> tuple[type[TinyDetector], list[Whole]]:
    """Return a detector of this network, and where its networks are found once they are made."""
    kept: list[Whole] = []

    class Detector(with_recipe(**recipe)):  # type: ignore[misc]
        @classmethod
        def network(cls, **architecture: int) -> nn.Module:
            kept.append(network(**architecture))
            return kept[-1]

    return Detector, kept


def test_a_frozen_part_is_computed_once_an_image_and_gives_the_same_training(tmp_path):
    found = {}
    for network in (Halves, Whole):
        detector = with_recipe(pad=0, crop=8, flip=0.5, ema=0.0)
        kept: list[Halves] = []
        detector.network = classmethod(
            lambda cls, kept=kept, network=network, **a: kept.append(network(**a)) or kept[0]
        )
        train(detector, made(), size="small", out=tmp_path / network.__name__, threads=1, quiet=True, epochs=4)
        found[network] = read_json(tmp_path / network.__name__ / "card.json")["history"], kept[0].seen
    for known, plain in zip(found[Halves][0], found[Whole][0], strict=True):
        assert known["loss"] == pytest.approx(plain["loss"], abs=1e-6)
        assert known["validation_loss"] == pytest.approx(plain["validation_loss"], abs=1e-6)
    # 96 images as they are and mirrored, 24 held out as they are. Otherwise all in each of 4 epochs, and 24 at the end.
    assert found[Halves][1] == 2 * 96 + 24
    assert found[Whole][1] == 4 * 96 + 5 * 24


def test_a_frozen_part_is_not_computed_ahead_where_images_are_varied(tmp_path):
    detector, kept = keeping(Halves, pad=1, crop=8)
    train(detector, made(), size="small", out=tmp_path, threads=1, quiet=True, epochs=2)
    assert kept[0].seen >= 2 * 96
