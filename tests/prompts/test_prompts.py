"""Prompts are data: what each asks, that a changed word changes the hash, and what a file that is none says."""

from __future__ import annotations

import re

import pytest

from fdr_bench import prompts
from fdr_bench.errors import UsageError
from fdr_bench.prompts import POLARITIES

# A change here makes every answer to the prompt a different one: raise its version with it.
HASHES = {
    "reasoned:real-first": "69bc3b3f88ff01cadca14e844ab3c7bd46b347a511ae77c0358e5bbb12da0b39",
    "reasoned:fake-first": "269afac18bc7492699bcdf5c433d6c405a25c7f8dfd8e8d97f6806a6902108fe",
    "staged:real-first": "64b4e0930ca6ae01bcefb4a0cc335c68c0cf3d0fc03332a0af190726005e76d4",
    "staged:fake-first": "eb72d2c5fa473f7fa1301625b941a7bc8ee71801eec21710483fe9336cc4a3e7",
    "verdict:real-first": "27f65cfa9d256be2377e2980c5dadb6803e3a31a0e636f8efcaa372e19561f79",
    "verdict:fake-first": "30a957a1b218a8092244be7857f060a5d4083d6eb7833c468a0ce49e6522a42d",
    "yes-no:real-first": "84f40608541da21b65778ac72bdb0de16d69c1bf3da43f2d2d6f719d23168d51",
    "yes-no:fake-first": "d759fe47297d430d777a0696acafc9c2b4256722d1b2986b0a15a5e94b5862ec",
}


def test_every_shipped_prompt_has_the_hash_that_its_answers_were_stored_under():
    found = {
        f"{name}:{polarity}": prompt.sha256
        for name, each in prompts.shipped().items()
        for polarity, prompt in each.items()
    }
    assert found == HASHES
    assert next(iter(found)) == "reasoned:real-first"  # the default


def test_the_paper_s_question_is_the_one_that_fakereasoning_is_asked():
    text = prompts.shipped()["reasoned"]["real-first"].text
    assert text == (
        "Is this image real or fake? Please describe the image, reasoning step-by-step and conclude with "
        "'this image is real' or 'this image is fake'."
    )


@pytest.mark.parametrize("name", prompts.shipped())
def test_the_polarities_of_a_prompt_differ_in_what_they_name_first_alone(name):
    real, fake = (prompts.shipped()[name][polarity] for polarity in POLARITIES)
    if real.yes:
        assert (real.words, fake.words) == ({"real": "yes", "fake": "no"}, {"fake": "yes", "real": "no"})
        return
    definition = re.compile(r"A real image is .*? by a computer\.")  # it stands in both as it is
    swapped = re.sub(
        r"\b(real|fake)\b", lambda found: {"real": "fake", "fake": "real"}[found[0]], definition.sub("", real.text)
    )
    assert swapped == definition.sub("", fake.text)
    assert real.text.index("real") < real.text.index("fake")


def test_a_prompt_is_found_by_name_by_polarity_and_by_file(tmp_path):
    assert list(prompts.load("verdict")["verdict"]) == ["real-first", "fake-first"]
    assert list(prompts.load("verdict:fake-first")["verdict"]) == ["fake-first"]
    (tmp_path / "mine.txt").write_text("Real or fake?\n")
    prompt = prompts.load(str(tmp_path / "mine.txt"))["mine"]["real-first"]
    assert (prompt.text, prompt.version, prompt.words) == ("Real or fake?", 1, {"real": "real", "fake": "fake"})
    (tmp_path / "mine.toml").write_text('name = "forged"\npolarity = "fake-first"\nyes = "fake"\ntext = "Forged?"')
    assert prompts.load(str(tmp_path / "mine.toml"))["forged"]["fake-first"].words == {"fake": "yes", "real": "no"}


def test_the_hash_follows_every_word_and_no_layout(tmp_path):
    path = tmp_path / "mine.toml"
    hashes = []
    for content in (
        'name = "a"\ntext = "Real?"',
        '# a comment\ntext = """\nReal?\n"""\nname = "a"',
        'name = "a"\ntext = "Real ?"',
        'name = "a"\ntext = "Real?"\nyes = "real"',
        'name = "a"\ntext = "Real?"\nsystem = "You are an expert."',
        'name = "a"\ntext = "Real?"\nversion = 2',
    ):
        path.write_text(content)
        hashes.append(prompts.load_file(path).sha256)
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 5


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("name = ", "is not TOML"),
        ('name = "a"', "has no text"),
        ('text = "a"', "has no name"),
        ('name = "a/b"\ntext = "a"', "its name must be letters"),
        ('name = "a"\ntext = "  "', "its text must be a text"),
        ('name = "a"\ntext = "a"\npolarity = "first"', "its polarity must be real-first or fake-first"),
        ('name = "a"\ntext = "a"\nyes = "maybe"', "its yes must be real or fake"),
        ('name = "a"\ntext = "a"\nversion = true', "its version must be a whole number"),
        ('name = "a"\ntext = "a"\nmax_tokens = 0', "its max_tokens must be a whole number"),
        ('name = "a"\ntext = "a"\nstages = "SUMMARY"', "its stages must be a list"),
        ('name = "a"\ntext = "a"\nstage = ["A"]', "unknown field 'stage'. Did you mean 'stages'?"),
    ],
)
def test_a_file_that_is_no_prompt_says_what_is_wrong(tmp_path, content, reason):
    (tmp_path / "mine.toml").write_text(content)
    with pytest.raises(UsageError) as caught:
        prompts.load(str(tmp_path / "mine.toml"))
    assert reason in str(caught.value)


def test_a_prompt_that_does_not_exist_names_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'verdict'"):
        prompts.load("verdcit")
    with pytest.raises(UsageError, match="has no polarity 'first'"):
        prompts.load("verdict:first")


def test_a_file_that_is_not_text_says_so(tmp_path):
    (tmp_path / "mine.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        prompts.load(str(tmp_path / "mine.txt"))
