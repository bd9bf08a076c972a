"""Official checkpoints written as one folder for the detector: adapters, towers, tokenizer and prompt in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from fakereasoning.__main__ import main
from fakereasoning.answering import load
from fakereasoning.conversion import convert
from fakereasoning.detector import FakeReasoning
from fakereasoning.model import FakeReasoning as Model
from fakereasoning.official import from_official
from fakereasoning.official_names import CLIP, CLIP_COPY, DINO, FUSION
from fakereasoning.prompts import OFFICIAL_EVAL_IDS, OFFICIAL_TRAIN_IDS
from fdr_bench.errors import UsageError
from fdr_bench.weights import resolve_preset
from tests.fakereasoning.filled import filled_config, filled_state, fixtures, read, write_config
from tests.fakereasoning.test_official import inner, same, without
from tests.fakereasoning.test_tokenizer import llama

FIGURES = read(fixtures("tiny")[0])
CONFIG = filled_config(FIGURES)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a config.json mean towers of the fixture's size."""
    monkeypatch.setattr("fakereasoning.official.SIZES", {"llava-1.5-13b": CONFIG})


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    """Write a released folder without towers; they lie in files beside it."""
    folder = tmp_path / "merged"
    folder.mkdir()
    state = filled_state(FIGURES)
    save_file(without(state, CLIP, CLIP_COPY, DINO), folder / "model.safetensors")
    torch.save(inner(state, CLIP), tmp_path / "clip.bin")
    torch.save(inner(state, DINO), tmp_path / "dino.pth")
    llama().save(str(folder / "tokenizer.json"))
    write_config(folder, FIGURES)
    return folder


@pytest.fixture
def adapters(tmp_path: Path) -> tuple[Path, Path]:
    """Write a LoRA run as the official training leaves it, and its base, which has the config and the tokenizer."""
    run, base = tmp_path / "run", tmp_path / "base"
    run.mkdir()
    base.mkdir()
    state = filled_state(FIGURES)
    save_file(without(state, FUSION, CLIP_COPY), base / "model.safetensors")
    write_config(base, FIGURES)
    llama().save(str(base / "tokenizer.json"))
    full = FIGURES["checkpoint_layouts"]["lora_run"]["non_lora_trainables"]
    torch.save({name: state[name.removeprefix("base_model.model.")] for name in full}, run / "non_lora_trainables.bin")
    layer = "base_model.model.model.layers.0.self_attn.q_proj"
    halves = {f"{layer}.lora_A.weight": torch.full((1, 64), 0.5), f"{layer}.lora_B.weight": torch.full((64, 1), 0.25)}
    save_file(halves, run / "adapter_model.safetensors")
    (run / "adapter_config.json").write_text(json.dumps({"r": 1, "lora_alpha": 2, "target_modules": "q_proj"}))
    return run, base


def test_towers_and_tokenizer_come_into_one_folder_that_the_detector_takes(merged: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["convert", str(merged), "--clip", str(tmp_path / "clip.bin"), "--dino", str(tmp_path / "dino.pth")]
    done = CliRunner().invoke(main, [*words, "--out", str(out)])
    assert (done.exit_code, done.output) == (0, f"{out}\n")
    assert {path.name for path in out.iterdir()} == {
        *("model.safetensors", "config.json", "tokenizer.json", "prompt.json"),
    }
    made = FakeReasoning(weights=resolve_preset(FakeReasoning.card, "official", out)).answerer
    assert same(made.model, from_official(CONFIG, filled_state(FIGURES), "the filled state"))
    assert made.codec.prompt() == list(OFFICIAL_EVAL_IDS)
    assert load(out, matched_prompt=True).codec.prompt() == list(OFFICIAL_TRAIN_IDS)


def test_adapters_are_folded_into_their_base_and_a_precision_is_kept(
    adapters: tuple[Path, Path], tmp_path: Path
) -> None:
    run, base = adapters
    with pytest.raises(UsageError, match="is a LoRA run, which goes onto a base model; name its folder: --base"):
        convert(run, tmp_path / "out")
    words = ["convert", str(run), "--base", str(base), "--out", str(tmp_path / "out"), "--precision", "bf16"]
    assert CliRunner().invoke(main, words).exit_code == 0
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    name = "model.layers.0.self_attn.q_proj.weight"
    # alpha / rank times B A: 2 · 0.25 · 0.5 in every place.
    assert torch.equal(tensors[f"language.{name}"], (filled_state(FIGURES)[name] + 0.25).bfloat16())
    assert load(tmp_path / "out").codec.prompt() == list(OFFICIAL_EVAL_IDS)


def test_the_bias_may_be_left_out_and_nothing_untrained_comes_in(
    merged: Path, adapters: tuple[Path, Path], tmp_path: Path
) -> None:
    towers = {"clip": tmp_path / "clip.bin", "dino": tmp_path / "dino.pth"}
    plain = Model.from_pretrained(convert(merged, tmp_path / "plain", fusion="cross-attention", **towers))
    assert plain.config.fusion == "cross-attention" and plain.fusion is not None and plain.fusion.bias is None
    with pytest.raises(UsageError, match=r"fused by 'interleave' and has no weights for 'faff'.*tune --start"):
        convert(adapters[1], tmp_path / "out", fusion="faff")
    assert not (tmp_path / "out").exists()


def test_what_is_converted_already_or_would_be_overwritten_is_refused(merged: Path, tmp_path: Path) -> None:
    towers = {"clip": tmp_path / "clip.bin", "dino": tmp_path / "dino.pth"}
    with pytest.raises(UsageError, match=r"holds a config\.json already"):
        convert(merged, merged, **towers)
    out = convert(merged, tmp_path / "out", **towers)
    with pytest.raises(UsageError, match="needs no conversion"):
        convert(out, tmp_path / "again")
