"""The base model asked zero-shot: which question, what is read from its words, and what is said without its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fakereasoning.model import FakeReasoning as Model
from fakereasoning.zero_shot import QUESTIONS, VLMNano
from fdr_bench.errors import UsageError, WeightsError
from fdr_bench.selftest import DETECTOR_CHECKS, run_selftest
from fdr_bench.weights import locate
from tests.baselines.made import picture
from tests.fakereasoning import small


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the base stage leaves it, of an untrained model."""
    place = tmp_path_factory.mktemp("base")
    codec = small.codec(small.records(place / "pictures", 4))
    prompt = max(len(codec.prompt(question)) for question in QUESTIONS.values()) + small.PATCHES
    torch.manual_seed(3)
    model = Model(replace(small.config(codec.vocabulary), max_length=prompt + 24)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    model.save_pretrained(place / "weights")
    codec.save(place / "weights")
    return place / "weights"


def test_it_keeps_the_contract_of_detectors(folder: Path) -> None:
    results = run_selftest(VLMNano, preset="scenes", weights={"weights": folder})
    assert {result.name: result.detail for result in results if result.passed is False} == {}
    assert set(DETECTOR_CHECKS) <= {result.name for result in results}


def test_the_view_is_the_question_and_changes_the_answer(folder: Path) -> None:
    images = [picture(30, 30, seed) for seed in range(4)]
    asked = {}
    for view in QUESTIONS:
        made = VLMNano(weights={"weights": folder}, view=view)
        assert made.answerer.codec.prompt(made.question) == made.answerer.codec.prompt(QUESTIONS[view])
        asked[view] = [(each.raw, each.score) for each in made.predict(images)]
    assert asked["real-first"] != asked["fake-first"]
    usual = VLMNano(weights={"weights": folder})
    assert [(each.raw, each.score) for each in usual.predict(images)] == asked["real-first"]
    with pytest.raises(UsageError, match="Did you mean 'real-first'"):
        VLMNano(weights={"weights": folder}, view="real-frist")


def test_a_text_without_a_conclusion_has_a_score_and_no_verdict(folder: Path) -> None:
    (made,) = VLMNano(weights={"weights": folder}).predict([picture(30, 30)])
    assert made.score is not None and 0 <= made.score <= 1
    assert (made.verdict, made.score_source) == (None, "cpm-forced")
    assert made.reasoning == (made.raw or "").strip() or made.reasoning is None


def test_without_its_weights_it_says_how_to_train_them() -> None:
    (weights,) = VLMNano.card.presets["scenes"].weights
    try:
        assert locate(weights).exists()
    except WeightsError as error:
        assert "--stages words,base" in str(error) and "--weights vlm-nano=" in str(error)
