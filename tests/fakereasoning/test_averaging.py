"""The mean of weights: its numbers, what it takes over, and what has none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from fakereasoning import pipeline
from fakereasoning.__main__ import main
from fakereasoning.answering import load
from fakereasoning.averaging import average
from fakereasoning.calibrating import weights_digest
from fakereasoning.pipeline import Plan
from fakereasoning.starting import Start
from fdr_bench.errors import UsageError, WeightsError
from tests.fakereasoning import small


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Write two models of one size with one tokenizer, the second in float16 with a card and counts of its own."""
    codec = small.codec(small.records(tmp_path / "images"))
    vocabulary = codec.vocabulary
    made = []
    for seed, dtype in ((0, torch.float32), (1, torch.float16)):
        torch.manual_seed(seed)
        model = small.model(vocabulary)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.num_batches_tracked += 7 * (seed + 1)
        made.append(tmp_path / str(seed))
        model.save_pretrained(made[-1], dtype=dtype)
        codec.save(made[-1])
    (made[1] / "card.json").write_text(json.dumps({"detector": "fakereasoning", "identity": "of the second"}))
    return made[0], made[1]


def test_every_weight_is_the_mean_and_counts_are_the_last_models(folders, tmp_path):
    result = CliRunner().invoke(main, ["average", *map(str, folders), "--out", str(tmp_path / "mean")])
    assert result.exit_code == 0, result.output
    one, other, mean = (load_file(folder / "model.safetensors") for folder in (*folders, tmp_path / "mean"))
    assert one.keys() == other.keys() == mean.keys()
    counts = 0
    for name, tensor in mean.items():
        if tensor.is_floating_point():
            assert tensor.dtype == torch.float32
            torch.testing.assert_close(tensor, (one[name] + other[name].float()) / 2)
        else:
            assert tensor == other[name] == 14
            counts += 1
    assert counts and any(not torch.equal(one[name], mean[name]) for name in mean)
    answerer = load(tmp_path / "mean")
    assert answerer.codec.encode("a red picture") == load(folders[0]).codec.encode("a red picture")


def test_the_card_is_the_last_ones_and_names_the_weights(folders, tmp_path):
    card = json.loads((average(folders, tmp_path / "mean") / "card.json").read_text())
    assert card["detector"] == "fakereasoning" and "identity" not in card
    assert card["averaged"]["weights"] == [weights_digest(folder) for folder in folders]
    assert str(tmp_path) not in json.dumps(card)


def test_what_has_no_mean_is_refused_and_nothing_is_written(folders, tmp_path):
    out = tmp_path / "mean"
    with pytest.raises(UsageError, match="at least two"):
        average(folders[:1], out)
    small.model(400).save_pretrained(tmp_path / "larger")
    load(folders[0]).codec.save(tmp_path / "larger")
    with pytest.raises(UsageError, match=r"larger and .* have models of different architectures"):
        average([tmp_path / "larger", folders[1]], out)
    told = json.loads((folders[0] / "tokenizer.json").read_text())
    told["model"]["merges"].pop()
    (folders[0] / "tokenizer.json").write_text(json.dumps(told))
    with pytest.raises(UsageError, match="different tokenizers"):
        average(folders, out)
    (folders[0] / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match="tokenizer"):
        average(folders, out)
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        (folders[0] / "model.safetensors").unlink()
        average(folders, out)
    assert not out.exists()
    with pytest.raises(UsageError, match=r"1 holds a config\.json already"):
        average([folders[1], folders[1]], folders[1])


def test_the_card_of_a_third_tuning_tells_of_those_before(tmp_path):
    """Stages under way are those of a plan; what is there before comes from the folder it starts with."""
    steps = {"facl": 5, "tune": 10}
    told = {name: {"steps": count, "seconds": 1.0} for name, count in steps.items()}
    codec = small.codec(small.records(tmp_path / "images"))
    for nth in (20, 30):
        start = tmp_path / str(nth)
        start.mkdir()
        (start / "card.json").write_text(json.dumps({"stages": told, "shared": {"from": "1"}, "identity": "2"}))
        plan = Plan(data="", out=tmp_path / f"out{nth}", start=start)
        result = Start(small.model(codec.vocabulary), codec)
        pipeline._write(result, plan, {}, {"tune": {"steps": nth, "seconds": 1.0}})
        card = json.loads((plan.out / "card.json").read_text())
        told = card["stages"]
        assert card["shared"] == {"from": "1"} and "identity" not in card
    assert {name: stage["steps"] for name, stage in told.items()} == {
        "facl": 5,
        "tune, 1": 10,
        "tune, 2": 20,
        "tune": 30,
    }
