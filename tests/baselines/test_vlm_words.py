"""Which tokens are a verdict's word, where it stands in an answer, and how tokens are drawn."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from baselines._vlm_words import Draw, Watch, WordTokens, probability, step_of_verdict, word_tokens
from fdr_bench.types import Label
from tests.baselines.tiny_vlm_families import FAMILIES
from tests.baselines.tiny_vlms import tokenizer

WORDS: dict[Label, str] = {"real": "real", "fake": "fake"}


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    return tokenizer(FAMILIES["llava"])


def sentencepiece_like(*tokens: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer as Llama's: a space is a mark in front of a word, and also a token by itself."""
    letters = sorted({letter for token in tokens for letter in token} | {"▁"})
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys([*letters, *tokens]))}
    merges = []
    for token in tokens:
        left = token[0]
        for letter in token[1:]:
            if (left, letter) not in merges:
                merges.append((left, letter))
            left += letter
            vocabulary.setdefault(left, len(vocabulary))
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    made.decoder = decoders.Metaspace(prepend_scheme="always")
    return PreTrainedTokenizerFast(tokenizer_object=made)


def test_every_spelling_of_a_word_counts(words: PreTrainedTokenizerFast) -> None:
    found = word_tokens(words, WORDS)
    assert found is not None
    spelt = [[words.convert_tokens_to_string([words.convert_ids_to_tokens(index)]) for index in ids] for ids in found]
    assert sorted(spelt[0]) == [" Real", " real", "Real", "real"]
    assert sorted(spelt[1]) == [" Fake", " fake", "Fake", "fake"]


def test_sentencepiece_words_are_found_with_their_mark_of_a_space() -> None:
    made = sentencepiece_like("▁real", "▁fake", "fake")
    found = word_tokens(made, WORDS)
    assert found is not None
    assert [made.convert_ids_to_tokens(list(ids)) for ids in found] == [["▁real"], ["▁fake", "fake"]]


def test_a_word_in_pieces_counts_by_its_first_unless_the_other_word_begins_so() -> None:
    apart = sentencepiece_like("▁re", "▁fa", "al", "ke")
    found = word_tokens(apart, WORDS)
    assert found is not None
    assert "▁re" in apart.convert_ids_to_tokens(list(found.real)) and "▁fa" in apart.convert_ids_to_tokens(
        list(found.fake)
    )
    assert "▁" not in apart.convert_ids_to_tokens([*found.real, *found.fake])
    assert word_tokens(apart, {"real": "fare", "fake": "fake"}) is None  # both begin with ▁fa


def test_probabilities_of_spellings_add_up() -> None:
    # P(fake) = (0.1 + 0.2) / (0.1 + 0.2 + 0.3) = 0.5
    watch = Watch(WordTokens(real=(2,), fake=(0, 1)))
    logits = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log()
    assert watch(torch.zeros(1, 1, dtype=torch.long), logits) is logits
    real, fake = watch.steps[0][0].tolist()
    assert probability((real, fake)) == pytest.approx(0.5)
    assert probability((math.nan, 0.0)) is None
    assert probability((-1e4, 1e4)) == 1.0 and probability((1e4, -1e4)) == 0.0


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("This image is fake.", " fake"),
        ("this image is a photo. Therefore this image is Real", " Real"),
        ("This image is real? No: this image is fake.", " fake"),
        ("<CONCLUSION> This image is **fake** </CONCLUSION>", "fake"),
        ("déjà vu — this image is fake", " fake"),
    ],
)
def test_the_verdicts_word_is_the_last_that_follows_the_lead(
    words: PreTrainedTokenizerFast, text: str, word: str
) -> None:
    ids = words(text, add_special_tokens=False)["input_ids"]
    step = step_of_verdict(ids, words.decode(ids), "this image is", WORDS, words.decode)
    assert step is not None and words.decode([ids[step]]) == word


@pytest.mark.parametrize("text", ["", "This image is unclear.", "It is fake.", "This image is realistic."])
def test_a_text_without_the_word_has_no_such_place(words: PreTrainedTokenizerFast, text: str) -> None:
    ids = words(text, add_special_tokens=False)["input_ids"]
    assert step_of_verdict(ids, text, "this image is", WORDS, words.decode) is None


def test_draws_follow_the_softmax_at_the_temperature_and_not_the_batch() -> None:
    logits = torch.tensor([0.7, 0.2, 0.1]).log()
    n, temperature = 4000, 2.0
    rows = Draw(temperature, range(n))(torch.zeros(n, 1), logits.expand(n, 3)).argmax(1)
    counts = Counter(rows.tolist())
    expected = (logits / temperature).softmax(0)  # 0.52, 0.28, 0.20: a standard error of 0.008
    for token in range(3):
        assert counts[token] / n == pytest.approx(float(expected[token]), abs=0.03)
    alone = [int(Draw(temperature, [seed])(torch.zeros(1, 1), logits[None]).argmax()) for seed in range(50)]
    assert alone == rows[:50].tolist()
