"""Recipes: the shipped ones say what they should, and a mistake in one is named."""

from __future__ import annotations

import json
from typing import get_args

import pytest
import torch

from fakereasoning.facl_recipe import FaclRecipe
from fakereasoning.material import Stage
from fakereasoning.optimisation import course, parameter_groups, part_of
from fakereasoning.recipe import FOLDER, Lora, TuneRecipe, read_recipe, shipped
from fakereasoning.sizes import SIZES
from fdr_bench.errors import UsageError
from tests.fakereasoning import small


@pytest.mark.parametrize("name", shipped())
def test_shipped_recipes_can_be_read_and_written(name):
    content = read_recipe(name)
    assert content["size"] in SIZES
    for stage in ("base", "tune"):
        if stage in content:
            recipe = TuneRecipe.from_json(content[stage])
            assert TuneRecipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    FaclRecipe.from_json(content.get("facl", {}))


def test_the_official_recipe_has_the_published_numbers():
    """Table of section 5 of the specification: finetune_task_lora.sh of PRIS-CV/FakeReasoning at c1aec51."""
    recipe = TuneRecipe.from_json(read_recipe("official-13b")["tune"])
    assert recipe.lora == Lora(rank=128, alpha=256, dropout=0.05)
    assert (recipe.lr, recipe.rates, recipe.weight_decay) == (2e-5, {"projectors": 2e-5}, 0.0)
    assert (recipe.epochs, recipe.warmup, recipe.max_length) == (3, 0.03, 2048)
    assert recipe.batch * recipe.accumulation * 8 == 128
    assert (recipe.precision, recipe.gradient_checkpointing) == ("bf16", True)
    assert set(recipe.trainable) == {"projectors", "fusion", "language"}
    assert (recipe.cpm_weight, recipe.cpm_temperature, recipe.cpm_semantics) == (1.0, 10.0, "official")
    assert recipe.questions == "recorded"


def test_adapters_of_the_official_rank_have_as_many_parameters_as_published():
    language = SIZES["llava-1.5-13b"].language
    width, hidden, blocks = (int(language[name]) for name in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    # Four square layers and three of the feed-forward block, each with rank * (in + out) numbers.
    assert blocks * Lora().rank * (4 * 2 * width + 3 * (width + hidden)) == 500_695_040


def test_the_launcher_configuration_wraps_blocks_that_the_model_has():
    import yaml

    written = yaml.safe_load((FOLDER / "fsdp.yaml").read_text())
    wrapped = set(written["fsdp_config"]["fsdp_transformer_layer_cls_to_wrap"].split(","))
    with torch.device("meta"):
        names = {type(module).__name__ for module in small.model(320).modules()}
    assert wrapped <= names
    assert written["distributed_type"] == "FSDP"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"learning_rate": 1}, "no field 'learning_rate'"),
        ({"trainable": ["vision"]}, "trainable has 'vision'"),
        ({"rates": {"lm": 1e-3}}, "rates has 'lm'"),
        ({"precision": "fp8"}, "precision has 'fp8'"),
        ({"questions": "record"}, "Did you mean 'recorded'"),
        ({"stages": ["CONCLUSIONS"]}, "Did you mean 'CONCLUSION'"),
        ({"trainable": []}, "trains no part"),
        ({"trainable": ["fusion"], "lora": {}}, "without 'language'"),
        ({"lora": {"rank": 0}}, "rank 0"),
        ({"lora": {"r": 8}}, "no field 'r'"),
        ({"epochs": 0}, "epochs is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"clip": 0.0}, "clip is 0"),
        ({"muon": 0}, "muon is 0"),
        ({"lr": -1.0}, "lr is -1"),
        ({"evidence_weight": -1}, "evidence_weight is -1"),
        ({"places_weight": -1}, "places_weight is -1"),
        ({"glances": -1}, "glances is -1"),
        ({"glances": 4, "trainable": ["clip"]}, "from which nothing is learnt"),
        ({"glances": 4, "evidence_weight": 1.0}, "train a tower"),
        ({"contrary": 1.5}, r"contrary is 1\.5; expected a share"),
        ({"held_out": 1.0}, "held_out 1.0"),
        ({"pack": True, "cpm_semantics": "official"}, "set pack to false"),
        ({"rehearsal": 1.5}, r"rehearsal is 1\.5; expected a share"),
        ({"shift": 8}, "whose towers are frozen"),
        ({"shift": -1}, "shift is -1"),
        ({"epochs": "many"}, 'epochs is "many"; expected a number'),
        ({"batch": 2.5}, r"batch is 2\.5; expected a whole number"),
        ({"batch": True}, "batch is true; expected a whole number"),
        ({"clip": "1"}, 'clip is "1"; expected a number or null'),
        ({"epochs": float("inf")}, "epochs is Infinity"),
        ({"trainable": "clip"}, 'trainable is "clip"; expected a list of text'),
        ({"betas": [0.9]}, r"betas is \[0\.9\]; expected a list of 2 numbers"),
        ({"rates": {"clip": "x"}}, "rates is .* values are each a number"),
        ({"lora": 4}, "lora is 4; expected an object of its fields or null"),
        ({"lora": {"targets": "q_proj"}}, 'targets is "q_proj"; expected a list of text'),
    ],
)
def test_a_mistake_in_a_recipe_is_named(content, message):
    with pytest.raises(UsageError, match=message):
        TuneRecipe.from_json(content)


def test_an_unknown_recipe_is_named_with_the_nearest(tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'nano'"):
        read_recipe("nanno")
    (tmp_path / "mine.json").write_text("[]")
    with pytest.raises(UsageError, match="no JSON object"):
        read_recipe(str(tmp_path / "mine.json"))
    for stage in get_args(Stage):
        (tmp_path / "mine.json").write_text(f'{{"{stage}": 3}}')
        with pytest.raises(UsageError, match=f"has 3 as '{stage}'"):
            read_recipe(str(tmp_path / "mine.json"))


def test_every_parameter_that_learns_is_in_one_group_with_its_parts_rate():
    model = small.model(320)
    recipe = TuneRecipe(lr=1e-3, rates={"clip": 1e-4, "projectors": 2e-5}, weight_decay=0.1)
    groups = parameter_groups(model, recipe)
    found = [parameter for group in groups for parameter in group["params"]]
    assert len(found) == len({id(one) for one in found})
    assert {id(one) for one in found} == {id(one) for one in model.parameters() if one.requires_grad}
    rate = {id(one): (group["peak"], group["weight_decay"]) for group in groups for one in group["params"]}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            peak = {"clip": 1e-4, "projectors": 2e-5}.get(part_of(name), 1e-3)
            assert rate[id(parameter)] == (peak, 0.1 if parameter.squeeze().ndim > 1 else 0.0), name


@pytest.mark.parametrize(
    ("fraction", "share"), [(0.0, 0.0), (0.05, 0.5), (0.1, 1.0), (0.55, 0.5), (1.0, 0.0), (0.325, 0.5 + 0.5**1.5)]
)
def test_the_rate_rises_in_a_line_and_falls_along_half_a_cosine(fraction, share):
    # 0.325 is a quarter of the way from 0.1 to 1: (1 + cos 45°) / 2 = 0.5 + sqrt(2) / 4.
    assert course(fraction, 0.1) == pytest.approx(share, abs=1e-12)
