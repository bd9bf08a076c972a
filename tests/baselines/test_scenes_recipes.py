"""Every detector's recipe for FDR-Scenes learns, on a few pictures; what is particular to one is worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cosine_similarity

from baselines import _c2p_training, _drct
from baselines._clip import load_small_clip
from baselines._defake import CaptionedDeFake
from baselines._torch import TorchDetector
from baselines._words import Words
from baselines.aide import AIDE
from baselines.c2p_clip import C2PCLIP
from baselines.defake import DeFake
from baselines.drct import DRCT
from baselines.effort import Effort
from baselines.fatformer import FatFormer
from baselines.freqnet import FreqNet
from baselines.gramnet import GramNet
from baselines.lgrad import LGrad
from baselines.spai import SPAI
from fdr_bench.errors import DataError
from fdr_bench.store import read_json
from fdr_bench.training import train
from fdr_bench.types import Dataset
from fdr_bench.weights import packaged_path
from tests.baselines.made import picture
from tests.training.made import made

TRAINED = (FreqNet, GramNet, Effort, C2PCLIP, DRCT, DeFake, FatFormer, AIDE, LGrad, SPAI)
CLIP = "baselines/weights/clip-scenes"


def captioned(n: int = 20) -> Dataset:
    """Return n images of 128 px with captions; fakes have darker columns."""
    images = made(n, side=128)
    colours = ("red", "green", "blue")
    samples = [
        replace(sample, caption=f"A {colours[number % 3]} ball on a sandy floor.")
        for number, sample in enumerate(images.samples)
    ]
    return replace(images, samples=samples)


@pytest.mark.parametrize("detector", TRAINED, ids=lambda each: each.card.name)
def test_the_recipe_lowers_the_loss_and_what_it_saves_can_be_loaded(
    detector: type[TorchDetector], tmp_path: Path
) -> None:
    train(detector, captioned(), size="scenes", out=tmp_path, epochs=3, batch=6, threads=1, quiet=True)  # type: ignore[arg-type]
    card = read_json(tmp_path / "card.json")
    losses = [row["loss"] for row in card["history"]]
    assert losses[-1] < losses[0]
    loaded = detector(preset="scenes", device="cpu", weights={"weights": tmp_path}, view=None)
    scores = [prediction.score for prediction in loaded.predict([picture(128, 128, 1), picture(300, 90, 2)])]
    assert all(score is not None and 0 < score < 1 for score in scores) and scores[0] != scores[1]
    # A backbone that others use as well is not saved again.
    assert (tmp_path / "model.safetensors").stat().st_size < 2_000_000


@pytest.mark.parametrize("detector", [C2PCLIP, DeFake], ids=lambda each: each.card.name)
def test_a_training_with_texts_says_which_image_has_none(detector: type[TorchDetector], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"18 of 18 images have no caption, such as 0000.*scenes:train"):
        train(detector, made(20, side=128), size="scenes", out=tmp_path, epochs=1, threads=1, quiet=True)  # type: ignore[arg-type]


def test_the_contrastive_loss_is_that_of_every_pair() -> None:
    torch.manual_seed(0)
    embedding, fake = torch.randn(6, 4), torch.tensor([True, False, True, True, False, False])
    near, far = [], []
    for i in range(6):
        for j in range(6):
            distance = float((embedding[i] / embedding[i].norm() - embedding[j] / embedding[j].norm()).norm())
            if i != j and fake[i] == fake[j]:
                near.append(distance)
            elif fake[i] != fake[j] and distance < 1:
                far.append(1 - distance)
    expected = sum(near) / len(near) + (sum(far) / len(far) if far else 0.0)
    assert float(_drct.contrastive_loss(embedding, fake)) == pytest.approx(expected, abs=1e-5)
    assert float(_drct.contrastive_loss(embedding[:1], fake[:1])) == 0.0


def test_contrast_pulls_classes_apart() -> None:
    torch.manual_seed(0)
    embedding = torch.randn(8, 4, requires_grad=True)
    fake = torch.tensor([True, False] * 4)
    optimizer = torch.optim.SGD([embedding], lr=0.5)
    for _ in range(200):
        loss = _drct.contrastive_loss(embedding, fake)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    cosine = cosine_similarity(embedding[:, None], embedding[None], dim=-1)
    same = fake[:, None] == fake
    assert cosine[same].min() > 0.9 and cosine[~same].max() < 0.6


def test_adapters_start_at_nothing() -> None:
    torch.manual_seed(0)
    network = C2PCLIP.network(**C2PCLIP.sizes()["scenes"]).eval()
    clip = load_small_clip(packaged_path(CLIP))
    x = torch.randn(2, 3, 128, 128)
    with torch.inference_mode():
        expected = clip.visual_projection(clip.vision_model(pixel_values=x).pooler_output)
        torch.testing.assert_close(network.model(pixel_values=x).image_embeds, expected, rtol=1e-4, atol=1e-4)
    learnt = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    # 4 blocks, queries, keys and values, two matrices each; the linear layer has two tensors.
    assert len(learnt) == 4 * 3 * 2 + 2
    assert all(name.endswith((".up", ".down")) or name.startswith("model.fc.") for name in learnt)


def test_a_captions_embedding_depends_on_its_category_and_on_its_words() -> None:
    folder = packaged_path(CLIP)
    clip, words = load_small_clip(folder), Words.read(folder)
    texts = ["a red ball", "a red ball", "a blue box and a green cone on a sandy floor", "a red ball"]
    found = _c2p_training.category_embeddings(clip, words, texts, [True, False, True, True])
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(found[0], found[3])
    assert cosine_similarity(found[0], found[1], dim=0) < 0.999
    assert cosine_similarity(found[0], found[2], dim=0) < 0.999


def test_an_image_without_a_caption_is_given_the_nearest() -> None:
    network = DeFake.network(**DeFake.sizes()["scenes"]).eval()
    assert isinstance(network, CaptionedDeFake)
    with torch.inference_mode():
        # An image whose embedding is a caption's, at another length, is given that caption.
        assert network.nearest(3 * network.known[[7, 0, 250]]).tolist() == [7, 0, 250]
        x = torch.randn(2, 3, 128, 128)
        captions = [network.captions[number] for number in network.nearest(network.features(x)).tolist()]
        told = network.text_embedding(network.tokens(captions))
        torch.testing.assert_close(network(x), network(x, told), rtol=1e-4, atol=1e-5)
