"""What a model wrote is shown in its stages, and a terminal takes nothing in it for a command."""

from __future__ import annotations

import json

import pytest

from fdr_bench.explanation import Stage, four_stages, in_one_line, print_explanation, stages, visible
from fdr_bench.predicting import Answer, print_answers
from fdr_bench.terminal import print_json
from fdr_bench.types import Prediction

TEXT = (
    "<SUMMARY> I look. </SUMMARY>\n<CAPTION> A cube\non sand. </CAPTION>\n"
    "<REASONING> The shadow falls towards the sun. </REASONING>\n<CONCLUSION> This image is fake. </CONCLUSION>"
)
# Clears a screen, sets a title, beeps, returns the carriage; a C1 control; a right-to-left override; nothing wide.
HOSTILE = "\x1b[2J\x1b]0;owned\x07\rgone \x9b31m \u202egnp.exe\u200b [bold red]loud[/] :bomb: \ud800"


def test_an_answer_is_shown_stage_by_stage():
    assert stages(TEXT) == [
        Stage("summary", "I look."),
        Stage("caption", "A cube\non sand."),
        Stage("reasoning", "The shadow falls towards the sun."),
        Stage("conclusion", "This image is fake."),
    ]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("", []),
        (" \n", []),
        ("It is fake.", [("answer", "It is fake.")]),
        ("<A> one </A> two <B>three</B> four", [("a", "one"), ("b", "three"), ("(beside)", "two\nfour")]),
        ("<A> never closed", [("answer", "<A> never closed")]),
        ("<A> one </B></A>", [("a", "one </B>")]),
        ("<b> small </b>", [("answer", "<b> small </b>")]),
    ],
)
def test_nothing_that_was_written_is_left_out(raw, expected):
    assert stages(raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (TEXT, ("I look.", "A cube\non sand.", "The shadow falls towards the sun.", "This image is fake.")),
        ("<SUMMARY> I look. </SUMMARY><CAPTION> A cu", ("I look.", None, None, None)),
        ("<CAPTION>a</CAPTION><CAPTION>b</CAPTION><REASONING> </REASONING>", (None, "a", None, None)),
        ("<SCENE> a cube </SCENE> It is fake.", None),
        ("", None),
    ],
)
def test_the_four_stages_are_told_by_name_and_an_answer_without_any_has_none(raw, expected):
    names = ("summary", "caption", "reasoning", "conclusion")
    assert four_stages(raw) == (expected and dict(zip(names, expected, strict=True)))


def test_controls_and_marks_of_direction_are_spelled_out():
    shown = visible(HOSTILE)
    assert shown == (r"\x1b[2J\x1b]0;owned\x07\x0dgone \x9b31m \u202egnp.exe\u200b [bold red]loud[/] :bomb: \ud800")
    assert visible("one\ttwo\r\nthree\nUmlaute äöü, 中文, 🙂") == "one\ttwo\nthree\nUmlaute äöü, 中文, 🙂"
    assert in_one_line("a\nb\tc") == r"a\nb\tc"


def test_what_is_printed_holds_no_command_and_no_markup_is_obeyed(capsys):
    print_explanation(HOSTILE + "\nfaked.png · fake", [Stage(f"n{HOSTILE}", HOSTILE), Stage("b", "x " * 200)])
    out = capsys.readouterr().out
    assert all(character == "\n" or character.isprintable() for character in out)
    assert " ".join(out.split()).count("[bold red]loud[/] :bomb:") == 3
    assert out.splitlines()[0].endswith(r"\nfaked.png · fake")


def test_long_texts_are_broken_into_lines_beside_their_names(capsys):
    print_explanation("a.png", [Stage("caption", "word " * 60), Stage("reasoning", "first\n\nsecond"), Stage("x", "")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a.png"
    assert max(map(len, lines)) <= 100
    # "reasoning" is the longest name: texts start two columns behind it, and names two columns from the left.
    assert lines[1].startswith("  caption    word word") and lines[2].startswith(" " * 13 + "word")
    assert lines[-4:] == ["  reasoning  first", " " * 13 + "second", "  x          –", ""]


def test_predict_shows_the_table_and_beneath_it_what_each_model_wrote(capsys):
    said = Prediction(score=0.75, verdict="fake", reasoning="The shadow.", raw=TEXT, score_source="cpm")
    rows = [
        Answer("a.png", "vlm", said, 0.5, True, None),
        Answer("a.png", "bare", Prediction(score=0.25), 0.5, False, None),
        Answer("a.png", "short", Prediction(verdict="real", reasoning="Because."), 0.5, True, None),
        Answer("b\x1b[2J.png", "vlm", None, 0.5, True, "cannot \x1b[31m"),
    ]
    assert print_answers(iter(rows), as_json=False)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "a.png · vlm · fake, P(fake) 0.750 (cpm)\n  summary     I look.\n" in out
    assert "  conclusion  This image is fake.\n" in out
    assert "a.png · short · real\n  reasoning  Because.\n" in out
    assert "a.png · bare ·" not in out
    assert [line.split() for line in out.splitlines()[3:7]] == [
        ["a.png", "vlm", "fake", "0.750", "cpm"],
        ["a.png", "bare", "real", "0.250"],
        ["a.png", "short", "real", "–"],
        [r"b\x1b[2J.png", "vlm", "–", "–", "cannot", r"\x1b[31m"],
    ]


CUT = Prediction(score=0.75, raw="<SUMMARY> I look. </SUMMARY>", score_source="cpm-forced\x1b[2J")


def test_predict_marks_what_only_the_score_says_of_a_model_that_states_verdicts(capsys):
    rows = [
        Answer("a.png", "vlm", CUT, 0.5, True, None),
        Answer("b.png", "vlm", CUT, 0.8, True, None),
        Answer("c.png", "vlm", Prediction(raw="Hm."), 0.5, True, None),
        Answer("d.png", "other", CUT, 0.5, False, None),
    ]
    assert not print_answers(iter(rows), as_json=False)
    out = capsys.readouterr().out
    shown = [" ".join(line.split()) for line in out.splitlines()[3:7]]
    assert shown == [
        r"a.png vlm no verdict (score says fake) 0.750 cpm-forced\x1b[2J",
        r"b.png vlm no verdict (score says real) 0.750 cpm-forced\x1b[2J",
        "c.png vlm no verdict –",
        r"d.png other fake 0.750 cpm-forced\x1b[2J",
    ]
    assert "a.png · vlm · no verdict (score says fake), P(fake) 0.750 (cpm-forced" in out
    assert "c.png · vlm · no verdict\n" in out


def test_json_of_predict_has_the_stages_and_no_verdict_where_none_is_stated(capsys):
    said = Prediction(score=0.75, verdict="fake", raw=TEXT, score_source="cpm")
    rows = [
        Answer("a.png", "vlm", said, 0.5, True, None),
        Answer("a.png", "vlm", CUT, 0.5, True, None),
        Answer("a.png", "bare", Prediction(score=0.75), 0.5, False, None),
    ]
    print_answers(iter(rows), as_json=True)
    whole, cut, bare = json.loads(capsys.readouterr().out)
    assert whole["stages"] == {
        "summary": "I look.",
        "caption": "A cube\non sand.",
        "reasoning": "The shadow falls towards the sun.",
        "conclusion": "This image is fake.",
    }
    assert (cut["verdict"], cut["score"], cut["score_source"]) == (None, 0.75, CUT.score_source)
    assert cut["stages"] == {"summary": "I look.", "caption": None, "reasoning": None, "conclusion": None}
    assert (bare["verdict"], bare["stages"]) == ("fake", None)


def test_json_for_a_terminal_holds_no_command_and_reads_back_the_same(capsys):
    content = {"raw": HOSTILE, "name": "Grün 中文"}
    print_json(content)
    out = capsys.readouterr().out
    assert not any(character in out for character in "\x1b\x07\x9b\u202e\ud800")
    assert "Grün 中文" in out and json.loads(out) == content
