"""Learning words: which words count, that a tower comes to tell them, that it repeats and resumes exactly."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fakereasoning.model import FakeReasoning
from fakereasoning.records import Record
from fakereasoning.vision_stage import VisionResult
from fakereasoning.words import Said, WordsRecipe, words_said
from fakereasoning.words_loop import WordsLoop, measured
from fakereasoning.words_stage import train_words
from fdr_bench.errors import DataError, RunError, UsageError
from fdr_bench.store import read_json
from fdr_bench.types import Sample
from tests.fakereasoning.test_stage1 import CLIP_ONLY, SAMPLES, fresh

RECIPE = WordsRecipe(rate=3e-3, head_rate=3e-3, batch=16, epochs=3, held_out=0.2)


def answer_of(sample: Sample) -> str:
    """Say what the picture shows: stripes across, stripes down, or noise."""
    said = [text for text in (sample.attributes or {}).values() if text]
    return f"The picture: {' '.join(said)}"


def record(sample: Sample, answer: str, number: int = 0) -> Record:
    return Record(id=f"{sample.id}#{number}", image=sample.image, question="What?", answer=answer, label=None)


RECORDS = [record(sample, answer_of(sample)) for sample in SAMPLES]


def train(
    out: Path, *, recipe: WordsRecipe = RECIPE, records: Sequence[Record] = RECORDS, **keywords: Any
) -> VisionResult:
    return train_words(fresh(), SAMPLES, records, out=out, recipe=recipe, threads=1, quiet=True, **keywords)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> VisionResult:
    return train(tmp_path_factory.mktemp("words"), recipe=WordsRecipe(rate=3e-3, head_rate=3e-3, batch=16, epochs=12))


def test_words_that_all_or_almost_no_images_have_do_not_count() -> None:
    four = SAMPLES[:4]
    answers = ["A red ball, red", "a BLUE ball", "a red box; it's", "a blue box"]
    records = [record(sample, text) for sample, text in zip(four, answers, strict=True)]
    # A second answer about the first image adds to its words.
    records.append(record(four[0], "It is on the left.", 1))
    said = words_said(records, [sample.image.location for sample in four], WordsRecipe(rarest=0.3, commonest=0.9))
    # "it" is said of the first and the third ("it's" holds it); "on" and "left" of one in four, "a" of all.
    assert said.words == ("ball", "blue", "box", "it", "red")
    assert said.told.tolist() == [
        [True, False, False, True, True],
        [True, True, False, False, False],
        [False, False, True, True, True],
        [False, True, True, False, False],
    ]


def test_images_of_which_the_same_is_said_teach_nothing() -> None:
    records = [record(sample, "the same") for sample in SAMPLES[:4]]
    with pytest.raises(DataError, match="nothing to tell them apart"):
        words_said(records, [sample.image.location for sample in SAMPLES[:4]], RECIPE)


def test_held_out_images_words_are_told(trained: VisionResult) -> None:
    first, last = trained.card["history"][0], trained.card["history"][-1]
    # It begins with the shares of the words, and ends far better.
    assert first["loss"] == pytest.approx(first["blind"], rel=0.1)
    assert last["loss"] < 0.7 * last["blind"]
    assert last["precision"] > 0.8 > last["blind_precision"] + 0.2


def test_only_the_tower_of_the_recipe_changes(trained: VisionResult) -> None:
    before, after = fresh().state_dict(), trained.model.state_dict()
    assert {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])} == {"clip"}


def test_the_card_says_which_words_were_learnt(trained: VisionResult) -> None:
    card = trained.card
    assert card["kind"] == "words" and "across" in card["words"] and "picture" not in card["words"]
    assert card["n_held_out"] + card["trained_on"]["n_real"] + card["trained_on"]["n_fake"] == len(SAMPLES)


def test_a_killed_training_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = WordsLoop.advance

    def killed(self: WordsLoop, fraction: float) -> None:
        if self.position == 6:
            raise KeyboardInterrupt
        advance(self, fraction)

    train(tmp_path / "whole")
    monkeypatch.setattr(WordsLoop, "advance", killed)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", checkpoint_seconds=0)
    monkeypatch.setattr(WordsLoop, "advance", advance)
    train(tmp_path / "parts")
    written = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert written[0] == written[1]
    with pytest.raises(RunError, match="another training"):
        train(tmp_path / "parts", seed=1)


def test_the_loss_is_a_cross_entropy_of_every_word_by_itself() -> None:
    said = Said(("one", "two"), np.array([[True, False]] * len(SAMPLES)))
    images = np.arange(4)
    from fakereasoning.pixels import TrainingImages, normalised

    files = TrainingImages([sample.image for sample in SAMPLES], 16)
    loop = WordsLoop(fresh(), files, said, np.arange(64), np.arange(64, 80), recipe=RECIPE, seed=0)
    loop.model.eval()
    loop.heads.eval()
    total, (a_word,) = loop.losses(images, np.random.default_rng(0))
    with torch.no_grad():
        tokens = loop.tokens(loop.towers, normalised(files.take(images)))
        logits = loop.heads(list(tokens.values())).double()
    naive = [
        -math.log(1 / (1 + math.exp(-row[0].item()))) - math.log(1 - 1 / (1 + math.exp(-row[1].item())))
        for row in logits
    ]
    assert total.item() == pytest.approx(sum(naive) / 4, rel=1e-4)
    assert a_word.item() == pytest.approx(total.item() / 2, rel=1e-6)


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
            FakeReasoning(CLIP_ONLY), SAMPLES, RECORDS, out=tmp_path, recipe=WordsRecipe(tower="dino"), quiet=True
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
        ["epoch", "seconds", "steps", "words"],
    ]
    again = FakeReasoning.from_pretrained(tmp_path)
    assert all((a == b).all() for a, b in zip(again.parameters(), result.model.parameters(), strict=True))
