"""What a training begins with, where the language model is a Llama: its tokenizer, its prompt and its questions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakereasoning import pipeline
from fakereasoning.answering import load
from fakereasoning.pipeline import Plan, train_stage
from fakereasoning.prompts import OFFICIAL_EVAL_IDS, OFFICIAL_TRAIN_IDS
from fakereasoning.starting import read_start
from fakereasoning.tokenizer import LlamaCodec
from fakereasoning.training import TuneResult
from fdr_bench.errors import UsageError
from tests.data.trees import grow
from tests.fakereasoning import small
from tests.fakereasoning.spoken import answer
from tests.fakereasoning.test_tokenizer import llama

ASKED = "<image>\nIs it real?"


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """Write a small model with Llama's tokenizer, as a conversion leaves it: with the prompt of the inference."""
    folder = tmp_path / "start"
    small.model(max(llama().get_vocab().values()) + 1).save_pretrained(folder)
    LlamaCodec(llama(), OFFICIAL_EVAL_IDS).save(folder)
    return folder


@pytest.fixture
def plan(tmp_path: Path, start: Path) -> Plan:
    """A plan for one step of tuning on two images that a training json tells of."""
    grow(tmp_path, ["train/1.png", "train/2.png"])
    rows = [("train/1.png", answer(0)), ("train/2.png", answer(1))]
    content = [{"image": image, "conversations": [{"value": ASKED}, {"value": text}]} for image, text in rows]
    (tmp_path / "cot.json").write_text(json.dumps(content))
    data = f"mmfr:{tmp_path / 'cot.json'}"
    return Plan(data=data, out=tmp_path / "out", start=start, steps=1, threads=1, quiet=True)


def test_a_folder_with_llamas_tokenizer_can_be_continued_with_the_training_prompt(start: Path) -> None:
    begun = read_start(start)
    assert isinstance(begun.codec, LlamaCodec)
    assert begun.codec.prompt() == list(OFFICIAL_TRAIN_IDS)
    assert begun.codec.encode("<CONCLUSION> This") == LlamaCodec(llama()).encode("<CONCLUSION> This")


def test_a_folder_trained_here_asks_as_it_was_trained(plan: Plan) -> None:
    plan = replace(plan, recipe="mmfr")
    train_stage(plan, "tune")
    assert load(plan.start or plan.out).codec.prompt() == list(OFFICIAL_EVAL_IDS)
    assert load(plan.out).codec.prompt() == list(OFFICIAL_TRAIN_IDS)
    again = replace(plan, start=plan.out, out=plan.out.parent / "again")
    assert load(train_stage(again, "tune")).codec.prompt() == list(OFFICIAL_TRAIN_IDS)


def test_what_the_data_do_not_know_is_refused_with_the_recipe_that_does_not_ask(plan: Plan) -> None:
    with pytest.raises(UsageError, match=r"cot\.json' has no scene graphs.* --recipe mmfr needs none"):
        train_stage(plan, "tune")


@pytest.mark.parametrize(
    ("recipe", "fields", "asked"),
    [
        ("mmfr", {}, None),
        ("mmfr", {"questions": "recorded"}, ASKED),
        ("official-13b", {"lora": None}, ASKED),
        ("official-13b", {"lora": None, "questions": "own"}, None),
    ],
)
def test_the_recipe_says_whose_question_is_learnt_with(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, recipe: str, fields: dict[str, Any], asked: str | None
) -> None:
    seen = []

    def tune(model, codec, records, **_):
        seen.extend(record.question for record in records)
        return TuneResult(model, {})

    monkeypatch.setattr(pipeline, "tune", tune)
    train_stage(replace(plan, recipe=recipe, changes={"tune": fields}), "tune")
    assert seen == [asked, asked]
