"""Learning words: which words count, that a tower comes to tell them, that it repeats and resumes exactly."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fakereasoning.config import FakeReasoningConfig
from fakereasoning.model import FakeReasoning
from fakereasoning.pixels import TrainingImages, normalised
from fakereasoning.places import NOTHING, UNKNOWN, Place, Shown, places_loss, words_here
from fakereasoning.records import Record
from fakereasoning.tokenizer import train_tokenizer
from fakereasoning.vision_stage import VisionResult
from fakereasoning.words import Said, WordsHead, WordsRecipe, words_said
from fakereasoning.words_loop import WordsLoop, measured
from fakereasoning.words_stage import train_words
from fdr_bench.errors import DataError, RunError, UsageError
from fdr_bench.store import read_json
from fdr_bench.types import Sample
from tests.fakereasoning.test_stage1 import CLIP_ONLY, CONFIG, SAMPLES

RECIPE = WordsRecipe(rate=3e-3, head_rate=3e-3, batch=16, epochs=3, held_out=0.2)


def answer_of(sample: Sample) -> str:
    """Say what the picture shows: stripes across, stripes down, or noise."""
    said = [text for text in (sample.attributes or {}).values() if text]
    return f"The picture: {' '.join(said)}"


def record(sample: Sample, answer: str, number: int = 0) -> Record:
    return Record(id=f"{sample.id}#{number}", image=sample.image, question="What?", answer=answer, label=None)


RECORDS = [record(sample, answer_of(sample)) for sample in SAMPLES]
# What stands where: the left half of a picture has its words, and in the right half there is a ball in each.
SHOWN = {
    sample.image.location: Shown(
        [Place(0.25, 0.5, 0.25, 1.0, tuple(answer_of(sample).rstrip(".").split()[-1:]))], ("ball",)
    )
    for sample in SAMPLES
}
CODEC = train_tokenizer([each.answer for each in RECORDS] + ["a red ball"] * 4, vocabulary=320)


def fresh(config: FakeReasoningConfig = CONFIG) -> FakeReasoning:
    torch.manual_seed(0)
    return FakeReasoning(replace(config, language={**config.language, "vocab_size": CODEC.vocabulary}))


def train(
    out: Path, *, recipe: WordsRecipe = RECIPE, records: Sequence[Record] = RECORDS, **keywords: Any
) -> VisionResult:
    return train_words(
        fresh(), CODEC, SAMPLES, records, SHOWN, out=out, recipe=recipe, threads=1, quiet=True, **keywords
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> VisionResult:
    return train(tmp_path_factory.mktemp("words"), recipe=WordsRecipe(rate=3e-3, head_rate=3e-3, batch=16, epochs=12))


def test_words_that_all_or_almost_no_images_have_do_not_count() -> None:
    four = SAMPLES[:4]
    answers = ["a red ball", "a red red", "a ball ball", "a ball"]
    records = [record(sample, text) for sample, text in zip(four, answers, strict=True)]
    # A second answer about the last image adds to its words.
    records.append(record(four[3], "a red", 1))
    said = words_said(records, [sample.image.location for sample in four], CODEC, WordsRecipe(commonest=0.9))
    # "a" is said of all.
    assert [CODEC.decode([token]) for token in said.ids] == [" red", " ball"]
    assert said.told.T.tolist() == [[True, True, False, True], [True, False, True, True]]
    rare = WordsRecipe(rarest=0.5, commonest=0.74)
    with pytest.raises(DataError, match="nothing to tell them apart"):
        words_said(records, [sample.image.location for sample in four], CODEC, rare)


def test_a_place_says_its_words_where_the_thing_is_and_nothing_far_from_it() -> None:
    ball = Place(across=0.375, down=0.375, half_width=0.05, half_height=0.05, words=("red", "ball"))
    touched = Place(across=0.9, down=0.9, half_width=0.02, half_height=0.02, words=())
    here = words_here({"one": Shown([ball, touched], ("ball",))}, ["one", "other"], CODEC, 4)
    assert [CODEC.decode([token]) for token in here.ids] == [" red", " ball"]
    assert here.told.tolist() == [[True, True]]
    # Where nothing stands there is what is behind; of the other image nothing is known.
    assert here.behind.tolist() == [[False, True], [False, False]]
    # The ball lies in the second patch of the second row; the last patch holds what nothing is known of.
    expected = np.full(16, NOTHING)
    expected[5], expected[15] = 0, UNKNOWN
    assert here.rows[0].tolist() == expected.tolist()
    assert (here.rows[1] == UNKNOWN).all()


def test_the_nearer_thing_hides_the_farther_and_the_edge_of_a_thing_counts_for_nothing() -> None:
    far = Place(across=0.5, down=0.5, half_width=0.4, half_height=0.2, words=("red",))
    near = Place(across=0.6, down=0.5, half_width=0.05, half_height=0.05, words=("ball",))
    here = words_here({"one": Shown([far, near])}, ["one"], CODEC, 8)
    rows = here.rows[0].reshape(8, 8)
    assert rows[4, 4] == 1 and rows[3, 3] == 0 and rows[4, 6] == 0
    # Half a picture above the middle nothing is; between, an ellipse 1.8 times as large is left out.
    assert rows[0, 4] == NOTHING and rows[1, 4] == UNKNOWN
    assert here.told.tolist() == [[True, False], [False, True]]


def test_without_places_there_are_no_words_of_places() -> None:
    here = words_here({}, ["one", "other"], CODEC, 2)
    assert here.ids == () and here.told.shape == (0, 0) and here.behind.shape == (2, 0) and (here.rows == UNKNOWN).all()


def test_images_of_which_the_same_is_said_teach_nothing() -> None:
    records = [record(sample, "the same") for sample in SAMPLES[:4]]
    with pytest.raises(DataError, match="nothing to tell them apart"):
        words_said(records, [sample.image.location for sample in SAMPLES[:4]], CODEC, RECIPE)


def test_held_out_images_words_are_told(trained: VisionResult) -> None:
    first, last = trained.card["history"][0], trained.card["history"][-1]
    # It begins with the shares of the words, and ends far better.
    assert first["loss"] == pytest.approx(first["blind"], rel=0.1)
    assert last["loss"] < 0.7 * last["blind"]
    assert last["precision"] > 0.8 > last["blind_precision"] + 0.2
    assert first["place_precision"] < 0.7 and last["place_precision"] > 0.9


def test_tower_projector_and_the_embeddings_of_these_words_alone_change(trained: VisionResult) -> None:
    before, after = fresh().state_dict(), trained.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    embeddings = "language.model.embed_tokens.weight"
    assert {name.partition(".")[0] for name in changed - {embeddings}} == {"clip", "clip_projector"}
    assert embeddings in changed


def test_the_card_says_which_words_were_learnt(trained: VisionResult) -> None:
    card = trained.card
    assert card["kind"] == "words" and " across" in card["words"] and " picture" not in card["words"]
    assert card["n_held_out"] + card["trained_on"]["n_real"] + card["trained_on"]["n_fake"] == len(SAMPLES)


def test_a_killed_training_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = WordsLoop.advance

    def killed(self: WordsLoop, fraction: float) -> None:
        if self.position == 6:
            raise KeyboardInterrupt
        advance(self, fraction)

    recipe = replace(RECIPE, muon=3.0)
    train(tmp_path / "whole", recipe=recipe)
    monkeypatch.setattr(WordsLoop, "advance", killed)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", recipe=recipe, checkpoint_seconds=0)
    monkeypatch.setattr(WordsLoop, "advance", advance)
    train(tmp_path / "parts", recipe=recipe)
    written = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert written[0] == written[1]
    with pytest.raises(RunError, match="another training"):
        train(tmp_path / "parts", recipe=recipe, seed=1)


def test_the_loss_is_a_cross_entropy_of_every_word_by_itself() -> None:
    said = Said((300, 310), np.array([[True, False]] * len(SAMPLES)))
    here = words_here(SHOWN, [sample.image.location for sample in SAMPLES], CODEC, 4)
    images = np.arange(4)
    files = TrainingImages([sample.image for sample in SAMPLES], 16)
    loop = WordsLoop(fresh(), files, said, here, np.arange(64), np.arange(64, 80), recipe=RECIPE, seed=0)
    loop.model.eval()
    loop.heads.eval()
    total, (a_word, a_place) = loop.losses(images, loop.images.take(images))
    with torch.no_grad():
        tokens = loop.tokens(loop.towers, normalised(files.take(images)))
        logits, places = loop.heads(list(tokens.values()))
        first = loop.model.clip_projector(tokens["clip"])[0]
        embeddings = loop.model.language.get_input_embeddings().weight.detach()
    # Before any step the normalisation knows nothing: mean 0 and variance 1.
    said_at = [[float(place @ word) / math.sqrt(1 + 1e-5) for place in first] for word in embeddings[[300, 310]]]
    means = [math.log(sum(map(math.exp, said)) / len(said)) for said in said_at]
    # One word is said of all, the other of none: at first that is all that is known.
    known = [math.log(0.999 / 0.001), math.log(0.001 / 0.999)]
    assert logits[0].tolist() == pytest.approx([a + b for a, b in zip(known, means, strict=True)], rel=1e-4)
    things, nothing = places_loss(places, here, images)
    on, off, rows = [], [], here.rows[images]
    for image, place in np.ndindex(rows.shape):
        for word in range(len(here.ids)):
            x = float(places[image, place, word])
            said = here.told[rows[image, place]] if rows[image, place] >= 0 else here.behind[image]
            told = bool(said[word])
            (on if rows[image, place] >= 0 else off if rows[image, place] == NOTHING else []).append(
                math.log1p(math.exp(-x if told else x))
            )
    assert things.item() == pytest.approx(sum(on) / (rows >= 0).sum(), rel=1e-4)
    assert nothing.item() == pytest.approx(sum(off) / (rows == NOTHING).sum(), rel=1e-4) and len(off)
    assert a_place.item() == pytest.approx(things.item() / len(here.ids), rel=1e-5)
    naive = [
        -math.log(1 / (1 + math.exp(-row[0].item()))) - math.log(1 - 1 / (1 + math.exp(-row[1].item())))
        for row in logits
    ]
    words = total.item() - things.item() - nothing.item()
    assert words == pytest.approx(sum(naive) / 4, rel=1e-3)
    # What is left when the places' parts are taken away has lost some of its digits.
    assert a_word.item() == pytest.approx(words / 2, rel=1e-3)


def test_the_folded_projector_gives_what_the_head_has_seen() -> None:
    model = fresh()
    head = WordsHead(model, "clip", (300, 310), (300,))
    tokens = torch.randn(6, 9, 16, generator=torch.Generator().manual_seed(0)) * 3 + 1
    for _ in range(3):
        head([tokens])
    head.eval()
    with torch.no_grad():
        seen = head.spread(head.projector(tokens).flatten(0, 1))
        before = head([tokens])
        head.fold()
        torch.testing.assert_close(model.clip_projector(tokens).flatten(0, 1), seen, atol=1e-5, rtol=1e-5)
        # Folded twice nothing more happens, but for the epsilon of the normalisation.
        for one, other in zip(head([tokens]), before, strict=True):
            torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_what_is_measured_against_not_looking() -> None:
    told = np.array([[True, True], [False, True], [True, True], [False, True]])
    logits = np.array([[2.0, 0.0], [1.0, 0.0], [3.0, 0.0], [-1.0, 0.0]])
    found = measured(logits, told, np.array([0.5, 0.9]))
    # The second word is said of all, so it has no precision; the first is ranked right.
    assert found.precision == 1.0 and found.blind_precision == 0.5
    assert found.blind == pytest.approx((math.log(2) - math.log(0.9)) / 2, rel=1e-6)
    nothing = measured(logits[:, 1:], told[:, 1:], np.array([0.9]))
    assert math.isnan(nothing.precision) and math.isnan(nothing.blind_precision)


def test_a_tower_that_the_model_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'dino', which the model has not"):
        train_words(
            fresh(CLIP_ONLY), CODEC, SAMPLES, RECORDS, out=tmp_path, recipe=WordsRecipe(tower="dino"), quiet=True
        )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tower": "clap"}, "Did you mean 'clip'"),
        ({"rarest": 0.5, "commonest": 0.4}, "the first below the second"),
        ({"batch": 1}, "at least 2"),
        ({"rate": 0}, "above 0"),
        ({"held_out": 1.0}, "a share from 0 to 0.9"),
        ({"weight_decay": -1}, "not be below 0"),
        ({"precision": "fp8"}, "fp32 or bf16"),
        ({"step": 3}, "Did you mean 'steps'"),
    ],
)
def test_a_recipe_survives_json_and_names_what_cannot_be(wrong: dict[str, Any], message: str) -> None:
    recipe = WordsRecipe(betas=(0.8, 0.9), steps=3)
    assert WordsRecipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    with pytest.raises(UsageError, match=message):
        WordsRecipe.from_json(wrong)


def test_the_folder_is_read_back(tmp_path: Path) -> None:
    result = train(tmp_path, recipe=WordsRecipe(rate=3e-3, batch=16, steps=2, held_out=0.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card.json", "config.json", "model.safetensors"]
    # Nothing is held out, so nothing is measured.
    assert [sorted(row) for row in read_json(tmp_path / "card.json")["history"]] == [
        ["epoch", "seconds", "steps"],
        ["epoch", "places", "seconds", "steps", "words"],
    ]
    again = FakeReasoning.from_pretrained(tmp_path)
    assert all((a == b).all() for a, b in zip(again.parameters(), result.model.parameters(), strict=True))
