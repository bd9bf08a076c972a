"""Variants: what they share, that nothing is done twice, and their table."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fakereasoning import ablations
from fakereasoning.pipeline import train_stage
from fdr_bench.errors import UsageError
from fdr_bench.store import read_scores


def test_variants_share_their_base_and_facl(plan, monkeypatch):
    monkeypatch.setattr(ablations, "_scores", lambda folder, plan, test: {"acc": 0.5, "ap": 0.75})
    path = ablations.ablate(plan, variants=["full", "no-reasoning", "no-facl"], seeds=2, test="scenes")
    assert {folder.name for folder in plan.out.iterdir() if folder.is_dir()} == {
        *("words-0", "words-1", "base-0", "base-1"),
        *("facl-clip+dino-faff-0", "facl-clip+dino-faff-1"),
        *("full-0", "full-1", "no-reasoning-0", "no-reasoning-1", "no-facl-0", "no-facl-1"),
    }
    row = path.read_text().splitlines()[2]
    assert row == "| full model | 2 | 50.0 ± 0.0 | – | 75.0 ± 0.0 | – | – | – | – | – | – |"
    recipe = json.loads((plan.out / "no-reasoning-0" / "card.json").read_text())["recipe"]
    assert recipe["stages"] == ["CONCLUSION"]


def test_variants_may_all_begin_with_one_base(plan, monkeypatch):
    monkeypatch.setattr(ablations, "_scores", lambda folder, plan, test: {"acc": 0.5})
    base = train_stage(replace(plan, out=plan.out / "base"), "base")
    ablations.ablate(
        replace(plan, start=base, out=plan.out / "all"), variants=["full", "clip", "interleave"], seeds=1, test="scenes"
    )
    made = {folder.name for folder in (plan.out / "all").iterdir() if folder.is_dir()}
    assert made == {
        *("facl-clip+dino-faff-0", "facl-clip-none-0", "facl-clip+dino-interleave-0"),
        *("full-0", "clip-0", "interleave-0"),
    }
    fusions = {
        name: json.loads((plan.out / "all" / name / "config.json").read_text())["fusion"]
        for name in ("full-0", "clip-0", "interleave-0")
    }
    assert fusions == {"full-0": "faff", "clip-0": "none", "interleave-0": "interleave"}


def test_a_variant_is_tested_once_and_its_scores_are_found_again(plan):
    test = "scenes:test?generator=dct-bottleneck&fakes=1&reals=1&size=32"
    changes = {**plan.changes, "tune": {"batch": 4, "stages": ["CONCLUSION"]}}
    plan = replace(plan, changes=changes)
    table = ablations.ablate(plan, variants=["no-facl"], seeds=1, test=test).read_text()
    (predictions,) = (plan.out / "runs").glob("*/*/*/predictions.jsonl")
    written = predictions.stat().st_mtime_ns
    assert ablations.ablate(plan, variants=["no-facl"], seeds=1, test=test).read_text() == table
    assert predictions.stat().st_mtime_ns == written
    assert table.splitlines()[2].startswith("| without FACL | 1 | ")
    # Conclusions alone have no reasoning to be measured: what stands beside the model in the run is not the model's.
    (run,) = (plan.out / "runs").iterdir()
    assert any(row["metric"] == "bleu1@nltk-split" and row["value"] is not None for row in read_scores(run))
    values = json.loads((plan.out / "ablations.json").read_text())["variants"]["no-facl"]
    assert values["bleu1@nltk-split"] == [None] and values["css@minilm-l6"] == [None]


def test_an_ablation_with_a_fusion_is_refused(plan):
    with pytest.raises(UsageError, match="leave --vision and --fusion out"):
        ablations.ablate(replace(plan, fusion="interleave"), variants=["full"], seeds=1, test="scenes")


def test_the_table_has_mean_and_deviation_over_seeds_and_a_dash_for_what_is_not():
    values = {metric: [None] for metric in ablations.TOLD} | {"acc": [0.7, 0.8, 0.9], "ap": [0.875]}
    # Standard deviation of 70, 80, 90 with n - 1: sqrt((100 + 0 + 100) / 2) = 10.
    assert ablations.table([ablations.Figures("clip", values)]).splitlines()[2] == (
        "| CLIP alone | 3 | 80.0 ± 10.0 | – | 87.5 | – | – | – | – | – | – |"
    )
