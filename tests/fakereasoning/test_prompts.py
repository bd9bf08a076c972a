"""The official prompts, the layout of our own, and answers read into stages."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from fakereasoning.prompts import (
    IMAGE_TOKEN,
    NANO,
    OFFICIAL_EVAL_IDS,
    OFFICIAL_TRAIN_IDS,
    STAGES,
    TAGS,
    Template,
    arrange_stages,
    parse_stages,
)
from fdr_bench.verdicts import read_verdict
from tests.fakereasoning.spoken import answer

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
OUTPUTS = Path(__file__).resolve().parents[2].parent / "shared/data/mmfr_mini/model_outputs/fakereasoning_outputs.jsonl"
FAKE = (
    "<SUMMARY> I look. </SUMMARY>\n<CAPTION> A ball. </CAPTION>\n"
    "<REASONING> From low-level perspective: a seam. </REASONING>\n<CONCLUSION> This image is fake. </CONCLUSION>"
)


# ---------------------------------------------------------------- prompts


@pytest.mark.parametrize(("name", "ids"), [("llava_v1", OFFICIAL_EVAL_IDS), ("v1", OFFICIAL_TRAIN_IDS)])
def test_the_official_prompts_are_the_ids_of_the_fixture(name, ids):
    told = json.loads((GOLDENS / "fakereasoning_tiny.json").read_text())["prompt"][name]
    assert list(ids) == told["ids"]
    assert hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest() == told["ids_sha256"]
    assert (len(ids), ids.index(IMAGE_TOKEN)) == (told["tokens"], told["image_at"])


def test_a_question_has_no_mark_of_the_image_and_stands_on_a_line_of_its_own():
    assert NANO.after("<image>\nIs it real? ") == "\nIs it real?\n"
    assert NANO.after("Is it real?\n<image>") == "\nIs it real?\n"


def test_a_template_puts_system_and_user_before_the_image_and_the_assistant_last():
    template = Template(system="Be brief. ", user="Q: ", assistant=" A:", question="Real?")
    assert template.before() == "Be brief. Q: "
    assert template.after(None) == "\nReal? A:"


def test_prompts_import_neither_torch_nor_transformers():
    program = "import sys, fakereasoning.prompts; print({'torch', 'transformers', 'tokenizers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# ---------------------------------------------------------------- stages


def test_an_answer_is_read_into_its_stages():
    assert parse_stages(FAKE) == (
        "I look.",
        "A ball.",
        "From low-level perspective: a seam.",
        "This image is fake.",
        "fake",
        None,
    )


@pytest.mark.parametrize("number", range(40))
def test_every_chain_of_thought_of_the_scenes_is_read_without_a_problem(number):
    stages = parse_stages(answer(number))
    assert (stages.problem, stages.verdict) == (None, "fake" if number % 2 else "real")
    assert None not in stages[:4]


@pytest.mark.skipif(not OUTPUTS.is_file(), reason="the shared data are not there")
def test_real_answers_of_the_published_model_are_read():
    for row in map(json.loads, OUTPUTS.read_text(encoding="utf-8").splitlines()):
        stages = parse_stages(row["output"])
        assert (stages.problem, stages.verdict) == (None, row["label"])


def test_an_answer_cut_anywhere_before_its_last_tag_is_truncated():
    for length in range(len(FAKE) - 1):
        stages = parse_stages(FAKE[:length])
        assert stages.problem == "truncated", FAKE[:length]
        assert stages.verdict is None


def test_a_verdict_counts_in_the_conclusion_alone():
    text = FAKE.replace("This image is fake.", "Who knows.").replace("a seam", "a seam. This image is fake")
    assert parse_stages(text)[-2:] == (None, "no verdict")


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (FAKE.replace("<CAPTION> A ball. </CAPTION>\n", ""), "fake"),  # a stage is missing
        (FAKE.replace("</CAPTION>", "</CAPTION> and more"), "fake"),  # words between two stages
        (FAKE + "\nThat is all.", "fake"),
        (FAKE + "\n" + FAKE.replace("fake", "real"), "fake"),  # the first conclusion counts
        (FAKE.replace("<CONCLUSION>", "< CONCLUSION >").replace("</CONCLUSION>", "< /CONCLUSION >"), None),
        (FAKE.lower(), None),
        (FAKE.replace("A ball.", ""), "fake"),  # a stage without words
        ("This image is fake.", None),
        ("</CONCLUSION><CONCLUSION>", None),
    ],
)
def test_other_texts_are_off_format_and_keep_a_verdict_that_stands_in_a_conclusion(text, verdict):
    assert parse_stages(text)[-2:] == (verdict, "off-format")


def test_an_empty_answer_is_truncated_and_has_nothing():
    assert parse_stages("") == (None, None, None, None, None, "truncated")


def test_the_expected_stages_can_be_others():
    short = arrange_stages(FAKE, ("CONCLUSION", "REASONING"))
    assert short == (
        "<CONCLUSION> This image is fake. </CONCLUSION>\n<REASONING> From low-level perspective: a seam. </REASONING>"
    )
    assert parse_stages(short, expected=("CONCLUSION", "REASONING")).problem is None
    assert parse_stages(short).problem == "off-format"
    assert parse_stages("<CAPTION> A ball. </CAPTION>", expected=("CAPTION",)).problem is None


def test_an_answer_without_a_wanted_stage_cannot_be_arranged():
    assert arrange_stages("<CAPTION> A ball. </CAPTION>", ("CAPTION", "CONCLUSION")) is None
    assert arrange_stages(FAKE, STAGES) == FAKE


def test_there_are_eight_tags():
    assert len(TAGS) == 8
    assert all(tag in FAKE for tag in TAGS)


# ---------------------------------------------------------------- free text


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("This image is real.", "real"),
        ("this image is fake.", "fake"),
        ("This image is fake", "fake"),
        ("This image is not real.", "fake"),
        ("not fake", "real"),
        ("It is unrealistic and is fake", "fake"),
        ("a fake image that looks realistic", "fake"),
        ("Really convincing deepfake", "fake"),
        ("AI-generated image", "fake"),
        ("It was generated by a model, though natural-looking", "fake"),
        ("Not sure", None),
        ("", None),
        ("I am not sure that it is fake.", None),
        ("I cannot tell whether this is real.", None),
        ("Is this image real or fake?", None),
        ("Is this image real? It is fake.", "fake"),
        ("Real or fake: fake", "fake"),
        ("The image is not a real photograph", "fake"),
        ("This isn't a genuine photo.", "fake"),
        ("It isn’t fake.", "real"),
        ("It does not look real.", "fake"),
        ("There are no signs of it being AI-generated.", "real"),
        ("The lake looks fake, but this image is real.", "real"),
        ("It looks like a real photo but is AI-generated.", "fake"),
        ("This image is **fake**.", "fake"),
        ("Verdict: `real`", "real"),
        ("This image is fake. This image is real.", None),
        ("It is neither real nor fake.", None),
        ("The scene could be real, or it could be fake.", None),
        ("The real-world setting is plausible.", None),
        ("A realistic scene.", None),
        ("With a probability of 0.9 it is fake.", "fake"),
        ("No, it is real.", "real"),
        ("To see whether it is fake, I look at the edges: it is real.", "real"),
        ("<script>fake</script>", "fake"),
    ],
)
def test_a_verdict_in_free_text_is_read_and_never_guessed(text, verdict):
    assert read_verdict(text) == verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("**Yes**", "fake"),
        ("Answer: yes", "fake"),
        ("Definitely yes", "fake"),
        ("Note that the light is odd. Yes.", "fake"),
        ("Normal texture, normal edges. No.", "real"),
        ("Normal edges.", None),
        ("yes and no", None),
        ("Not sure", None),
        ("No, this image is fake.", "fake"),
        ("", None),
    ],
)
def test_yes_means_what_the_question_asks_where_no_class_is_named(text, verdict):
    assert read_verdict(text, yes="fake") == verdict


def test_long_hostile_texts_are_read_in_no_time():
    assert read_verdict("is not " * 50_000 + "x") is None
    assert parse_stages("<CONCLUSION>" * 20_000).problem == "off-format"
