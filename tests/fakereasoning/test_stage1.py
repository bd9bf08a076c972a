"""FACL as a stage: what it learns from, that it repeats and resumes exactly, and what it measures."""

import io
import json
import zlib
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image

from fakereasoning.config import FakeReasoningConfig
from fakereasoning.facl_loop import FaclLoop, Material
from fakereasoning.facl_measures import attributes_found, probe_accuracy, zero_shot_accuracy
from fakereasoning.facl_recipe import FaclRecipe
from fakereasoning.model import FakeReasoning
from fakereasoning.pixels import TrainingImages, normalised
from fakereasoning.stage1 import train_facl
from fakereasoning.statements import prototypes, statements, text_vectors
from fdr_bench.errors import DataError, RunError, UsageError
from fdr_bench.store import read_json
from fdr_bench.types import Sample

CONFIG = FakeReasoningConfig(
    vision="clip+dino",
    fusion="faff",
    stem="convolutions", dino_stem="residual",
    clip={"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
          "image_size": 16, "patch_size": 4},
    dino={"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16, "patch_size": 4,
          "use_mask_token": False},
    language={"vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
              "num_attention_heads": 2, "max_position_embeddings": 64},
    fusion_heads=2,
    fusion_hidden=32,
    bias_hidden=4,
    select_layer=-1,
)  # fmt: skip
CLIP_ONLY = replace(CONFIG, vision="clip", fusion="none", dino=None, stem="patch", dino_stem="patch")
RECIPE = FaclRecipe(rates={"dino": 3e-3}, head_rate=3e-3, shift=1, batch=16, epochs=3, held_out=0.2)


class Letters:
    """A sentence encoder that gives each text a random direction of its own."""

    name, width, limit = "letters", 12, 99

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, texts):
        self.encoded += texts
        vectors = np.array([np.random.default_rng(zlib.crc32(t.encode())).normal(size=12) for t in texts], np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def truncated(self, texts):
        return np.zeros(len(texts), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class MemoryImage:
    location: str
    payload: bytes

    @property
    def size(self) -> int:
        return len(self.payload)

    def read(self) -> bytes:
        return self.payload


def sample(number: int, *, fake: bool) -> Sample:
    """Noise; a fake has stripes, down or across, and the sentence that says so."""
    pixels = np.random.default_rng([number, fake]).integers(60, 200, (16, 16, 3), dtype=np.uint8)
    across = number % 2 == 0
    if fake:
        (pixels if across else pixels.transpose(1, 0, 2))[::2] -= 50
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png")
    said = {"Across": "Stripes across." if across else None, "Down": None if across else "Stripes down."}
    name = f"{number:03d}-{'fake' if fake else 'real'}"
    return Sample(
        id=name,
        image=MemoryImage(name, buffer.getvalue()),
        label="fake" if fake else "real",
        generator="gan" if fake else None,
        attributes=said if fake else {"Plain": "Plain noise.", "Grain": "Fine grain." if number % 3 else None},
    )


SAMPLES = [sample(number, fake=bool(fake)) for number in range(40) for fake in (0, 1)]


def fresh(config: FakeReasoningConfig = CONFIG) -> FakeReasoning:
    torch.manual_seed(0)
    return FakeReasoning(config)


def train(out, *, model=None, samples=SAMPLES, recipe=RECIPE, **keywords):
    return train_facl(
        model or fresh(), samples, out=out, recipe=recipe, threads=1, quiet=True, encoder=Letters(), **keywords
    )


def loop(model: FakeReasoning, recipe: FaclRecipe = RECIPE) -> FaclLoop:
    stated = statements(SAMPLES)
    images = TrainingImages([each.image for each in SAMPLES], 16)
    learnt, held = np.arange(64), np.arange(64, 80)
    said = Letters().encode(stated.texts)
    return FaclLoop(model, Material(images, stated, said, learnt, held), recipe=recipe, seed=0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("facl")
    return out, train(out, recipe=replace(RECIPE, epochs=12), facts={"trained_on_spec": "memory"})


def test_the_losses_fall_and_held_out_images_are_told_apart(trained):
    history = trained[1].card["history"]
    assert history[0]["epoch"] == 0 and "cross" not in history[0]
    assert history[-1]["cross"] < 0.6 * history[1]["cross"]
    assert history[-1]["intra"] < 0.6 * history[1]["intra"]
    # 16 held-out images; chance is one half for the classes, and for the direction of a fake's stripes.
    assert history[-1]["probe"] >= 0.9
    assert history[-1]["zero_shot"] >= 0.9
    assert history[-1]["attributes"] >= 0.9


def test_the_folder_holds_the_model_and_a_card_without_paths(trained):
    out, result = trained
    assert sorted(path.name for path in out.iterdir()) == ["card.json", "config.json", "model.safetensors"]
    card = read_json(out / "card.json")
    assert card["kind"] == "facl" and card["trained_on_spec"] == "memory"
    assert card["trained_on"]["n_real"] == card["trained_on"]["n_fake"] == 32
    assert card["trained_on"]["generators"] == ["gan"]
    assert card["attributes"] == ["Across", "Down", "Grain", "Plain"]
    assert str(out) not in json.dumps(card)
    again = FakeReasoning.from_pretrained(out)
    assert all((a == b).all() for a, b in zip(again.parameters(), result.model.parameters(), strict=True))


def test_only_the_towers_that_the_recipe_names_change(trained):
    before, after = fresh().state_dict(), trained[1].model.state_dict()
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"dino"}


def test_a_finished_training_is_returned_as_it_is(trained, monkeypatch):
    out, result = trained
    monkeypatch.setattr(FaclLoop, "run", lambda *_: pytest.fail("it was trained again"))
    again = train(out, recipe=replace(RECIPE, epochs=12))
    assert again.card["identity"] == result.card["identity"]


def test_a_folder_of_another_training_is_refused(trained):
    with pytest.raises(RunError, match="another training"):
        train(trained[0], recipe=replace(RECIPE, epochs=12), seed=1)


def test_a_killed_training_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    # 4 steps an epoch: killed in the middle of the second, and of its own running statistics.
    whole, advance = tmp_path / "whole", FaclLoop.advance

    def killed(self: FaclLoop, fraction: float) -> None:
        if self.position == 6:
            raise KeyboardInterrupt
        advance(self, fraction)

    train(whole)
    monkeypatch.setattr(FaclLoop, "advance", killed)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", checkpoint_seconds=0)
    monkeypatch.setattr(FaclLoop, "advance", advance)
    train(tmp_path / "parts")
    written = [(folder / "model.safetensors").read_bytes() for folder in (whole, tmp_path / "parts")]
    assert written[0] == written[1]
    histories = [read_json(folder / "card.json")["history"] for folder in (whole, tmp_path / "parts")]
    for row in histories[0] + histories[1]:
        row.pop("seconds")
    assert histories[0] == histories[1]


def test_steps_stand_in_for_epochs_and_a_part_of_an_epoch_is_measured(tmp_path):
    history = train(tmp_path, recipe=replace(RECIPE, steps=5)).card["history"]
    assert [row["steps"] for row in history] == [0, 4, 5]


def test_time_that_is_spent_ends_the_training(tmp_path):
    result = train(tmp_path, recipe=replace(RECIPE, epochs=10_000), max_minutes=0.02)
    assert 0 <= result.card["steps"] < 40_000
    assert result.card["max_minutes"] == 0.02


def test_a_tower_that_is_asked_to_keep_what_it_knew_drifts_less():
    def turned(keep: float) -> float:
        model = fresh(CLIP_ONLY)
        one = loop(model, replace(RECIPE, rates={"clip": 3e-3}, keep={"clip": keep}))
        pixels = normalised(one.material.images.take(one.material.held))
        start = model.clip.eval().features(pixels).detach()
        for _ in range(12):
            one.advance(0.3)
        return 1 - torch.cosine_similarity(model.clip.eval().features(pixels), start, dim=-1).mean().item()

    # A linear patch embedding: without a base training, a stack of convolutions has no statistics worth keeping.
    assert turned(30.0) < 0.5 * turned(0.0)


def test_a_model_of_one_tower_has_its_clip_trained_by_default():
    assert list(FaclRecipe().towers(CONFIG)) == ["dino"]
    assert list(FaclRecipe().towers(CLIP_ONLY)) == ["clip"]
    with pytest.raises(UsageError, match="nothing to train"):
        RECIPE.towers(CLIP_ONLY)


def test_an_image_is_never_mirrored():
    # Sentences say left and right.
    assert FaclRecipe().views(16).flip == 0


def test_a_recipe_survives_json_and_names_what_cannot_be():
    recipe = FaclRecipe(rates={"clip": 1e-4}, betas=(0.8, 0.9), steps=3)
    assert FaclRecipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    for wrong, message in (
        ({"rates": {"clap": 1.0}}, "Did you mean 'clip'"),
        ({"cross_weight": 0, "intra_weight": 0}, "no loss"),
        ({"batch": 1}, "at least 2"),
        ({"epoch": 3}, "Did you mean 'epochs'"),
        ({"temperature": "warm"}, 'temperature is "warm"; expected a number'),
    ):
        with pytest.raises(UsageError, match=message):
            FaclRecipe.from_json(wrong)


def test_statements_point_from_images_to_distinct_sentences():
    stated = statements(SAMPLES[:4])
    # 000 real: Plain. 000 fake: Across. 001 real: Plain and Grain. 001 fake: Down.
    assert stated.attributes == ("Across", "Down", "Grain", "Plain")
    assert stated.texts == ("Plain noise.", "Stripes across.", "Fine grain.", "Stripes down.")
    assert stated.sentence.tolist() == [[-1, -1, -1, 0], [1, -1, -1, -1], [-1, -1, 2, 0], [-1, 3, -1, -1]]
    assert stated.forged(np.arange(4)).tolist() == [True, True, False, False]


def test_sentences_are_encoded_once_and_seen_from_their_mean(tmp_path):
    stated, encoder = statements(SAMPLES), Letters()
    learnt = np.arange(40)
    vectors = text_vectors(stated, learnt, encoder, tmp_path)
    again = text_vectors(stated, learnt, encoder, tmp_path)
    assert sorted(encoder.encoded) == sorted(stated.texts)
    assert (vectors == again).all()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    # Before they are brought to unit length, the centred vectors of all mentions add up to 0.
    raw = Letters().encode(stated.texts)
    mentions = [stated.texts.index(t) for s in SAMPLES[:40] for t in s.attributes.values() if t]
    centred = raw - raw[mentions].mean(axis=0)
    assert vectors == pytest.approx(centred / np.linalg.norm(centred, axis=1, keepdims=True), abs=1e-5)
    # Each attribute has one sentence here, which is its prototype.
    assert prototypes(stated, learnt, vectors)[0] == pytest.approx(vectors[stated.texts.index("Stripes across.")])


def test_samples_without_sentences_or_of_one_class_are_refused(tmp_path):
    with pytest.raises(DataError, match="none of the 2 samples has a sentence"):
        train(tmp_path, samples=[replace(each, attributes=None) for each in SAMPLES[:2]])
    with pytest.raises(DataError, match="all 40 samples are real"):
        train(tmp_path, samples=SAMPLES[::2])


def test_the_probe_agrees_with_scikit_learns_ridge():
    from sklearn.linear_model import Ridge
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(0)
    fake = random.random(300) < 0.5
    features = random.normal(size=(300, 8)) + 0.6 * fake[:, None] * (np.arange(8) == 2)
    scaler = StandardScaler().fit(features[:200])
    ridge = Ridge(alpha=0.1 * 200).fit(scaler.transform(features[:200]), np.where(fake[:200], 1, -1))
    fitted = ridge.predict(scaler.transform(features[:200]))
    threshold = (fitted[fake[:200]].mean() + fitted[~fake[:200]].mean()) / 2
    theirs = ridge.predict(scaler.transform(features[200:])) > threshold
    ours = probe_accuracy(features[:200], fake[:200], features[200:], fake[200:])
    assert ours == pytest.approx(balanced_accuracy_score(fake[200:], theirs))
    assert 0.55 < ours < 0.8


def test_a_probe_without_both_classes_does_not_exist():
    assert np.isnan(probe_accuracy(np.ones((2, 1)), np.array([True, True]), np.ones((1, 1)), np.array([True])))


def test_attributes_are_looked_for_among_those_of_fakes_alone():
    forged = np.array([True, True, True, False])
    stated = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=bool)
    fake = np.array([True, True, False])
    # The first fake's two: places 0 and 2 are nearest, one of two right. The second's: place 2, right.
    similarity = np.array([[0.9, 0.1, 0.5, 1.0], [0.1, 0.2, 0.3, 0.9], [0.9, 0.9, 0.9, 0.1]])
    assert attributes_found(similarity, stated, fake, forged) == pytest.approx((0.5 + 1) / 2)
    # By the nearest attribute all three are called real, real and fake: none is right.
    assert zero_shot_accuracy(similarity, fake, forged) == 0
