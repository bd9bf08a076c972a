"""Generation: batches give what single rows give, the score is the verdict's, and nothing depends on neighbours."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fakereasoning import decoding
from fakereasoning.decoding import Step
from fakereasoning.generation import generate
from fakereasoning.model import FakeReasoning
from fdr_bench.errors import UsageError
from tests.fakereasoning.filled import filled_model, fixtures, read
from tests.fakereasoning.filled import noise as fixture_noise
from tests.fakereasoning.numbers import QUESTIONS, TOKENS, VOCABULARY, Numbers, answers, next_logits
from tests.fakereasoning.tiny import noise, tiny_model


@pytest.fixture(scope="module")
def model() -> FakeReasoning:
    return tiny_model(tied=False)


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return noise(len(QUESTIONS), 3, 16, 16, seed=3)


class Watched:
    """The logits of every step of every row of one batch, (steps, V) a row."""

    def __init__(self) -> None:
        self.seen: dict[int, list[Tensor]] = {}

    def __call__(self, step: Step) -> None:
        assert step.logits.shape == (len(step.rows), VOCABULARY) and len(step.ids) == len(step.rows)
        for row, logits in zip(step.rows, step.logits, strict=True):
            self.seen.setdefault(row, []).append(logits)

    def of(self, row: int) -> Tensor:
        return torch.stack(self.seen[row])


def twin(model: FakeReasoning, codec: Numbers, question: str, pixels: Tensor, count: int) -> list[int]:
    """Return the greedy continuation, token by token with `next_logits`."""
    ids: list[int] = []
    for _ in range(count):
        ids.append(int(next_logits(model, codec, question, pixels, ids).argmax()))
    return ids


# ---------------------------------------------------------------- batches


def test_a_batch_of_unequal_prompts_gives_each_row_the_logits_and_tokens_it_has_alone(model, pixels):
    codec, together = Numbers(VOCABULARY), Watched()
    batched = answers(model, codec, pixels, watch=together)
    lengths = [len(codec.prompt(question)) for question in QUESTIONS]
    assert len(set(lengths)) > 2
    # Within the one batch rows stand in the order of their lengths.
    place = {index: place for place, index in enumerate(sorted(range(len(lengths)), key=lengths.__getitem__))}
    margins, differences = [], []
    for index, question in enumerate(QUESTIONS):
        watched = Watched()
        (single,) = answers(model, codec, pixels[index][None], questions=[question], watch=watched)
        assert single.ids == batched[index].ids and len(single.ids) == TOKENS
        differences.append(float((watched.of(0) - together.of(place[index])).abs().max()))
        best = watched.of(0).topk(2, dim=1).values
        margins.append(float((best[:, 0] - best[:, 1]).min()))
    assert max(differences) < 1e-4
    # The tokens would hardly be equal by luck, nor are they equal because all logits are.
    assert min(margins) > 10 * max(differences)
    assert len({answer.ids for answer in batched}) == len(QUESTIONS)


def test_generation_is_what_whole_passes_without_cache_and_transformers_itself_give(model, pixels):
    codec = Numbers(VOCABULARY)
    for index, answer in enumerate(answers(model, codec, pixels)):
        assert list(answer.ids) == twin(model, codec, QUESTIONS[index], pixels[index], TOKENS)
    with torch.no_grad():
        tokens = model.image_tokens(model.visual_features(pixels[:1]))
        embeds = model.embed(torch.tensor([codec.prompt(QUESTIONS[0])]), tokens).embeds
        (theirs,) = model.language.generate(
            inputs_embeds=embeds,
            attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long),
            max_new_tokens=TOKENS,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        ).tolist()
    assert list(answers(model, codec, pixels)[0].ids) == theirs


@pytest.mark.goldens
@pytest.mark.parametrize("path", fixtures("tiny"), ids=lambda path: path.parent.name)
def test_tokens_are_those_of_the_official_code(path):
    figures = read(path)
    model = filled_model(figures)
    for case in ("single", "batch"):
        told = figures["cases"][case]
        expected = told["generate"]
        lengths = expected.get("prompt_lengths") or [expected["prompt_length"]]
        codec = Numbers(32000, eos=2)
        prompts = [row[:length] for row, length in zip(told["input_ids"], lengths, strict=True)]
        codec.prompt = lambda question, prompts=prompts: prompts[int(question)]
        found = generate(
            model,
            codec,
            pixels=fixture_noise(told["pixels"]),
            questions=[str(number) for number in range(len(prompts))],
            max_new_tokens=12,
            forced=False,
        )
        wanted = expected["padding_side_left"] if case == "batch" else expected["new_tokens"]
        assert [list(answer.ids) for answer in found] == wanted


@pytest.mark.parametrize("sparse", [1.0, 0.75, 0.0])
def test_rows_end_where_they_say_so_and_their_going_changes_nothing_for_the_others(model, pixels, monkeypatch, sparse):
    free = answers(model, Numbers(VOCABULARY), pixels)
    eos = free[0].ids[5]
    ends = [answer.ids.index(eos) if eos in answer.ids else None for answer in free]
    assert None in ends and ends[0] is not None
    monkeypatch.setattr(decoding, "SPARSE", sparse)
    ended = answers(model, Numbers(VOCABULARY, eos=eos), pixels)
    assert [answer.ids for answer in ended] == [a.ids[:end] for a, end in zip(free, ends, strict=True)]
    assert [answer.stopped for answer in ended] == ["length" if end is None else "eos" for end in ends]


def test_results_come_in_the_order_of_the_images_whatever_the_size_of_batches(model, pixels):
    codec = Numbers(VOCABULARY)
    whole = answers(model, codec, pixels)
    for batch in (1, 2, 3):
        parts = answers(model, codec, pixels, batch=batch)
        assert [answer.ids for answer in parts] == [answer.ids for answer in whole]
        assert [answer.score for answer in parts] == pytest.approx([answer.score for answer in whole], abs=1e-5)


def test_features_give_the_same_as_their_pixels(model, pixels):
    codec = Numbers(VOCABULARY)
    with torch.no_grad():
        features = model.visual_features(pixels)
    found = generate(model, codec, features=features, questions=QUESTIONS, max_new_tokens=TOKENS)
    assert [answer.ids for answer in found] == [answer.ids for answer in answers(model, codec, pixels)]


# ---------------------------------------------------------------- near-ties


def shaken(model: FakeReasoning, hidden: Tensor) -> Tensor:
    """Return logits with noise in their last digits wherever rows stand together, another at every call."""
    logits = model.language.lm_head(hidden).float()
    return logits + 3e-6 * torch.randn(logits.shape) if len(logits) > 1 else logits


@pytest.fixture
def tied_model() -> FakeReasoning:
    """A model with every token there twice: 0 and 25 have the same row in the last layer, and so on."""
    model = tiny_model(tied=False)
    half = VOCABULARY // 2
    with torch.no_grad():
        model.language.lm_head.weight[half:] = model.language.lm_head.weight[:half]
    return model


def test_a_near_tie_falls_as_it_falls_alone(tied_model, pixels, monkeypatch):
    codec = Numbers(VOCABULARY)
    alone = [
        answers(tied_model, codec, pixels[index][None], questions=[question])[0].ids
        for index, question in enumerate(QUESTIONS)
    ]
    torch.manual_seed(0)
    monkeypatch.setattr(decoding, "logits_of", shaken)
    assert [answer.ids for answer in answers(tied_model, codec, pixels)] == alone
    monkeypatch.setattr(decoding, "CLOSE", 0.0)
    assert [answer.ids for answer in answers(tied_model, codec, pixels)] != alone


def test_a_row_alone_is_computed_from_its_pixels_and_not_from_features_of_the_batch(model, pixels, monkeypatch):
    calls = []
    whole = FakeReasoning.visual_features

    def counted(self, given):
        calls.append(len(given))
        return whole(self, given)

    monkeypatch.setattr(FakeReasoning, "visual_features", counted)
    expected = [answer.ids for answer in answers(model, Numbers(VOCABULARY), pixels)]
    assert calls == [5]
    monkeypatch.setattr(decoding, "CLOSE", 1e9)
    assert [answer.ids for answer in answers(model, Numbers(VOCABULARY), pixels)] == expected
    assert sorted(calls[1:]) == [1, 1, 1, 1, 1, 5]


# ---------------------------------------------------------------- edges


def test_no_images_give_no_answers(model):
    assert generate(model, Numbers(VOCABULARY), pixels=torch.empty(0, 3, 16, 16)) == []


def test_without_questions_every_image_gets_the_models_own(model, pixels):
    found = generate(model, Numbers(VOCABULARY), pixels=pixels, max_new_tokens=3)
    asked = answers(model, Numbers(VOCABULARY), pixels, questions=["2 3"] * 5, max_new_tokens=3)
    assert [answer.ids for answer in found] == [answer.ids for answer in asked]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pixels": None}, "either as pixels or as features"),
        ({"questions": ["1"]}, "1 questions came for 5 images"),
        ({"questions": [" ".join(["7"] * 35)] * 5}, "a prompt takes 40 positions .* the model has 40"),
        ({"temperature": -1.0}, "temperature -1.0"),
        ({"temperature": math.nan}, "temperature nan"),
        ({"temperature": 1.0, "keys": ["a"]}, "1 keys came for 5 images"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"batch": 0}, "batch 0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_what_was_expected(model, pixels, options, message):
    with pytest.raises(UsageError, match=message):
        generate(model, Numbers(VOCABULARY), **{"pixels": pixels} | options)


def test_drawing_on_features_needs_keys(model, pixels):
    with torch.no_grad():
        features = model.visual_features(pixels)
    with pytest.raises(UsageError, match="needs keys"):
        generate(model, Numbers(VOCABULARY), features=features, temperature=0.5)


def test_a_model_in_training_writes_as_in_evaluation_and_goes_on_training(model, pixels):
    expected = [answer.ids for answer in answers(model, Numbers(VOCABULARY), pixels)]
    model.train()
    try:
        assert [answer.ids for answer in answers(model, Numbers(VOCABULARY), pixels)] == expected
        assert model.training
    finally:
        model.eval()


def test_half_precision_writes_and_scores(pixels):
    model = tiny_model(tied=False).to(torch.bfloat16)
    for answer in answers(model, Numbers(VOCABULARY), pixels):
        assert len(answer.ids) == TOKENS and 0 <= (answer.score or -1) <= 1


@pytest.mark.gpu
def test_a_gpu_writes_the_same_in_a_batch_as_alone(pixels):
    model = tiny_model(tied=False).to("cuda")
    codec = Numbers(VOCABULARY)
    for index, answer in enumerate(answers(model, codec, pixels)):
        single = answers(model, codec, pixels[index][None], questions=[QUESTIONS[index]])[0]
        assert single.ids == answer.ids and single.score == pytest.approx(answer.score, abs=1e-4)
