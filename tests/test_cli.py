"""The command line as a user meets it: exit codes, messages, help, Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from fdr_bench.cli import cli
from tests.pictures import make_folders

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = f"{ROOT / 'tests' / 'brightness.py'}:Brightness"


def fdr_bench(*words, cwd=None, env=None):
    return subprocess.run(
        [sys.executable, "-m", "fdr_bench", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd or ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        timeout=300,
    )


def commands(group=cli, prefix=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*prefix, name))
        else:
            yield (*prefix, name), command


@pytest.mark.parametrize(("words", "command"), [pytest.param(*each, id="-".join(each[0])) for each in commands()])
def test_every_command_has_an_example_in_its_help(words, command):
    assert f"fdr-bench {' '.join(words)}" in command.help
    assert "Example" in command.help


def test_a_run_prints_a_table_and_writes_a_page(tmp_path):
    data = make_folders(tmp_path / "pictures", n=4)
    answer = fdr_bench("run", "--plugin", PLUGIN, "--data", f"folders:{data}", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "brightness" in answer.stdout and "8 real, 8 fake, 2 generators" in answer.stdout
    (page,) = tmp_path.glob("runs/*/index.html")
    assert f"leaderboard  {page.resolve().as_uri()}" in answer.stdout


def test_json_goes_to_stdout_alone(tmp_path):
    data = make_folders(tmp_path / "pictures", n=4)
    answer = fdr_bench("run", "--plugin", PLUGIN, "--data", f"folders:{data}", "--out", tmp_path / "r", "--json")
    content = json.loads(answer.stdout)
    values = {(row["slice"], row["metric"]): row for row in content["scores"]}
    assert values["all", "acc"]["n"] == 16
    assert content["manifest"]["models"]["brightness"]["kind"] == "detector"


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path):
    data = make_folders(tmp_path / "pictures", n=4)
    answer = fdr_bench("run", "--plugin", PLUGIN, "--data", f"folders:{data}", "--dry-run", cwd=tmp_path)
    assert answer.returncode == 0 and "would run" in answer.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run", "--models", "univfdd"], 1, "Did you mean 'univfd'? 'fdr-bench list models' shows all."),
        (["run", "--models", "npr@tiny", "--data", "folders:."], 2, "npr has no preset 'tiny'; it has official"),
        (["run", "--limit", "0"], 2, "0 is not in the range x>=1"),
        (["run", "--weights", "npr"], 2, "'npr' should be NAME=PATH"),
        (["run", "--weights", "npr=/nowhere/x.pth"], 2, "there is nothing at /nowhere/x.pth"),
        (["run", "--max-failures", "some"], 2, "give a number of images, such as 10, or a share, such as 1%"),
        (["run", "--models", ","], 2, "--models is empty"),
        (["resume", "/nowhere"], 1, "/nowhere/spec.json is missing: is /nowhere a run folder?"),
        (["predict", "/nowhere.png"], 2, "there is nothing at /nowhere.png"),
        (["frobnicate"], 2, "No such command 'frobnicate'"),
    ],
)
def test_what_is_wrong_is_said_in_one_message_with_its_exit_code(tmp_path, words, code, said):
    make_folders(tmp_path / "pictures", n=1)
    answer = fdr_bench(*words, cwd=tmp_path / "pictures")
    assert answer.returncode == code
    assert said in answer.stderr.replace("\n", " ")
    assert "Traceback" not in answer.stderr


def test_failures_above_the_limit_end_in_1_and_below_it_in_0(tmp_path):
    data = make_folders(tmp_path / "pictures", n=4)
    (data / "alpha/1_fake/empty.png").write_bytes(b"")
    words = ("run", "--plugin", PLUGIN, "--data", f"folders:{data}", "--out", tmp_path / "r")
    over = fdr_bench(*words)
    assert over.returncode == 1
    assert "more failures than --max-failures 1%: brightness/pictures: 1 of 17" in over.stderr
    assert fdr_bench(*words, "--max-failures", "1").returncode == 0
    assert fdr_bench(*words, "--max-failures", "6%").returncode == 0


def test_ctrl_c_leaves_a_run_that_can_be_resumed_and_exits_130(tmp_path):
    data = make_folders(tmp_path / "pictures", n=60)
    out = tmp_path / "run"
    words = [sys.executable, "-m", "fdr_bench", "run", "--plugin", PLUGIN, "--data", f"folders:{data}", "--out", out]
    environment = {**os.environ, "BRIGHTNESS_SECONDS_AN_IMAGE": "0.2"}
    process = subprocess.Popen(
        words,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Where the tests themselves run in a shell's background, SIGINT is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    log = out / "brightness" / "pictures" / "predictions.jsonl"
    deadline = time.time() + 60
    while not (log.exists() and log.stat().st_size) and time.time() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "the same command again goes on from there" in said and "Traceback" not in said
    stored = log.read_bytes().count(b"\n")
    assert 0 < stored < 240
    assert fdr_bench("resume", out).returncode == 0
    assert log.read_bytes().count(b"\n") == 240


def test_predict_needs_no_labels_and_names_what_it_cannot_read(tmp_path):
    data = make_folders(tmp_path / "pictures", n=1, generators=("g",))
    (data / "broken.jpg").write_bytes(b"no image")
    answer = fdr_bench("predict", data, "--plugin", PLUGIN, "--json")
    assert answer.returncode == 1
    rows = {Path(row["image"]).name: row for row in json.loads(answer.stdout)}
    assert "cannot" in rows["broken.jpg"]["error"] or "not" in rows["broken.jpg"]["error"]
    assert 0 <= rows["0000.png"]["score"] <= 1 and rows["0000.png"]["verdict"] in ("real", "fake")
