"""The composite action and the documented uses, as far as they can be had without the servers."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fdr_bench.check.reference import read_reference
from fdr_bench.cli import cli
from tests.guarded_runs import changed, flipped, jittered, one_model

ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
DOCS = (ROOT / "docs" / "regression-check.md").read_text(encoding="utf-8")
SNIPPETS = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)]


def run_action(tmp_path, **inputs):
    """Run the action's step in bash as GitHub does: inputs as variables, a file for the summary, one for outputs."""
    step = ACTION["runs"]["steps"][-1]
    given = {name: str(entry.get("default", "")) for name, entry in ACTION["inputs"].items()} | inputs
    variables = {
        name: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: given[found[1]], text)
        for name, text in step["env"].items()
    }
    files = {"GITHUB_STEP_SUMMARY": tmp_path / "summary.md", "GITHUB_OUTPUT": tmp_path / "output"}
    for path in files.values():
        path.write_text("")
    environment = {
        **os.environ,
        **variables,
        **{name: str(path) for name, path in files.items()},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    return done, files["GITHUB_OUTPUT"].read_text(), files["GITHUB_STEP_SUMMARY"].read_text()


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("action")
    run = one_model(folder / "before", n=240)
    reference = folder / "reference.json"
    cli.main(["check", str(run), "--reference", str(reference), "--update"], standalone_mode=False)
    changed(run, folder / "fresh", jittered(1e-7, 0))
    changed(run, folder / "worse", flipped(40, 0))
    return folder


@pytest.mark.parametrize(("name", "code"), [("fresh", 0), ("worse", 1), ("nowhere", 3)])
def test_the_action_ends_as_the_check_does_and_writes_a_summary(stored, tmp_path, name, code):
    inputs = {"run": str(stored / name), "reference": str(stored / "reference.json"), "junit": "out/check.xml"}
    done, output, summary = run_action(tmp_path, **inputs)
    assert (done.returncode, output) == (code, f"exit-code={code}\n"), done.stderr
    assert (tmp_path / "out" / "check.xml").exists() == (code < 2)
    verdict = {0: "### fdr-bench check: holds\n", 1: "### fdr-bench check: regressed\n", 3: ""}[code]
    assert summary.startswith(verdict) and bool(summary) == bool(verdict)


def test_an_input_of_the_action_cannot_become_a_command(stored, tmp_path):
    hostile = '"; touch hacked; echo "$(touch hacked)'
    done, _, _ = run_action(tmp_path, run=hostile, reference=str(stored / "reference.json"), models="`touch hacked`")
    assert done.returncode == 3
    assert not (tmp_path / "hacked").exists()
    scripts = [step["run"] for step in ACTION["runs"]["steps"]]
    assert not [script for script in scripts if "${{" in script]


def test_documented_uses_name_options_and_inputs_that_there_are():
    github, gitlab, hooks = SNIPPETS
    lines = [step["run"] for step in github["jobs"]["detectors"]["steps"] if "run" in step]
    lines += gitlab["detectors"]["script"] + [hooks["repos"][0]["hooks"][0]["entry"]]
    commands = [shlex.split(line) for line in lines if line.startswith("fdr-bench ")]
    assert len(commands) == 4
    for _, name, *words in commands:
        cli.commands[name].make_context(name, words)  # raises where an option is unknown
    (step,) = [step for step in github["jobs"]["detectors"]["steps"] if step.get("uses") == "./"]
    assert set(step["with"]) <= set(ACTION["inputs"])


def test_the_repository_s_own_reference_is_whole_and_guards_the_shipped_detectors():
    reference = read_reference(ROOT / "leaderboards" / "reference" / "scenes.json")
    assert {cell.model for cell in reference.cells} >= {"cnndetection@scenes", "npr@scenes", "univfd@scenes"}
    (guarded,) = reference.datasets.values()
    assert (guarded.n_real, guarded.n_fake, len(guarded.generators)) == (100, 500, 10)
    assert set(reference.guards) == {"acc@strict", "balanced_acc", "ap", "failure_rate"}
    assert "leaderboards/reference/scenes.json" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
