"""python -m fakereasoning: commands explain themselves, mistakes and Ctrl-C end with a line, cards tell no paths."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fakereasoning import pipeline
from fakereasoning.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
DATA = "scenes:train?n=16&size=32"


@pytest.fixture
def seen(monkeypatch) -> list[pipeline.Plan]:
    """Collect the plans that are to be trained, and train none."""
    plans: list[pipeline.Plan] = []
    monkeypatch.setattr(pipeline, "train", lambda plan: plans.append(plan) or plan.out)
    return plans


@pytest.mark.parametrize("command", [[], *([name] for name in main.commands)], ids=lambda words: "".join(words) or "-")
def test_every_command_explains_itself_with_an_example(command):
    shown = CliRunner().invoke(main, [*command, "--help"])
    assert shown.exit_code == 0
    assert "Example" in shown.output and "python -m fakereasoning" in shown.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max-minutes", "base"], "STAGE=MINUTES"),
        (["--max-minutes", "basis=3"], "STAGE=MINUTES"),
        (["--set", "lr=3"], "STAGE.FIELD=VALUE"),
        (["--recipe", "nanno"], "Did you mean 'nano'"),
        (["--seed", "-1"], "--seed"),
        (["--set", "tune.batch=many"], 'batch is "many"; expected a whole number'),
        (["--set", "tune.lora=4"], "lora is 4; expected an object of its fields"),
        (["--set", 'tune.lora={"targets":"q_proj"}'], 'targets is "q_proj"; expected a list of text'),
    ],
)
def test_a_mistake_on_the_command_line_ends_with_a_message(words, message, tmp_path):
    shown = CliRunner().invoke(main, ["train", "--data", DATA, "--out", str(tmp_path), *words])
    assert shown.exit_code == 2
    assert message in shown.output
    assert "Traceback" not in shown.output


def test_an_ablation_needs_a_seed(tmp_path):
    shown = CliRunner().invoke(main, ["ablate", "--data", DATA, "--out", str(tmp_path), "--seeds", "0"])
    assert shown.exit_code == 2 and "--seeds" in shown.output


def test_ctrl_c_ends_with_its_exit_code_and_says_how_to_go_on(tmp_path, monkeypatch):
    def stopped(plan: pipeline.Plan) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "train", stopped)
    shown = CliRunner().invoke(main, ["train", "--data", DATA, "--out", str(tmp_path)])
    assert shown.exit_code == 130
    assert "the same command again, without --restart, goes on from there" in shown.output


def test_the_command_in_the_card_has_no_paths_of_this_machine_and_can_be_run(seen, monkeypatch):
    words = ["train", "--data", DATA, "--out=/somewhere/out", "--start", "/home/me/base", "--set", "tune.lr=5e-4"]
    monkeypatch.setattr(sys, "argv", ["__main__.py", *words])
    assert CliRunner().invoke(main, words).exit_code == 0
    told = f"python -m fakereasoning train --data '{DATA}' --out OUT --start START --set tune.lr=5e-4"
    assert seen[0].command == told
    assert seen[0].changes == {"tune": {"lr": 5e-4}}
    again = CliRunner().invoke(main, shlex.split(told)[3:])
    assert again.exit_code == 0 and seen[1].out == Path("OUT") and seen[1].changes == seen[0].changes


def test_a_light_door_the_command_line_imports_nothing_heavy():
    program = (
        "import sys, fakereasoning.__main__\nprint([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
