"""The probability of the word after the pattern, and its loss with the position from the labels."""

import math

import numpy as np
import pytest
import torch

from fakereasoning.cpm import OFFICIAL_CPM, CPMTokens, cpm_loss, probability
from fakereasoning.prompts import IGNORE
from fdr_bench.errors import UsageError, WeightsError
from tests.fakereasoning.spoken import answer, codec

TOKENS = CPMTokens((5, 6, 7), (1,), (2,))
VOCABULARY = 12


def batch(rows, length=10, seed=0):
    """Return logits that are noise, and labels with the pattern at the given places of each row."""
    logits = torch.from_numpy(np.random.default_rng(seed).standard_normal((len(rows), length, VOCABULARY)))
    labels = torch.full((len(rows), length), IGNORE)
    for row, starts in enumerate(rows):
        for start in starts:
            ids = [*TOKENS.pattern, 1 + row % 2][: length - start]
            labels[row, start : start + len(ids)] = torch.tensor(ids)
    return logits.float().requires_grad_(), labels


def naive(logits, labels, fake, temperature=10.0):
    """The mean cross-entropy of real and fake where the labels' last pattern ends, a row and a place at a time."""
    losses = []
    for row in range(len(labels)):
        ends = [t + 2 for t in range(labels.shape[1] - 2) if tuple(labels[row, t : t + 3].tolist()) == TOKENS.pattern]
        if ends:
            real_logit, fake_logit = (float(logits[row, ends[-1], i]) / temperature for i in (1, 2))
            chosen = fake_logit if fake[row] else real_logit
            losses.append(math.log(math.exp(real_logit) + math.exp(fake_logit)) - chosen)
    return sum(losses) / len(losses) if losses else 0.0


# ---------------------------------------------------------------- the loss by labels


@pytest.mark.parametrize("rows", [[[2], [5]], [[0], [7], [3]], [[1, 5]], [[], [4]], [[], []], [[8]]])
@pytest.mark.parametrize("temperature", [10.0, 1.0])
def test_the_loss_is_that_of_a_naive_loop(rows, temperature):
    logits, labels = batch(rows)
    fake = torch.arange(len(rows)) % 2
    found = cpm_loss(logits, labels, fake, TOKENS, temperature=temperature)
    assert found.loss.item() == pytest.approx(naive(logits.detach(), labels, fake, temperature), rel=1e-6)
    # A pattern that the end of the row cuts off (start 8 of 10) is none.
    assert found.found.tolist() == [any(start <= 7 for start in starts) for starts in rows]


def test_every_row_with_a_pattern_gives_a_gradient_at_the_two_words_of_its_place_alone():
    logits, labels = batch([[2], [5], []])
    cpm_loss(logits, labels, torch.tensor([0, 1, 1]), TOKENS).loss.backward()
    # The last token of the pattern stands at start + 2, and its logits predict the word.
    assert logits.grad.nonzero().tolist() == [[0, 4, 1], [0, 4, 2], [1, 7, 1], [1, 7, 2]]
    assert logits.grad[0, 4, 1] < 0 < logits.grad[0, 4, 2]
    assert logits.grad[1, 7, 2] < 0 < logits.grad[1, 7, 1]


def test_a_pattern_at_the_very_end_is_used_and_nothing_is_out_of_range():
    logits, labels = batch([[7]])
    found = cpm_loss(logits, labels, torch.tensor([1]), TOKENS)
    found.loss.backward()
    assert logits.grad.nonzero()[:, 1].unique().tolist() == [9]


@pytest.mark.parametrize("length", [2, 10])
def test_without_any_pattern_the_loss_and_its_gradient_are_zero_even_beside_infinities(length):
    logits, labels = batch([[], []], length=length)
    with torch.no_grad():
        logits[0, 0, 0] = math.inf
    found = cpm_loss(logits, labels, torch.tensor([0, 1]), TOKENS)
    found.loss.backward()
    assert found.loss.item() == 0.0
    assert logits.grad.abs().max() == 0.0
    assert found.found.tolist() == [False, False]


def test_half_precision_logits_give_a_loss_in_float32():
    logits, labels = batch([[2], [5]])
    fake = torch.tensor([True, False])
    exact = cpm_loss(logits, labels, fake, TOKENS).loss
    for dtype in (torch.bfloat16, torch.float16):
        rough = cpm_loss(logits.to(dtype), labels, fake, TOKENS).loss
        assert rough.dtype == torch.float32
        assert rough.item() == pytest.approx(exact.item(), rel=1e-2)


def test_the_place_is_where_the_next_label_is_the_word():
    ids = codec().answer(answer(3))
    labels = torch.tensor([ids])
    logits = torch.zeros(1, len(ids), codec().vocabulary, requires_grad=True)
    cpm_loss(logits, labels, torch.tensor([1]), codec().cpm).loss.backward()
    (place,) = logits.grad.nonzero()[:, 1].unique().tolist()
    assert ids[place + 1] == codec().cpm.fake[0]


# ---------------------------------------------------------------- probability


def test_the_probability_is_the_softmax_of_the_two_words_alone():
    logits = torch.full((2, 3, VOCABULARY), 9.0)
    logits[..., 1], logits[..., 2] = 1.0, 3.0
    assert probability(logits, TOKENS).shape == (2, 3)
    assert probability(logits, TOKENS)[0, 0].item() == pytest.approx(1 / (1 + math.exp(-2)), rel=1e-6)


def test_several_ids_of_a_word_count_together():
    logits = torch.zeros(VOCABULARY)
    # One id against two of equal logits: two thirds.
    assert probability(logits, CPMTokens((5,), (1,), (2, 3))).item() == pytest.approx(2 / 3)


def test_huge_logits_give_a_probability_and_no_nan():
    logits = torch.tensor([0.0, -3e4, 3e4])
    assert probability(logits, CPMTokens((5,), (1,), (2,))).item() == 1.0


# ---------------------------------------------------------------- tokens


def test_the_position_is_that_of_the_word_after_the_first_pattern():
    assert TOKENS.position([9, 5, 6, 7, 1, 5, 6, 7, 2]) == 4
    assert TOKENS.position([5, 6, 7]) == 3
    assert TOKENS.position([5, 6]) is None
    assert TOKENS.position([]) is None


def test_the_tokens_of_an_answer_lead_to_its_verdict():
    for number in (0, 1):
        ids = codec().answer(answer(number))
        place = codec().cpm.position(ids)
        assert place is not None
        assert (ids[place],) == (codec().cpm.fake if number else codec().cpm.real)


class Letters:
    """Encodes a text as its characters' numbers."""

    def encode(self, text):
        return [ord(letter) for letter in text]


class Words:
    """Encodes a text as hashes of its words, each with the one before it: nothing is the same twice."""

    def encode(self, text):
        return [hash(text[: end + 1]) for end in range(len(text))]


class Deaf:
    def encode(self, text):
        return [1] * 8


def test_the_tokens_of_any_encoder_are_what_real_and_fake_share_and_what_differs_first():
    found = CPMTokens.of(Letters())
    assert "".join(map(chr, found.pattern)) == "<CONCLUSION> This image is "
    assert (found.real, found.fake) == ((ord("r"),), (ord("f"),))


@pytest.mark.parametrize(("encoder", "problem"), [(Words(), "no fixed tokens"), (Deaf(), "same tokens")])
def test_an_encoder_without_fixed_or_different_tokens_is_refused(encoder, problem):
    with pytest.raises(WeightsError, match=problem):
        CPMTokens.of(encoder)


@pytest.mark.parametrize("parts", [((), (1,), (2,)), ((5,), (), (2,)), ((5,), (1,), (1, 2))])
def test_tokens_that_cannot_tell_real_from_fake_are_refused(parts):
    with pytest.raises(UsageError, match="cannot tell real from fake"):
        CPMTokens(*parts)


def test_the_official_semantics_find_the_pattern_in_the_predictions_and_ignore_the_labels():
    logits = torch.zeros(1, 14, 32_000)
    for place, token in enumerate(OFFICIAL_CPM.pattern):
        logits[0, 2 + place, token] = 30.0
    logits[0, 10, 25_713] = 10.0
    found = cpm_loss(logits, torch.full((1, 14), IGNORE), torch.tensor([1]), OFFICIAL_CPM, semantics="official")
    # softplus(-10 / 10), over 1 + 1e-6.
    assert found.loss.item() == pytest.approx(math.log1p(math.exp(-1.0)) / (1 + 1e-6), rel=1e-6)
