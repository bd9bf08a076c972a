"""The pipeline: stages in order, skipped where finished, a folder that the detector reads, and no paths in cards."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fakereasoning import pipeline, tuning_loop
from fakereasoning.calibration import HIGHEST, LOWEST, read_temperature
from fakereasoning.material import REHEARSED, rehearsed
from fakereasoning.pipeline import Plan, train, train_stage
from fakereasoning.scene_questions import scene_questions
from fakereasoning.starting import read_start, with_dino, with_fusion
from fdr_bench.errors import UsageError
from fdr_bench.weights_card import read_card
from tests.fakereasoning import small, two_processes

ROOT = Path(__file__).resolve().parents[2]


def test_all_stages_leave_a_folder_in_half_precision_whose_card_tells_of_each(plan):
    plan.out.mkdir()
    (plan.out / "calibration.json").write_text("{}")  # of weights that lay there before
    assert train(plan) == plan.out
    assert {path.name for path in plan.out.iterdir()} == {
        *("words", "base", "facl", "tune"),
        *("model.safetensors", "config.json", "tokenizer.json", "card.json"),
    }
    weights, tuned = load_file(plan.out / "model.safetensors"), load_file(plan.out / "tune" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()} == {torch.float16}
    assert all(torch.equal(weights[name], tensor.to(weights[name].dtype)) for name, tensor in tuned.items())
    card = json.loads((plan.out / "card.json").read_text())
    assert list(card["stages"]) == ["words", "base", "facl", "tune"]
    assert card["trained_on"]["generators"] == ["transposed-conv-2"]
    assert (card["trained_on"]["n_real"], card["trained_on"]["n_fake"]) == (8, 8)
    assert card["seconds"] == pytest.approx(sum(stage["seconds"] for stage in card["stages"].values()), abs=0.1)
    assert read_card(plan.out).detector == "fakereasoning"
    for path in plan.out.rglob("card.json"):
        assert str(plan.out.parent) not in path.read_text()


def test_finished_stages_are_skipped_and_a_later_one_begins_with_the_one_before(plan, monkeypatch):
    train(replace(plan, stages=("words", "base", "facl")))
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
    words, base, facl, tuned = (
        load_file(plan.out / stage / "model.safetensors") for stage in ("words", "base", "facl", "tune")
    )
    # Words and base have CLIP alone; DINO and the fusion join in FACL, which leaves the blocks of the language model.
    assert words.keys() == base.keys()
    assert {name.partition(".")[0] for name in facl.keys() - base.keys()} == {"dino", "dino_projector", "fusion"}
    layers = [name for name in base if name.startswith("language.model.layers.")]
    assert layers and all(torch.equal(base[name], facl[name]) for name in layers)
    # Tuning leaves DINO as FACL made it, and goes on with CLIP.
    dino = [name for name in facl if name.startswith("dino.")]
    assert dino and all(torch.equal(facl[name], tuned[name]) for name in dino)
    assert not torch.equal(facl["clip.embeddings.class_embedding"], tuned["clip.embeddings.class_embedding"])


def test_a_model_may_go_on_with_evidence_which_leaves_all_but_its_clip(plan, tmp_path):
    train(replace(plan, stages=("words", "base", "facl")))
    changes = {"evidence": {"batch": 8}, "tune": {"batch": 4}}
    more = replace(plan, recipe="evidence", start=plan.out / "facl", out=tmp_path / "more", changes=changes)
    train(more)
    card = json.loads((more.out / "card.json").read_text())
    assert list(card["stages"]) == ["evidence", "tune"] and card["stages"]["evidence"]["evidence"]
    before, after = (load_file(one / "model.safetensors") for one in (more.start, more.out / "evidence"))
    assert before.keys() == after.keys()
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"clip", "clip_projector", "fusion"}
    # A model of CLIP alone stays one until FACL.
    alone = replace(more, start=plan.out / "base", out=tmp_path / "alone", changes={"evidence": {"batch": 8}})
    assert (
        load_file(train_stage(alone, "evidence") / "model.safetensors").keys()
        == load_file(plan.out / "base" / "model.safetensors").keys()
    )


def test_a_tuning_goes_on_with_the_questions_about_a_share_of_its_images(plan, tmp_path):
    train(replace(plan, stages=("words", "base", "facl")))
    given = {**plan.changes["tune"], "direct": 0, "contrary": 0, "held_out": 0, "pack": False}

    def learnt(share: float) -> int:
        changes = {"tune": {**given, "rehearsal": share}}
        out = train_stage(replace(plan, start=plan.out / "facl", out=tmp_path / str(share), changes=changes), "tune")
        return json.loads((out / "card.json").read_text())["n_records"]

    questions = scene_questions(plan.data, questions=REHEARSED, captions=0)
    of_half = rehearsed(questions, 0.5)
    assert len({record.image.location for record in of_half}) == 8
    assert [learnt(0), learnt(0.5), learnt(1)] == [16, 16 + len(of_half), 16 + len(questions)]


def test_stages_one_by_one_give_what_they_give_in_one_go(plan, tmp_path):
    train(plan)
    words = train_stage(replace(plan, out=tmp_path / "words", changes={"words": plan.changes["words"]}), "words")
    alone = {"base": plan.changes["base"]}
    base = train_stage(replace(plan, out=tmp_path / "base", start=words, changes=alone), "base")
    together, apart = load_file(plan.out / "base" / "model.safetensors"), load_file(base / "model.safetensors")
    assert all(torch.equal(tensor, apart[name]) for name, tensor in together.items())
    tune = replace(plan, out=tmp_path / "tune", start=plan.out / "facl", changes={"tune": plan.changes["tune"]})
    together, apart = (
        load_file(folder / "model.safetensors") for folder in (plan.out / "tune", train_stage(tune, "tune"))
    )
    assert all(torch.equal(tensor, apart[name]) for name, tensor in together.items())


def test_the_result_is_calibrated_with_a_diagram_and_once_on_the_same_data(plan, monkeypatch, capsys):
    plan = replace(plan, validation="scenes:val?n=8&size=32")
    train(plan)
    assert capsys.readouterr().err == ""
    told = json.loads((plan.out / "calibration.json").read_text())
    assert (told["fitted_on"]["n"], told["fitted_on"]["n_fake"]) == (8, 4)
    assert "Reliability" in (plan.out / "reliability.html").read_text()
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "calibrate_folder", lambda *_, **__: pytest.fail("calibrated again"))
        train(replace(plan, quiet=False))
    assert capsys.readouterr().err.splitlines() == [
        f"words, to see what is said of images: {plan.out / 'words'}, finished before",
        f"base, to describe images: {plan.out / 'base'}, finished before",
        f"facl, to see forgery: {plan.out / 'facl'}, finished before",
        f"tune, to reason and to judge: {plan.out / 'tune'}, finished before",
        f"calibration on fdr-scenes-val: {plan.out}, finished before",
    ]
    train(replace(plan, validation="scenes:val?n=12&size=32"))
    assert json.loads((plan.out / "calibration.json").read_text())["fitted_on"]["n"] == 12


def test_a_mistake_in_a_later_stage_shows_before_the_first_begins(plan):
    with pytest.raises(UsageError, match="batch is"):
        train(replace(plan, changes={"tune": {"batch": "many"}}))
    with pytest.raises(UsageError, match="valu"):
        train(replace(plan, validation="scenes:valu"))
    assert not plan.out.exists()


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
    alone = with_fusion(model, "none")
    assert alone.dino is None and alone.config.vision == "clip"
    assert set(alone.stored_tensors()) == {
        name for name in model.stored_tensors() if name.startswith(("clip.", "clip_projector.", "language."))
    }


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
    train(Plan(data="scenes:train?n=48", out=out, steps=2, threads=2, quiet=True, validation="scenes:val?n=8"))
    assert (out / "model.safetensors").stat().st_size <= 16e6
    assert read_start(out).model.config.image_tokens == 64
    calibration = json.loads((out / "calibration.json").read_text())
    assert calibration["temperature"] == pytest.approx(read_temperature(out))
    assert LOWEST <= calibration["temperature"] <= HIGHEST and calibration["fitted_on"]["n"] == 8
    words = ["run", "--models", "fakereasoning", "--weights", f"fakereasoning={out}", "--workers", "1"]
    words += ["--data", "scenes:test?fakes=1&reals=2", "--out", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-m", "fdr_bench", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (predictions,) = (tmp_path / "run").rglob("predictions.jsonl")
    rows = [json.loads(line) for line in predictions.read_text().splitlines()]
    assert len(rows) == 12 and all(0 <= row["score"] <= 1 and row["raw"] for row in rows)
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())["scores"]
    of_model = {row["metric"]: row for row in scores if (row["model"], row["slice"]) == ("fakereasoning@model", "all")}
    # At two steps a stage hardly a text is whole, which is what the failures count, and strictly it scores 0.
    assert of_model["failure_rate"]["value"] == sum("verdict" not in row for row in rows) / 12
    for metric in ("ap", "ece", "bleu1@nltk-split@strict", "rougeL@stem@strict", "css@minilm-l6@strict"):
        assert of_model[metric]["value"] is not None and of_model[metric]["n"] == 12, metric


def test_a_model_of_clip_alone_gets_the_other_tower_and_reads_as_before():
    whole = small.model(320)
    alone = with_fusion(whole, "none")
    grown, again = (with_dino(alone, whole.config, seed=seed) for seed in (3, 3))
    assert grown.config == whole.config
    tensors, before = grown.stored_tensors(), alone.stored_tensors()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in before.items())
    assert all(torch.equal(tensor, again.stored_tensors()[name]) for name, tensor in tensors.items())
    pixels = torch.randn(2, 3, whole.config.image_size, whole.config.image_size)
    with torch.no_grad():
        was = alone.eval().image_tokens(alone.visual_features(pixels))
        now = grown.eval().image_tokens(grown.visual_features(pixels))
    # The fusion's branches begin at 0, and its norms at the identity.
    width = whole.config.width
    torch.testing.assert_close(now, torch.nn.functional.layer_norm(was, (width,)), rtol=1e-3, atol=1e-3)
    assert with_dino(whole, whole.config) is whole and with_dino(alone, alone.config) is alone
