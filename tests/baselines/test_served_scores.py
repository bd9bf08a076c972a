"""P(fake) from log-probabilities: all spellings of both words, at the verdict's place, against sums by hand."""

from __future__ import annotations

import math

import pytest

from baselines._served_answers import BOUNDED, SOURCE, Token, verdict_score
from baselines.served import Served
from fdr_bench import prompts
from tests.served_server import Misbehaving, completion, numbered_image

VERDICT, REASONED, YES_REAL = (prompts.shipped()[name]["real-first"] for name in ("verdict", "reasoned", "yes-no"))


def token(text: str, **likeliest: float) -> Token:
    """A token with the probabilities of others at its place; "_" stands for a space in their names."""
    listed = {name.replace("_", " "): math.log(share) for name, share in likeliest.items()}
    return Token(text, listed.get(text, math.log(0.5)), listed)


def test_the_spellings_of_a_word_are_summed():
    tokens = [token("Fake", Fake=0.5, fake=0.1, _fake=0.05, FAKE=0.05, Real=0.2, _real=0.05, The=0.05)]
    # fake 0.5 + 0.1 + 0.05 + 0.05 = 0.7; real 0.2 + 0.05 = 0.25; others do not count
    assert verdict_score(tokens, VERDICT) == (pytest.approx(0.7 / 0.95), SOURCE, "fake")


def test_what_yes_means_decides_which_class_it_counts_for():
    tokens = [token("No", Yes=0.3, No=0.6)]
    assert verdict_score(tokens, YES_REAL) == (pytest.approx(0.6 / 0.9), SOURCE, "fake")
    assert verdict_score(tokens, prompts.shipped()["yes-no"]["fake-first"]).score == pytest.approx(0.3 / 0.9)


def test_the_verdicts_word_is_the_one_behind_the_last_lead():
    tokens = [
        token("The hand looks"),
        token(" fake", _fake=0.99, _real=0.01),
        token(". This"),
        token(" image is **"),
        token("real", real=0.6, fake=0.2),
        token("**."),
    ]
    assert verdict_score(tokens, REASONED) == (pytest.approx(0.25), SOURCE, "real")
    assert verdict_score(tokens[:3], REASONED) is None
    assert verdict_score([], REASONED) is None


def test_a_word_cut_into_pieces_is_scored_at_its_first():
    tokens = [token(" f", _f=0.6, _r=0.2, _x=0.1), token("ake")]
    assert verdict_score(tokens, VERDICT) == (pytest.approx(0.75), SOURCE, "fake")


def test_a_class_that_is_not_listed_gets_the_most_that_it_can_have():
    # Listed 0.9 + 0.06: what is left is 0.04, which is below the last one's 0.06.
    assert verdict_score([token("fake", fake=0.9, The=0.06)], VERDICT) == (pytest.approx(0.9 / 0.94), BOUNDED, "fake")
    # Listed 0.5 + 0.1: what is left is 0.4, but it would stand in the list if it were above 0.1.
    assert verdict_score([token("real", real=0.5, The=0.1)], VERDICT) == (pytest.approx(0.1 / 0.6), BOUNDED, "real")


def test_a_word_within_a_json_object_is_found():
    lead = [token('{"reasoning": "It may be'), token(" real"), token('", "verdict": "')]
    tokens = [*lead, token("fake", fake=0.8, real=0.1)]
    assert verdict_score(tokens, REASONED, structured=True) == (pytest.approx(0.8 / 0.9), SOURCE, "fake")


def test_a_part_of_another_word_is_no_verdict():
    assert verdict_score([token("Unrealistic"), token(" and faked")], VERDICT) is None


@pytest.mark.parametrize(
    ("word", "verdict", "score"), [("Fake", "fake", 0.8), ("Not fake", "real", None), ("Hm", None, None)]
)
def test_a_word_that_is_denied_is_not_the_verdicts_and_gives_no_score(word, verdict, score):
    *before, last = word.split(" ")
    top = [{"token": last, "logprob": math.log(0.8)}, {"token": "real", "logprob": math.log(0.2)}]
    content = [{"token": f"{text} ", "logprob": -0.1, "top_logprobs": []} for text in before]
    content.append({"token": last, "logprob": math.log(0.8), "top_logprobs": top})
    server = Misbehaving()
    server.respond = lambda request: (200, {}, completion(word, logprobs={"content": content}))
    with server.running() as url:
        asked = Served("m", {"base-url": url})(preset="verdict", device="cpu", weights={}, view=None)
        (prediction,) = asked.predict([numbered_image(1)])
    assert prediction.verdict == verdict
    assert prediction.score == (None if score is None else pytest.approx(score))
