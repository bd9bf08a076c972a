"""The pipeline: stages in order, skipped where finished, a folder that the detector reads, and no paths in cards."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from fakereasoning import ablations, pipeline, tuning_loop
from fakereasoning.__main__ import main
from fakereasoning.config import size
from fakereasoning.pipeline import Plan, train, train_stage
from fakereasoning.starting import read_start, with_fusion
from fdr_bench.errors import UsageError
from fdr_bench.weights_card import read_card
from tests.fakereasoning import small, two_processes
from tests.fakereasoning.test_stage1 import Letters

ROOT = Path(__file__).resolve().parents[2]
DATA = "scenes:train?n=16&size=32"


@pytest.fixture
def plan(tmp_path, monkeypatch) -> Plan:
    """A plan for the small model: two steps a stage on sixteen pictures."""

    def small_size(name, *, vision=None, fusion=None):
        size(name, vision=vision, fusion=fusion)
        return replace(small.config(320), max_length=512)

    monkeypatch.setattr("fakereasoning.starting.size", small_size)
    monkeypatch.setattr("fakereasoning.stage1.minilm", Letters)
    monkeypatch.setenv("FDR_BENCH_CACHE", str(tmp_path.parent / "cache"))
    changes = {"base": {"batch": 4}, "facl": {"batch": 8}, "tune": {"batch": 4}}
    return Plan(data=DATA, out=tmp_path / "out", changes=changes, steps=2, threads=1, quiet=True, command="again")


def test_all_stages_leave_a_folder_in_half_precision_whose_card_tells_of_each(plan):
    assert train(plan) == plan.out
    assert {path.name for path in plan.out.iterdir()} == {
        *("base", "facl", "tune"),
        *("model.safetensors", "config.json", "tokenizer.json", "card.json"),
    }
    weights, tuned = load_file(plan.out / "model.safetensors"), load_file(plan.out / "tune" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()} == {torch.float16}
    assert all(torch.equal(weights[name], tensor.to(weights[name].dtype)) for name, tensor in tuned.items())
    card = json.loads((plan.out / "card.json").read_text())
    assert list(card["stages"]) == ["base", "facl", "tune"]
    assert card["trained_on"]["generators"] == ["transposed-conv-2"]
    assert (card["trained_on"]["n_real"], card["trained_on"]["n_fake"]) == (8, 8)
    assert card["seconds"] == pytest.approx(sum(stage["seconds"] for stage in card["stages"].values()), abs=0.1)
    assert read_card(plan.out).detector == "fakereasoning"
    for path in plan.out.rglob("card.json"):
        assert str(plan.out.parent) not in path.read_text()


def test_finished_stages_are_skipped_and_a_later_one_begins_with_the_one_before(plan, monkeypatch):
    train(replace(plan, stages=("base", "facl")))
    before = (plan.out / "base" / "model.safetensors").stat().st_mtime_ns
    positions = []
    advance = tuning_loop.TuningLoop._advance

    def counting(self, fraction):
        positions.append(self.position)
        advance(self, fraction)

    monkeypatch.setattr(tuning_loop.TuningLoop, "_advance", counting)
    train(plan)
    assert positions == [0, 1]  # those of the tuning
    assert (plan.out / "base" / "model.safetensors").stat().st_mtime_ns == before
    facl, tuned = (load_file(plan.out / stage / "model.safetensors") for stage in ("facl", "tune"))
    assert all(torch.equal(tensor, tuned[name]) for name, tensor in facl.items() if name.startswith(("clip.", "dino.")))


def test_stages_one_by_one_give_what_they_give_in_one_go(plan, tmp_path):
    train(plan)
    alone = {"base": plan.changes["base"]}
    base = train_stage(replace(plan, out=tmp_path / "base", changes=alone), "base")
    together, apart = load_file(plan.out / "base" / "model.safetensors"), load_file(base / "model.safetensors")
    assert all(torch.equal(tensor, apart[name]) for name, tensor in together.items())
    tune = replace(plan, out=tmp_path / "tune", start=plan.out / "facl", changes={"tune": plan.changes["tune"]})
    together, apart = (
        load_file(folder / "model.safetensors") for folder in (plan.out / "tune", train_stage(tune, "tune"))
    )
    assert all(torch.equal(tensor, apart[name]) for name, tensor in together.items())


def test_a_plan_that_does_not_fit_its_recipe_is_refused(plan):
    with pytest.raises(UsageError, match=r"no stage 'base'; expected tune"):
        train(replace(plan, recipe="official-13b", stages=("base",)))
    with pytest.raises(UsageError, match="no field 'learning_rate'"):
        train(replace(plan, changes={"base": {"learning_rate": 1}}))
    with pytest.raises(UsageError, match="leave them out"):
        train(replace(plan, start=plan.out, vision="clip"))


def test_a_model_gets_another_fusion_and_keeps_the_rest():
    model = small.model(320)
    crossed = with_fusion(model, "cross-attention")
    assert crossed.fusion is not None
    own = crossed.stored_tensors()
    assert set(model.stored_tensors()) - set(own) == {
        name for name in model.stored_tensors() if name.startswith("fusion.bias.")
    }
    assert all(torch.equal(tensor, model.stored_tensors()[name]) for name, tensor in own.items())
    interleaved = with_fusion(model, "interleave")
    assert interleaved.fusion is None
    back, again = (with_fusion(interleaved, "faff", seed=seed).stored_tensors() for seed in (1, 1))
    assert back.keys() == model.stored_tensors().keys()
    assert all(torch.equal(back[name], again[name]) for name in back)


def test_variants_share_their_base_and_facl(plan, monkeypatch):
    monkeypatch.setattr(ablations, "_scores", lambda folder, plan, test: {"acc": 0.5, "ap": 0.75})
    path = ablations.ablate(plan, variants=["full", "no-reasoning", "no-facl"], seeds=2, test="scenes")
    assert {folder.name for folder in plan.out.iterdir() if folder.is_dir()} == {
        *("base-clip+dino-faff-0", "base-clip+dino-faff-1", "facl-clip+dino-faff-0", "facl-clip+dino-faff-1"),
        *("full-0", "full-1", "no-reasoning-0", "no-reasoning-1", "no-facl-0", "no-facl-1"),
    }
    assert path.read_text().splitlines()[2] == "| full model | 2 | 50.0 ± 0.0 | 75.0 ± 0.0 | – | – | – | – |"
    recipe = json.loads((plan.out / "no-reasoning-0" / "card.json").read_text())["recipe"]
    assert recipe["stages"] == ["CONCLUSION"]


def test_the_table_has_mean_and_deviation_over_seeds_and_a_dash_for_what_is_not():
    values = {metric: [None] for metric in ablations.TOLD} | {"acc": [0.7, 0.8, 0.9], "ap": [0.875]}
    # Standard deviation of 70, 80, 90 with n - 1: sqrt((100 + 0 + 100) / 2) = 10.
    assert ablations.table([ablations.Figures("clip", values)]).splitlines()[2] == (
        "| CLIP alone | 3 | 80.0 ± 10.0 | 87.5 | – | – | – | – |"
    )


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
    ],
)
def test_a_mistake_on_the_command_line_ends_with_a_message(words, message, tmp_path):
    shown = CliRunner().invoke(main, ["train", "--data", DATA, "--out", str(tmp_path), *words])
    assert shown.exit_code == 2
    assert message in shown.output
    assert "Traceback" not in shown.output


def test_the_command_in_the_card_has_no_paths_of_this_machine(plan, monkeypatch):
    seen = []
    monkeypatch.setattr(pipeline, "train", lambda plan: seen.append(plan) or plan.out)
    words = ["train", "--data", DATA, "--out=/somewhere/out", "--start", "/home/me/base", "--set", "tune.lr=5e-4"]
    monkeypatch.setattr(sys, "argv", ["__main__.py", *words])
    assert CliRunner().invoke(main, words).exit_code == 0
    assert seen[0].command == f"python -m fakereasoning train --data '{DATA}' --set tune.lr=5e-4"
    assert seen[0].changes == {"tune": {"lr": 5e-4}}


def test_a_light_door_the_command_line_imports_nothing_heavy():
    program = (
        "import sys, fakereasoning.__main__\nprint([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_accumulation_and_go_on_after_a_stop(tmp_path):
    def launched(folder: Path, stop: int) -> int:
        words = ["--nproc_per_node", "2", "--master_port", "29517", "-m", "tests.fakereasoning.two_processes"]
        return subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", *words, str(folder), str(stop)],
            cwd=ROOT,
            capture_output=True,
            check=False,
        ).returncode

    two_processes.main(tmp_path / "one", 0, accumulation=2)
    assert launched(tmp_path / "two", 0) == 0
    assert launched(tmp_path / "stopped", 3) != 0
    assert (tmp_path / "stopped" / "out" / "unfinished-000000003" / "counters.json").exists()
    assert launched(tmp_path / "stopped", 0) == 0
    one, two, stopped = (load_file(tmp_path / name / "out" / "model.safetensors") for name in ("one", "two", "stopped"))
    assert all(torch.allclose(tensor, two[name], atol=2e-5) for name, tensor in one.items())
    assert all(torch.equal(tensor, stopped[name]) for name, tensor in two.items())


@pytest.mark.slow
def test_the_whole_nano_pipeline_runs_from_nothing_to_a_scored_run(tmp_path, monkeypatch):
    monkeypatch.setenv("FDR_BENCH_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "model"
    plan = Plan(
        data="scenes:train?n=48",
        out=out,
        steps=2,
        threads=2,
        quiet=True,
        validation="scenes:val?n=8",
    )
    train(plan)
    assert (out / "model.safetensors").stat().st_size <= 16e6
    assert read_start(out).model.config.image_tokens == 64
    words = [
        "run",
        "--models",
        "fakereasoning",
        "--weights",
        f"fakereasoning={out}",
        "--data",
        "scenes:test?fakes=1&reals=2",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "fdr_bench", *words, "--workers", "1", "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())["scores"]
    assert any(row["metric"] == "ap" and row.get("value") is not None for row in scores)
