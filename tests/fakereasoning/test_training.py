"""Tuning: what learns and what does not, going on after a stop, adapters, and the losses against the plain model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fakereasoning import tuning_loop
from fakereasoning.lora_folder import on_base
from fakereasoning.model import FakeReasoning
from fakereasoning.official_names import source
from fakereasoning.recipe import PARTS, Lora, TuneRecipe
from fakereasoning.records import Record
from fakereasoning.tokenizer import ByteLevelCodec
from fakereasoning.training import TuneResult, tune
from fdr_bench.errors import DataError, RunError, UsageError
from tests.fakereasoning import small

ALL = TuneRecipe(trainable=PARTS, epochs=3, batch=4, lr=3e-3, held_out=0.1)
FROZEN = replace(ALL, trainable=("projectors", "fusion", "language"))
ONE_STEP = replace(FROZEN, accumulation=2)
BY_MUON = replace(ALL, muon=3.0)
ADAPTED = replace(FROZEN, lora=Lora(rank=4, alpha=8, dropout=0.2))


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> list[Record]:
    return small.records(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def codec(records) -> ByteLevelCodec:
    return small.codec(records)


@pytest.fixture
def train(records, codec, tmp_path) -> Callable[..., TuneResult]:
    """Tune a fresh small model on the records; the folder is named by the first argument."""

    def run(name: str, recipe: TuneRecipe, **options) -> TuneResult:
        options = {"seed": 3, "threads": 1, "quiet": True} | options
        return tune(
            options.pop("model", None) or small.model(codec.vocabulary),
            codec,
            options.pop("records", records),
            recipe=recipe,
            out=tmp_path / name,
            **options,
        )

    return run


def tensors(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    return {name.partition(".")[0] for name, tensor in after.items() if not torch.equal(tensor, before[name])}


# ---------------------------------------------------------------- going on


@pytest.mark.parametrize(
    ("recipe", "stop"),
    # Two steps an epoch, three epochs; with accumulation one step an epoch.
    [(ALL, 1), (ALL, 4), (BY_MUON, 4), (ADAPTED, 1), (ADAPTED, 4), (ONE_STEP, 1), (ONE_STEP, 2)],
    ids=["all-1", "all-4", "muon-4", "adapters-1", "adapters-4", "frozen-1", "frozen-2"],
)
def test_a_stopped_training_goes_on_to_the_same_bytes(train, tmp_path, monkeypatch, recipe, stop):
    train("whole", recipe)
    advance = tuning_loop.TuningLoop._advance

    def failing(self, fraction):
        if self.position == stop:
            raise KeyboardInterrupt
        advance(self, fraction)

    with monkeypatch.context() as patch:
        patch.setattr(tuning_loop.TuningLoop, "_advance", failing)
        with pytest.raises(KeyboardInterrupt):
            train("stopped", recipe, checkpoint_seconds=0)
    assert (tmp_path / "stopped" / "unfinished.pt").exists()
    torch.manual_seed(99)  # as another process would have it
    went_on = train("stopped", recipe)
    whole, stopped = tensors(tmp_path / "whole"), tensors(tmp_path / "stopped")
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    assert sorted(path.name for path in (tmp_path / "stopped").iterdir()) == sorted(
        path.name for path in (tmp_path / "whole").iterdir()
    )
    losses = [{**row, "seconds": 0} for row in went_on.card["history"]]
    assert losses == [{**row, "seconds": 0} for row in train("whole", recipe).card["history"]]


def test_a_finished_folder_is_returned_at_once_and_refused_to_another_training(train, tmp_path, monkeypatch):
    first = train("out", ALL)
    monkeypatch.setattr(tuning_loop.TuningLoop, "_advance", lambda *_: pytest.fail("trained again"))
    again = train("out", ALL)
    assert again.card == first.card
    with pytest.raises(RunError, match="another training"):
        train("out", replace(ALL, lr=1e-3))
    with pytest.raises(RunError, match="another training"):
        train("out", ALL, seed=4)


def test_restarting_begins_anew(train, tmp_path):
    train("out", ALL)
    other = train("out", replace(ALL, lr=1e-3), resume=False)
    assert other.card["recipe"]["lr"] == 1e-3


def test_a_saved_state_of_another_training_is_refused(train, tmp_path, monkeypatch):
    advance = tuning_loop.TuningLoop._advance

    def failing(self, fraction):
        if self.position == 2:
            raise KeyboardInterrupt
        advance(self, fraction)

    monkeypatch.setattr(tuning_loop.TuningLoop, "_advance", failing)
    with pytest.raises(KeyboardInterrupt):
        train("out", ALL, checkpoint_seconds=0)
    with pytest.raises(RunError, match="another recipe"):
        train("out", replace(ALL, lr=1e-3))


def test_the_time_may_end_a_training_before_its_steps(train):
    card = train("out", ALL, max_minutes=1e-6).card
    assert card["steps"] == 0
    assert card["history"] == []


def test_steps_may_end_within_an_epoch(train):
    card = train("out", replace(ALL, steps=3)).card
    assert card["steps"] == 3
    assert [row["steps"] for row in card["history"]] == [2, 3]  # 11 records in batches of 4: 2 steps an epoch


# ---------------------------------------------------------------- what learns


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (ALL, {"clip", "dino", "clip_projector", "dino_projector", "fusion", "language"}),
        (FROZEN, {"clip_projector", "dino_projector", "fusion", "language"}),
        (replace(FROZEN, cache_features=False), {"clip_projector", "dino_projector", "fusion", "language"}),
        (replace(FROZEN, trainable=("projectors",)), {"clip_projector", "dino_projector"}),
        (ADAPTED, {"clip_projector", "dino_projector", "fusion", "language"}),
    ],
    ids=["all", "frozen towers", "not cached", "projectors", "adapters"],
)
def test_only_the_named_parts_learn(train, codec, tmp_path, recipe, expected):
    train("out", recipe)
    before = small.model(codec.vocabulary).stored_tensors()
    assert changed(before, tensors(tmp_path / "out")) == expected


def test_adapters_leave_all_but_their_layers_of_the_language_model_alone(train, codec, tmp_path):
    train("out", ADAPTED)
    before, after = small.model(codec.vocabulary).stored_tensors(), tensors(tmp_path / "out")
    moved = {name for name in after if name.startswith("language.") and not torch.equal(after[name], before[name])}
    assert moved == {name for name in after if name.startswith("language.model.layers.") and "_proj." in name}


def test_the_losses_fall(train):
    history = train("out", replace(ALL, epochs=40, lr=1e-2, warmup=0.1, held_out=0.0)).card["history"]
    assert history[-1]["language"] < 0.25 * history[0]["language"]
    assert history[-1]["cpm"] < history[0]["cpm"]


def test_a_loss_that_is_not_finite_ends_the_training(train):
    with pytest.raises(RunError, match="diverged"):
        train("out", replace(ALL, lr=1e30, clip=None, warmup=0.0, epochs=20))


def test_held_out_images_are_not_trained_on(train, records):
    card = train("out", replace(ALL, held_out=0.25)).card
    assert (card["n_images"], card["n_held_out"]) == (9, 3)
    assert all({"held_out_language", "held_out_cpm"} <= row.keys() for row in card["history"])


# ---------------------------------------------------------------- adapters


def test_merged_adapters_are_what_the_official_folder_gives_on_the_base(train, codec, tmp_path):
    result = train("out", ADAPTED)
    base = without_towers(small.model(codec.vocabulary))
    merged = on_base(tmp_path / "out" / "adapter", base)
    own = without_towers(result.model)
    assert own.keys() == merged.keys()
    for name, tensor in own.items():
        assert torch.allclose(tensor, merged[name], atol=1e-6), name


def without_towers(model: FakeReasoning) -> dict[str, Tensor]:
    """All but the towers, whose convolutional stem has no official name, under their official names."""
    return {
        source(name).name: tensor
        for name, tensor in model.stored_tensors().items()
        if not name.startswith(("clip.", "dino."))
    }


def test_a_model_in_half_precision_learns_in_full_precision_and_stays_in_half(train, codec, tmp_path):
    model = small.model(codec.vocabulary).to(torch.bfloat16)
    before = {name: tensor.clone() for name, tensor in model.stored_tensors().items()}
    # A step of 1e-4 is lost in a bfloat16 weight of 0.1, whose last place is 5e-4; twenty of them are not.
    train("out", replace(ADAPTED, lr=1e-4, epochs=10, precision="bf16"), model=model)
    after = tensors(tmp_path / "out")
    assert {tensor.dtype for tensor in after.values() if tensor.is_floating_point()} == {torch.bfloat16}
    assert changed(before, after) == {"clip_projector", "dino_projector", "fusion", "language"}


def test_an_adapter_on_a_layer_that_is_not_there_is_refused(train):
    with pytest.raises(UsageError, match="no linear layer 'qkv'"):
        train("out", replace(FROZEN, lora=Lora(rank=2, alpha=4, targets=("qkv",))))


# ---------------------------------------------------------------- what cannot be


def test_an_image_that_cannot_be_decoded_is_named(train, records, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    image = replace(records[0], image=type(records[0].image)(str(broken), 7))
    with pytest.raises(DataError, match=r"broken\.png"):
        train("out", ALL, records=[image, *records[1:]])


def test_precision_and_device_have_to_be_there(train):
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        train("out", replace(ALL, precision="fp16"))
    with pytest.raises(UsageError, match="expected 'cpu' or 'cuda'"):
        train("out", ALL, device="tpu")


def test_bfloat16_products_train_too(train):
    history = train("out", replace(ALL, precision="bf16")).card["history"]
    assert np.isfinite(history[-1]["language"])
