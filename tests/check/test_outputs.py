"""What `fdr-bench check` writes: JSON, JUnit XML and Markdown, with nothing that a reader's program would obey."""

import json
from xml.etree import ElementTree

import pytest

from tests.guarded_runs import MODEL, changed, check, exit_code, flipped, one_model, verdicts_only


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return one_model(tmp_path_factory.mktemp("runs") / "before", n=240)


@pytest.fixture(scope="module")
def reference(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("references") / "reference.json"
    assert exit_code("check", run, "--reference", path, "--update") == 0
    return path


def test_json_has_every_comparison_with_its_n_and_the_exit_code(run, reference, tmp_path, capsys):
    after = changed(run, tmp_path / "after", flipped(40, 0))
    code = check(after, reference, "--json")
    content = json.loads(capsys.readouterr().out)
    assert (code, content["exit_code"], content["verdict"]) == (1, 1, "regressed")
    rows = {(row["metric"], row["slice"]): row for row in content["findings"]}
    row = rows["acc@strict", "all"]
    assert (row["status"], row["n"], row["tolerance"]) == ("regressed", 240, 0.01)
    assert row["difference"] == pytest.approx(-40 / 240)
    assert row["interval"]["low"] < row["difference"] < row["interval"]["high"] < 0
    assert len(content["flips"][0]["now_wrong"]) == 40


def test_junit_counts_regressions_as_failures_and_the_incomparable_as_errors(run, reference, tmp_path):
    after = changed(run, tmp_path / "after", flipped(60, 0))
    verdicts = changed(after, tmp_path / "verdicts", lambda rows, samples: rows)
    verdicts_only(verdicts)
    assert check(verdicts, reference, "--junit", tmp_path / "out" / "check.xml") == 1
    root = ElementTree.parse(tmp_path / "out" / "check.xml").getroot()
    failures, errors = root.findall(".//failure"), root.findall(".//error")
    assert (int(root.get("failures")), int(root.get("errors"))) == (len(failures), len(errors))
    assert len(failures) >= 2 and len(errors) == 1
    assert int(root.get("tests")) == len(root.findall(".//testcase"))
    assert "no scores: the model states verdicts only" in errors[0].get("message")


def test_markdown_is_appended_as_a_summary_wants_it(run, reference, tmp_path):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    after = changed(run, tmp_path / "after", flipped(40, 0))
    assert check(after, reference, "--markdown", summary) == 1
    text = summary.read_text()
    assert text.startswith("before\n### fdr-bench check: regressed\n")
    assert "| ✗ regressed | npr@<!-- -->scenes on fdr-scenes-test | acc@<!-- -->strict |" in text


def test_hostile_names_do_nothing_in_any_output(tmp_path, capsys):
    """A model's name comes from whoever sent the run."""
    name = "<img src=x onerror=alert(1)>|[x](javascript:0)`\x1b[2J@team WWW.evil.example\x00"
    root = one_model(tmp_path / "run", n=240)
    manifest = (root / "run.json").read_text().replace(f'"{MODEL}"', json.dumps(name.replace("\x00", "")))
    (root / "run.json").write_text(manifest)
    (root / MODEL).rename(root / name.replace("\x00", ""))
    assert exit_code("check", root, "--reference", tmp_path / "r.json", "--update") == 0
    outputs = ("--junit", tmp_path / "x.xml", "--markdown", tmp_path / "s.md")
    assert check(root, tmp_path / "r.json", *outputs) == 0
    assert "\x1b[2J" not in capsys.readouterr().out
    ElementTree.parse(tmp_path / "x.xml")
    text = (tmp_path / "s.md").read_text()
    assert "<img" not in text and "[x](" not in text and "@team" not in text and "\x1b" not in text
    assert "www.evil" not in text.casefold()  # which a page of GitHub's would make a link of
