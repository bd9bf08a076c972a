"""Exported tables: the numbers of the page, in three formats, whatever stands in the names."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from leaderboards.exports import latex, scores_csv, table_csv, table_json, table_latex, table_markdown
from leaderboards.load import load_runs
from leaderboards.tables import dataset_boards
from tests.leaderboards.boards import score, write_run

ROWS = [
    score("npr@x", "acc", 0.9, interval=(0.88, 0.92), n=600),
    score("cnn@x", "acc", 0.8, interval=(0.75, 0.84), n=600),
    score("clip@x", "acc", 0.7, n=590, n_missing=10),
    score("npr@x", "ap", None, n=0, n_missing=600, reason="verdicts only"),
    score("constant", "acc", 0.5, n=600),
]


@pytest.fixture
def overview(tmp_path):
    return dataset_boards(load_runs([write_run(tmp_path / "run", ROWS)]))[0].overview


def test_csv_keeps_all_digits_and_says_what_a_number_rests_on(overview):
    lines = list(csv.DictReader(io.StringIO(table_csv(overview))))
    assert [line["model"] for line in lines] == ["npr@x", "cnn@x", "clip@x", "constant"]
    assert [line["kind"] for line in lines] == ["detector", "detector", "detector", "baseline"]
    first = lines[0]
    assert (first["acc"], first["acc low"], first["acc high"], first["acc n"]) == ("0.9", "0.88", "0.92", "600")
    assert (first["ap"], first["ap reason"]) == ("", "verdicts only")
    assert lines[2]["acc missing"] == "10"


def test_json_keeps_what_a_number_rests_on_and_null_has_a_reason(overview):
    told = json.loads(table_json(overview))
    assert [column["key"] for column in told["columns"]] == [column.key for column in overview.columns]
    assert [row["model"] for row in told["rows"]] == ["npr@x", "cnn@x", "clip@x", "constant"]
    first, third = told["rows"][0]["cells"], told["rows"][2]["cells"]
    expected = {"value": 0.9, "low": 0.88, "high": 0.92, "level": 0.95, "n": 600, "n_missing": 0}
    assert first["acc"] == expected
    assert first["ap"] == {"value": None, "n": 0, "reason": "verdicts only", "n_missing": 600}
    assert (third["acc"]["n"], third["acc"]["n_missing"]) == (590, 10)


def test_all_scores_go_to_one_csv(tmp_path):
    runs = load_runs([write_run(tmp_path / "run", ROWS)])
    lines = list(csv.DictReader(io.StringIO(scores_csv(runs))))
    assert len(lines) == len(ROWS)
    assert lines[0] == {
        "run": "run", "model": "npr@x", "dataset": "set", "slice": "all", "metric": "acc", "value": "0.9",
        "low": "0.88", "high": "0.92", "level": "0.95", "method": "bootstrap", "n": "600",
        "n_missing": "0", "reason": "",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_a_name_never_becomes_a_formula_in_a_spreadsheet(tmp_path, name):
    (board,) = dataset_boards(load_runs([write_run(tmp_path / "run", [score(name, "acc", 0.5)])]))
    (line,) = csv.DictReader(io.StringIO(table_csv(board.overview)))
    assert line["model"] == "'" + name


def test_markdown_marks_best_and_second_and_numbers_the_reasons(overview):
    lines = table_markdown(overview).splitlines()
    assert "| Model | ACC (n=600) | AP |" in lines[2]
    assert lines[4].startswith("| npr@x | **90.0** (88.0–92.0) | – [1] |")
    assert lines[5].startswith("| cnn@x | <u>80.0</u> (75.0–84.0) |")
    assert lines[6].startswith("| clip@x | 70.0 n=590 |")
    assert lines[7].startswith("| *constant* | 50.0 |")
    assert "1. verdicts only" in lines


def test_markdown_leaves_no_markup_in_a_name(tmp_path):
    name = "<script>a|b</script>[x](javascript:1)`*\n# y"
    (board,) = dataset_boards(load_runs([write_run(tmp_path / "run", [score(name, "acc", 0.5)])]))
    row = table_markdown(board.overview).splitlines()[4]
    assert "<" not in row.replace("<u>", "")
    assert len(re.findall(r"(?<!\\)\|", row)) == len(board.overview.columns) + 2
    assert not re.search(r"(?<!\\)[\[\]()`]", row.split(" | ")[0])


def test_latex_is_a_booktabs_table_with_plus_minus(overview):
    lines = [line.strip() for line in table_latex(overview).splitlines()]
    assert [line for line in lines if line.endswith("rule")] == ["\\toprule", "\\midrule", "\\midrule", "\\bottomrule"]
    best, second, third = (next(line for line in lines if line.startswith(name)) for name in ("npr", "cnn", "clip"))
    assert best.startswith("npr@x & $\\mathbf{90.0} \\pm 2.0$ & --$^{[1]}$ &")
    assert second.startswith("cnn@x & $\\underline{80.0}\\,{}^{+4.0}_{-5.0}$ &")  # 84 - 80 up, 80 - 75 down
    assert third.startswith("clip@x & $70.0$ {\\scriptsize $n=590$} &")
    assert all(line.count(" & ") == len(overview.columns) for line in (best, second, third))


def test_latex_text_cannot_act_as_a_command():
    hostile = "\\input{/etc/passwd} $x$ a_b 50% #1 & ~^\n}"
    written = latex(hostile)
    assert written == (
        "\\textbackslash{}input\\{/etc/passwd\\} \\$x\\$ a\\_b 50\\% \\#1 \\& \\textasciitilde{}\\textasciicircum{} \\}"
    )


def test_a_familiar_generator_carries_a_dagger(tmp_path):
    rows = [score("a@x", "acc", value, slice=f"generator:{name}") for name, value in (("gan", 0.9), ("warp", 0.6))]
    models = {"a@x": {"trained_on": {"dataset": "set", "generators": ["gan"]}}}
    (board,) = dataset_boards(load_runs([write_run(tmp_path / "run", rows, models=models)]))
    assert "90.0†" in table_markdown(board.generators[0])
    assert "$90.0{}^{\\dagger}$" in table_latex(board.generators[0])
    assert "$60.0$" in table_latex(board.generators[0])
