"""The family vlm: names, options, keys, and what a detector of it says, from the command line on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from baselines._vlm_answering import Answerer, Question
from baselines._vlm_entries import ENTRIES
from baselines._vlm_loading import load
from baselines.vlm import VLM, LocalVLM
from fdr_bench import families, models
from fdr_bench.cli import main
from fdr_bench.errors import UsageError, WeightsError
from fdr_bench.prompts import shipped
from tests.baselines.made import picture
from tests.baselines.tiny_vlms import write


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write("qwen2_5_vl", tmp_path_factory.mktemp("tiny") / "tiny-qwen")


def resolved(name: str, **options: str) -> models.Resolved:
    (candidate,), _ = models.candidates([name], [], {}, options)
    preset = models.preset_of(candidate, None, "official")
    return models.resolve_model(candidate, preset, None, "cpu", "")


def detector(folder: Path, prompt: str, **options: str) -> LocalVLM:
    factory = VLM(str(folder), options)
    return factory(preset=prompt, device="cpu", weights={"model": folder}, view=None)


@pytest.mark.parametrize("prompt", shipped())
def test_every_prompt_gives_a_score_of_the_kind_that_it_asks_for(folder: Path, prompt: str) -> None:
    images = [picture(40, 30, seed) for seed in range(3)]
    made = detector(folder, prompt, **{"max-tokens": "4"}).predict(images)
    assert len(made) == 3 and len({each.score for each in made}) == 3
    assert all(each.score is not None and 0 <= each.score <= 1 and each.raw is not None for each in made)
    first = shipped()[prompt]["real-first"]
    assert {each.score_source for each in made} == {"cpm-forced" if first.verdict_after else "label_logits"}


def test_a_written_verdict_is_scored_where_it_stands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model's own words are put into its mouth; the logits are its own."""
    answerer = detector(folder, "reasoned").answerer
    tokenizer = answerer.processor.tokenizer
    ids = tokenizer("Odd light. This image is fake.", add_special_tokens=False)["input_ids"]
    inputs = answerer.inputs([picture(40, 30)])
    generate = answerer.model.generate

    def told(**asked: object) -> torch.Tensor:
        steps, row = asked["logits_processor"], inputs["input_ids"]
        for index in [*ids, tokenizer.eos_token_id]:
            logits = generate(
                **{**inputs, **_grown(inputs, row)}, max_new_tokens=1, output_logits=True, return_dict_in_generate=True
            ).logits[0]
            for step in steps:
                step(row, logits)
            row = torch.cat([row, torch.tensor([[index]])], 1)
        return row

    monkeypatch.setattr(answerer.model, "generate", told)
    (said,) = answerer.answer([picture(40, 30)])
    monkeypatch.undo()
    assert (said.text, said.truncated, said.score_source) == ("Odd light. This image is fake.", False, "cpm")
    before = tokenizer("Odd light. This image is", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        row = torch.cat([inputs["input_ids"], torch.tensor([before])], 1)
        logits = answerer.model(**{**inputs, **_grown(inputs, row)}).logits[0, -1]
    assert answerer.tokens is not None
    real, fake = (logits[list(each)].logsumexp(0) for each in answerer.tokens)
    assert said.score == pytest.approx(float((fake - real).sigmoid()), abs=1e-5)


def _grown(inputs: dict[str, torch.Tensor], row: torch.Tensor) -> dict[str, torch.Tensor]:
    more = row.shape[1] - inputs["input_ids"].shape[1]
    kinds = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, more))
    return {"input_ids": row, "attention_mask": torch.ones_like(row), "mm_token_type_ids": kinds}


def test_what_is_drawn_follows_from_the_image_and_the_repeat_alone(folder: Path) -> None:
    factory = VLM(str(folder), {"temperature": "1.5", "repeats": "2", "max-tokens": "8"})
    images = [picture(40, 30, seed) for seed in range(3)]

    def texts(view: str) -> list[str | None]:
        made = factory(preset="verdict", device="cpu", weights={"model": folder}, view=view)
        together = [each.raw for each in made.predict(images)]
        assert together == [made.predict([image])[0].raw for image in images]
        return together

    first, second = texts("real-first"), texts("real-first.2")
    assert texts("real-first") == first
    assert first != second
    assert first != [each.raw for each in detector(folder, "verdict", **{"max-tokens": "8"}).predict(images)]


def test_a_batch_that_memory_does_not_hold_is_halved(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    question = Question(text="Q?", words={"real": "real", "fake": "fake"})
    answerer = Answerer(load(folder), question, max_tokens=3, rows=4)
    images = [picture(40, 30, seed) for seed in range(4)]
    whole, generate, seen = answerer.answer(images), answerer.model.generate, []

    def short(**asked: torch.Tensor) -> torch.Tensor:
        seen.append(len(asked["input_ids"]))
        if seen[-1] > 1:
            raise torch.OutOfMemoryError
        return generate(**asked)

    monkeypatch.setattr(answerer.model, "generate", short)
    assert [each.text for each in answerer.answer(images)] == [each.text for each in whole]
    assert seen == [4, 2, 1, 1, 2, 1, 1]


# ---------------------------------------------------------------- names and keys


def test_the_key_has_the_weights_the_prompt_and_the_way_of_answering(folder: Path, tmp_path: Path) -> None:
    name = f"vlm:{folder}"
    other = write("qwen2_5_vl", tmp_path / "tiny-qwen", seed=1)
    keys = [
        resolved(each, **options).key
        for each, options in [
            (name, {}),
            (f"{name}@verdict", {}),
            (f"{name}@reasoned:fake-first", {}),
            (name, {"precision": "bf16"}),
            (name, {"max-tokens": "7"}),
            (name, {"temperature": "0.2"}),
            (f"vlm:{other}", {}),
        ]
    ]
    assert len(set(keys)) == len(keys)
    assert resolved(name, rows="3").key == keys[0]  # how many at a time is no part of an answer
    assert resolved(name).label == "vlm-tiny-qwen@reasoned"


def test_an_entry_that_needs_its_authors_code_says_so_on_its_card_and_is_not_fetched() -> None:
    factory = families.load_detector("vlm:glm-4v-9b")
    note = factory.card.presets["reasoned"].note
    assert note is not None and "vlm:glm-4.1v-9b" in note and "openai:zai-org/glm-4v-9b" in note
    with pytest.raises(WeightsError, match=r"vLLM.*vlm:glm-4\.1v-9b.*trust-code=glm-4v-9b"):
        resolved("vlm:glm-4v-9b")


@pytest.mark.parametrize("name", ENTRIES)
def test_every_named_model_has_a_card(name: str) -> None:
    card = families.load_detector(f"vlm:{name}").card
    assert card.name == f"vlm-{name}" and card.reasons and card.repository == ENTRIES[name].hub
    assert next(iter(card.presets)) == "reasoned"
    assert list(card.presets["verdict"].views) == ["real-first", "fake-first"]


def test_authors_code_is_trusted_for_the_very_name_alone(folder: Path) -> None:
    assert VLM(str(folder), {"trust-code": str(folder)}).trusted
    assert not VLM(str(folder), {"trust-code": "other/model"}).trusted
    assert not VLM(str(folder), {}).trusted


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("llava-1.5", {}, "Did you mean 'llava-1.5-7b'|Did you mean 'llava-1.5-13b'"),
        ("no such folder", {}, "no such folder"),
        ("org/model", {"precision": "fp8"}, "'precision' is fp32, bf16 or fp16, not 'fp8'"),
        ("org/model", {"load": "8bit"}, "'load' is 4bit"),
        ("org/model", {"max-tokens": "0"}, "'max-tokens' is a whole number above 0"),
        ("org/model", {"temperature": "warm"}, "'temperature' is a number from 0 to 2"),
        ("org/model", {"rows": "-1"}, "'rows' is a whole number above 0"),
        ("org/model", {"prompt": "nothing"}, "no prompt is called 'nothing'"),
    ],
)
def test_a_wrong_name_or_option_says_what_was_expected(name: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        VLM(name, options)


def test_predict_asks_a_local_model(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(40, 30).save(tmp_path / "a.png")
    words = ["fdr-bench", "predict", str(tmp_path / "a.png"), "--models", f"vlm:{folder}@verdict", "--json"]
    monkeypatch.setattr("sys.argv", words)
    try:
        code = main()
    except SystemExit as leaving:
        code = leaving.code
    (row,) = json.loads(capsys.readouterr().out)
    assert not code and row["model"] == "vlm-tiny-qwen@verdict"
    assert row["score_source"] == "label_logits" and 0 <= row["score"] <= 1
