"""The trainer as a whole: from a dataset to weights, reproducibly, also after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fdr_bench.errors import DataError, RunError, UsageError
from fdr_bench.images import apply_view, decode
from fdr_bench.store import Lock, read_json
from fdr_bench.training import train
from fdr_bench.weights_card import view_from_json

from .made import RECIPE, VIEW, MemoryImage, Tiny, TinyDetector, dataset, made, sample, with_recipe

ROOT = Path(__file__).resolve().parents[2]


def trained(out: Path, detector: type[TinyDetector] = TinyDetector, **options: object) -> Path:
    options = {"dataset": made(), "size": "small", "threads": 1, "quiet": True, **options}
    data = options.pop("dataset")
    return train(detector, data, out=out, **options)  # type: ignore[arg-type]


def weights(out: Path) -> bytes:
    return (out / "model.safetensors").read_bytes()


def test_the_trained_weights_tell_real_from_fake_on_new_images(tmp_path):
    trained(tmp_path, epochs=12)
    network = Tiny(8).eval()
    network.load_state_dict(load_file(tmp_path / "model.safetensors"))
    new = [sample(number, fake=number % 2 == 0) for number in range(1000, 1100)]
    views = np.stack([apply_view(VIEW, decode(each.image.read(), each.id).pixels) for each in new])
    with torch.inference_mode():
        said = network(torch.from_numpy(views)).numpy() > 0
    assert np.mean(said == [each.label == "fake" for each in new]) >= 0.95


def test_the_card_tells_what_the_weights_are_and_what_they_were_trained_on(tmp_path):
    trained(tmp_path, epochs=2)
    card = read_json(tmp_path / "card.json")
    assert (card["detector"], card["size"], card["architecture"]) == ("tiny", "small", {"width": 8})
    assert view_from_json(card["view"]) == VIEW
    # 60 of each class; a fifth of each is held out: 12 and 12
    assert card["trained_on"] | {"fingerprint": ""} == {
        "dataset": "made",
        "spec": "made:",
        "fingerprint": "",
        "generators": ["gan"],
        "n_real": 48,
        "n_fake": 48,
        "n_held_out": 24,
        "left_out": {"failed": [], "duplicates_of_held_out": 0},
    }
    # conv 3*8*9 + 8, norm 8 + 8, head 8 + 1
    assert card["parameters"] == 216 + 8 + 16 + 9
    assert [row["epoch"] for row in card["history"]] == [1, 2]
    assert [row["steps"] for row in card["history"]] == [6, 6]  # 96 images in batches of 16
    assert card["recipe"]["epochs"] == 2
    assert card["validation"]["accuracy"] == max(row["validation_accuracy"] for row in card["history"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card.json", "model.safetensors"]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    first, second, other = (trained(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert weights(first) == weights(second)
    assert weights(first) != weights(other)


def test_training_leaves_torchs_threads_and_determinism_as_they_were(tmp_path):
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    trained(tmp_path, epochs=1)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


@pytest.mark.parametrize("kills", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_a_killed_training_continues_to_the_same_bytes(tmp_path, kills):
    command = [sys.executable, "-m", "tests.training.made", str(tmp_path / "killed")]
    checkpoint = tmp_path / "killed" / "unfinished.pt"
    for kill in range(kills):
        _kill_after_a_checkpoint(command, checkpoint, later=0.05 * (kill + 1))
    assert checkpoint.exists() and not (tmp_path / "killed" / "card.json").exists()
    # The training of tests.training.made, here: it continues what the killed process left.
    trained(tmp_path / "killed", epochs=20)
    whole = trained(tmp_path / "whole", epochs=20)
    assert weights(tmp_path / "killed") == weights(whole)
    assert untimed(tmp_path / "killed") == untimed(whole)


def _kill_after_a_checkpoint(command: list[str], checkpoint: Path, later: float) -> None:
    """Start the training, wait for a checkpoint of its own and so many seconds, and kill it without notice."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MADE_PAUSE": "0.03"}
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if checkpoint.exists() and checkpoint.stat().st_mtime_ns > before:
            break
        time.sleep(0.005)
    time.sleep(later)
    assert process.poll() is None, "the training ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("stop", [1, 5, 6, 7, 12, 17])
def test_a_training_stopped_after_any_step_continues_to_the_same_bytes(tmp_path, monkeypatch, stop):
    from fdr_bench.training import checkpoint

    class Stopped(Exception):
        pass

    def save_and_stop(*args: Any) -> None:
        nonlocal steps
        wanted(*args)
        steps += 1
        if steps == stop:
            raise Stopped

    steps, wanted = 0, checkpoint.save
    monkeypatch.setattr(checkpoint, "save", save_and_stop)
    with pytest.raises(Stopped):
        trained(tmp_path / "stopped", checkpoint_seconds=0.0)
    monkeypatch.undo()
    trained(tmp_path / "stopped")
    assert weights(tmp_path / "stopped") == weights(trained(tmp_path / "whole"))
    assert untimed(tmp_path / "stopped") == untimed(tmp_path / "whole")


def untimed(out: Path) -> list[dict[str, Any]]:
    """Return the card's history without its times."""
    return [{**row, "seconds": 0} for row in read_json(out / "card.json")["history"]]


def test_a_checkpoint_of_another_training_or_a_damaged_one_is_refused(tmp_path, monkeypatch):
    from fdr_bench.training import trainer

    monkeypatch.setattr(trainer, "write_weights", lambda *args: pytest.fail("not to be reached"))
    with pytest.raises(pytest.fail.Exception):
        trained(tmp_path, checkpoint_seconds=0.0)
    with pytest.raises(RunError, match="another recipe, dataset, seed or size"):
        trained(tmp_path, seed=1)
    (tmp_path / "unfinished.pt").write_bytes(b"torn")
    with pytest.raises(RunError, match="is damaged"):
        trained(tmp_path)


def test_a_folder_in_use_is_refused(tmp_path):
    with Lock(tmp_path), pytest.raises(RunError, match="in use by process"):
        trained(tmp_path)


def test_a_finished_training_is_not_done_twice(tmp_path):
    trained(tmp_path, epochs=1)
    before = (tmp_path / "card.json").stat().st_mtime_ns
    trained(tmp_path, epochs=1)
    assert (tmp_path / "card.json").stat().st_mtime_ns == before


def test_a_folder_of_another_training_is_refused_until_it_is_restarted(tmp_path):
    trained(tmp_path, epochs=1)
    with pytest.raises(RunError, match="weights of another training"):
        trained(tmp_path, epochs=2)
    trained(tmp_path, epochs=2, resume=False)
    assert read_json(tmp_path / "card.json")["recipe"]["epochs"] == 2


def test_a_budget_ends_the_training_with_the_rate_gone_down(tmp_path, monkeypatch):
    from fdr_bench.training import loop

    rates = []
    wanted = loop.rate
    monkeypatch.setattr(loop, "rate", lambda recipe, fraction: rates.append(wanted(recipe, fraction)) or rates[-1])
    begun = time.monotonic()
    trained(tmp_path, epochs=1_000_000, max_minutes=1 / 60)
    assert time.monotonic() - begun < 5
    assert max(rates) > 0.8 * RECIPE.lr
    assert rates[-1] < 0.1 * RECIPE.lr


def test_training_ends_when_the_held_out_accuracy_no_longer_rises(tmp_path):
    # At a rate this small nothing changes after the first epochs but the loss, and accuracy alone counts.
    trained(tmp_path, with_recipe(patience=2, lr=1e-12, ema=0.0, epochs=50))
    assert len(read_json(tmp_path / "card.json")["history"]) < 50


def test_broken_images_are_left_out_and_named_up_to_a_limit(tmp_path):
    broken = [replace(each, image=MemoryImage(each.id, b"\xff\xd8\xff no image")) for each in made(6).samples]
    data = dataset([*(s for s in made().samples if s.id not in {b.id for b in broken}), *broken])
    trained(tmp_path / "in", dataset=data, epochs=1, max_failures=6)
    told = read_json(tmp_path / "in" / "card.json")["trained_on"]
    assert told["left_out"]["failed"] == sorted(each.id for each in broken)
    assert told["n_real"] + told["n_fake"] + told["n_held_out"] == 120 - 6
    with pytest.raises(DataError, match="6 of 120 images"):
        trained(tmp_path / "out", dataset=data, epochs=1, max_failures=5)


def test_a_held_out_images_twin_is_not_trained_on(tmp_path):
    twins = [replace(each, id=f"twin-{each.id}") for each in made(40).samples]
    trained(tmp_path, dataset=dataset([*made(40).samples, *twins]), epochs=1)
    told = read_json(tmp_path / "card.json")["trained_on"]
    assert told["left_out"]["duplicates_of_held_out"] > 0
    assert told["n_real"] + told["n_fake"] + told["n_held_out"] + told["left_out"]["duplicates_of_held_out"] == 80


def test_a_validation_set_of_ones_own_leaves_all_the_data_to_train_on(tmp_path):
    own = dataset([sample(number, fake=number % 2 == 0) for number in range(500, 520)])
    trained(tmp_path, validation=own, epochs=1)
    told = read_json(tmp_path / "card.json")["trained_on"]
    assert (told["n_real"], told["n_fake"], told["n_held_out"]) == (60, 60, 20)


def test_one_class_alone_is_refused(tmp_path):
    with pytest.raises(DataError, match="0 fake images"):
        trained(tmp_path, dataset=dataset([sample(number, fake=False) for number in range(20)]))


def test_an_unknown_size_names_those_there_are(tmp_path):
    with pytest.raises(UsageError, match=r"no size 'smal'.*small.*Did you mean 'small'"):
        trained(tmp_path, size="smal")


def test_half_precision_storage_halves_the_file_and_is_what_was_validated(tmp_path):
    trained(tmp_path / "half", with_recipe(storage="float16"))
    state = load_file(tmp_path / "half" / "model.safetensors")
    assert {value.dtype for value in state.values()} == {torch.float16, torch.int64}


def test_frozen_parameters_stay_and_unsaved_ones_are_not_written(tmp_path):
    torch.manual_seed(0)
    start = Tiny(8).state_dict()
    trained(tmp_path, with_recipe(freeze=("conv.*",), save=("norm.*", "head.*", "conv.weight"), epochs=2))
    state = load_file(tmp_path / "model.safetensors")
    assert torch.equal(state["conv.weight"], start["conv.weight"])
    assert not torch.equal(state["head.weight"], start["head.weight"])
    assert "conv.bias" not in state


@pytest.mark.gpu
def test_a_gpu_trains_in_mixed_precision(tmp_path):
    trained(tmp_path, device="cuda", epochs=12)
    card = read_json(tmp_path / "card.json")
    assert card["device"] == "cuda"
    assert card["validation"]["accuracy"] > 0.9


def test_a_gpu_that_is_not_there_is_refused_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="finds no GPU"):
        trained(tmp_path, device="cuda")
