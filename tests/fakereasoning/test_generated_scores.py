"""The verdict's score behind a generated text, and drawing tokens in place of taking the likeliest."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fakereasoning import decoding, generation
from fakereasoning.cpm import CPMTokens
from fakereasoning.model import FakeReasoning
from tests.fakereasoning.numbers import QUESTIONS, VOCABULARY, Numbers, answers, next_logits
from tests.fakereasoning.tiny import noise, tiny_model


@pytest.fixture(scope="module")
def model() -> FakeReasoning:
    return tiny_model(tied=False)


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return noise(len(QUESTIONS), 3, 16, 16, seed=3)


# ---------------------------------------------------------------- the score


def test_the_score_is_the_softmax_of_the_two_words_behind_the_first_pattern_of_the_text(model, pixels):
    said = answers(model, Numbers(VOCABULARY), pixels)[1].ids
    codec = Numbers(VOCABULARY, pattern=said[6:9], real=30, fake=31)
    first = CPMTokens(codec.cpm.pattern, (30,), (31,)).position(said)
    answer = answers(model, codec, pixels)[1]
    logits = next_logits(model, codec, QUESTIONS[1], pixels[1], said[:first])
    assert answer.k_logits == pytest.approx((float(logits[30]), float(logits[31])), abs=1e-4)
    assert answer.score == pytest.approx(float(logits[[30, 31]].softmax(0)[1]), abs=1e-5)
    assert answer.score_source == "cpm"


def test_a_text_without_the_pattern_is_led_to_it(model, pixels):
    codec = Numbers(VOCABULARY)
    for index, answer in enumerate(answers(model, codec, pixels)):
        assert answer.score_source == "cpm-forced"
        led = [*answer.ids, codec.newline, *codec.cpm.pattern]
        logits = next_logits(model, codec, QUESTIONS[index], pixels[index], led)
        assert answer.score == pytest.approx(float(logits[[44, 45]].softmax(0)[1]), abs=1e-5)
    for answer in answers(model, codec, pixels, forced=False):
        assert answer.score is answer.score_source is answer.k_logits is None


def test_an_empty_text_is_led_to_the_pattern_from_its_prompt(model, pixels):
    eos = answers(model, Numbers(VOCABULARY), pixels)[0].ids[0]
    codec = Numbers(VOCABULARY, eos=eos)
    answer = answers(model, codec, pixels)[0]
    assert (answer.text, answer.ids, answer.stopped) == ("", (), "eos")
    logits = next_logits(model, codec, QUESTIONS[0], pixels[0], codec.cpm.pattern)
    assert answer.score == pytest.approx(float(logits[[44, 45]].softmax(0)[1]), abs=1e-5)


def test_a_text_cut_right_behind_the_pattern_is_not_led_there_again(model, pixels):
    said = answers(model, Numbers(VOCABULARY), pixels)[2].ids
    codec = Numbers(VOCABULARY, pattern=said[:4], real=30, fake=31)
    cut = answers(model, codec, pixels, max_new_tokens=4)[2]
    whole = answers(model, codec, pixels, max_new_tokens=5)[2]
    assert (cut.score_source, whole.score_source) == ("cpm-forced", "cpm")
    assert cut.score == pytest.approx(whole.score, abs=1e-5)


def test_a_text_that_fills_all_positions_leaves_room_for_what_leads_it_to_the_pattern(model, pixels):
    codec = Numbers(VOCABULARY)
    answer = answers(model, codec, pixels, max_new_tokens=1000)[1]
    length = len(codec.prompt(QUESTIONS[1])) + 3
    assert answer.stopped == "length" and len(answer.ids) == 40 - length
    led = [*answer.ids[:-4], codec.newline, *codec.cpm.pattern]
    logits = next_logits(model, codec, QUESTIONS[1], pixels[1], led)
    assert answer.score == pytest.approx(float(logits[[44, 45]].softmax(0)[1]), abs=1e-5)


@pytest.mark.parametrize(("real", "fake"), [(0.0, 0.0), (1.0, 3.0), (900.0, -900.0), (-900.0, 900.0)])
def test_the_score_of_two_logits_is_their_softmax_however_large(real, fake):
    expected = float(torch.tensor([real, fake], dtype=torch.float64).softmax(0)[1])
    assert generation.score_of((real, fake)) == pytest.approx(expected, abs=1e-12)
    hot = float((torch.tensor([real, fake], dtype=torch.float64) / 2.5).softmax(0)[1])
    assert generation.score_of((real, fake), temperature=2.5) == pytest.approx(hot, abs=1e-12)


# ---------------------------------------------------------------- sampling


def test_what_is_drawn_depends_on_the_seed_and_the_image_and_not_on_the_batch(model, pixels):
    codec = Numbers(VOCABULARY)
    options = {"temperature": 1.0, "seed": 4}
    drawn = [answer.ids for answer in answers(model, codec, pixels, **options)]
    assert drawn == [answer.ids for answer in answers(model, codec, pixels, **options)]
    order = [3, 0, 4, 1, 2]
    mixed = answers(model, codec, pixels[order], questions=[QUESTIONS[i] for i in order], batch=2, **options)
    assert [answer.ids for answer in mixed] == [drawn[i] for i in order]
    other = [answer.ids for answer in answers(model, codec, pixels, temperature=1.0, seed=5)]
    assert all(a != b for a, b in zip(drawn, other, strict=True))
    keyed = answers(model, codec, pixels, keys=["one"] * 5, **options)
    assert [answer.ids for answer in keyed] != drawn


def test_drawing_from_one_token_or_nearly_cold_is_greedy(model, pixels):
    codec = Numbers(VOCABULARY)
    greedy = [answer.ids for answer in answers(model, codec, pixels)]
    for options in ({"temperature": 3.0, "top_k": 1}, {"temperature": 1e-6}):
        assert [answer.ids for answer in answers(model, codec, pixels, **options)] == greedy


def test_tokens_are_drawn_as_often_as_their_softmax_says():
    sampling = decoding.Sampling(temperature=0.5, top_k=3)
    logits = torch.tensor([1.0, 0.2, -0.5, 0.9, -3.0])
    drawn = torch.empty(40_000, 5).exponential_(generator=torch.Generator().manual_seed(1))
    chosen = decoding.preference(logits.expand(40_000, 5), drawn, sampling).argmax(dim=1)
    frequency = torch.bincount(chosen, minlength=5) / 40_000
    # The three likeliest are 0, 3 and 1. Four standard errors of a share near a half are 0.01.
    expected = torch.zeros(5)
    expected[[0, 3, 1]] = (logits[[0, 3, 1]] / 0.5).softmax(0)
    assert torch.allclose(frequency, expected, atol=0.01)
    assert frequency[2] == frequency[4] == 0
