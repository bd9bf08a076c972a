"""Heads that share keys and values: what becomes of the weights, and that such a model writes as any other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from fakereasoning.__main__ import main
from fakereasoning.answering import load, rows_at_once
from fakereasoning.calibrating import weights_digest
from fakereasoning.generation import generate
from fakereasoning.model import FakeReasoning
from fakereasoning.sharing import share
from fdr_bench.errors import UsageError
from tests.fakereasoning import small
from tests.fakereasoning.numbers import QUESTIONS, VOCABULARY, Numbers, answers, next_logits
from tests.fakereasoning.tiny import noise, tiny_config

HEADS, WIDTH = 4, 6


def model_of(heads: int | None, vocabulary: int) -> FakeReasoning:
    """Return a small model of four heads in the language model; `heads` of keys and values, None for as many."""
    torch.manual_seed(0)
    config = small.config(vocabulary)
    language = {**config.language, "num_attention_heads": HEADS, "num_key_value_heads": heads or HEADS}
    return FakeReasoning(replace(config, language=language)).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a model in float16, with a tokenizer and a card."""
    codec = small.codec(small.records(tmp_path / "images"))
    made = tmp_path / "whole"
    model_of(None, codec.vocabulary).save_pretrained(made, dtype=torch.float16)
    codec.save(made)
    (made / "card.json").write_text(json.dumps({"detector": "fakereasoning", "identity": "of the whole"}))
    return made


def test_keys_and_values_are_the_means_of_neighbours_and_all_else_stays(folder, tmp_path):
    result = CliRunner().invoke(main, ["share", str(folder), "--heads", "2", "--out", str(tmp_path / "two")])
    assert result.exit_code == 0, result.output
    before, after = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "two"))
    assert before.keys() == after.keys()
    changed = set()
    for name, tensor in after.items():
        assert tensor.dtype == before[name].dtype
        if torch.equal(before[name], tensor):
            continue
        changed.add(name.split("layers.")[-1])
        whole = before[name].float()
        for group in range(2):
            first, second = (whole[start : start + WIDTH] for start in (2 * group * WIDTH, (2 * group + 1) * WIDTH))
            torch.testing.assert_close(
                tensor[group * WIDTH : (group + 1) * WIDTH].float(), (first + second) / 2, atol=1e-4, rtol=1e-3
            )
    assert changed == {f"{block}.self_attn.{part}_proj.weight" for block in (0, 1) for part in "kv"}


def test_heads_that_were_alike_lose_nothing(tmp_path, folder):
    model = model_of(None, load(folder).codec.vocabulary)
    with torch.no_grad():
        for block in model.language.model.layers:
            for made in (block.self_attn.k_proj.weight, block.self_attn.v_proj.weight):
                heads = made.view(HEADS, WIDTH, -1)
                heads[1], heads[3] = heads[0], heads[2]
    alike = tmp_path / "alike"
    model.save_pretrained(alike)
    load(folder).codec.save(alike)
    shared = FakeReasoning.from_pretrained(share(alike, 2, tmp_path / "shared")).eval()
    pixels, ids = noise(3, 3, 32, 32), torch.tensor([[1, -200, 5, 9, 7]] * 3)
    expected = model(ids, pixels=pixels).logits
    assert torch.allclose(shared(ids, pixels=pixels).logits, expected, atol=1e-5)
    other = FakeReasoning.from_pretrained(share(alike, 1, tmp_path / "one")).eval()
    assert not torch.allclose(other(ids, pixels=pixels).logits, expected, atol=1e-3)


def test_what_is_kept_of_a_row_shrinks_with_the_heads(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("fakereasoning.answering.ROWS", 1 << 40)
    whole, one = load(folder), load(share(folder, 1, tmp_path / "one"))
    assert rows_at_once(one) == pytest.approx(HEADS * rows_at_once(whole), abs=HEADS)


@pytest.mark.parametrize("questions", [QUESTIONS, ("5 6",) * 40])
def test_rows_that_share_heads_are_written_together_as_each_alone(questions):
    config = tiny_config(tied=False)
    torch.manual_seed(7)
    model = FakeReasoning(replace(config, language={**config.language, "num_key_value_heads": 1})).eval()
    for parameter in model.language.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    codec, pixels = Numbers(VOCABULARY), noise(len(questions), 3, 16, 16, seed=3)
    together = answers(model, codec, pixels, questions=questions, batch=len(questions))
    assert len({answer.ids for answer in together}) > 3
    for index in range(0, len(questions), 3):
        (alone,) = generate(model, codec, pixels=pixels[index][None], questions=[questions[index]], max_new_tokens=24)
        assert alone.ids == together[index].ids
        whole: list[int] = []
        for _ in range(4):
            whole.append(int(next_logits(model, codec, questions[index], pixels[index], whole).argmax()))
        assert list(alone.ids[:4]) == whole


def test_the_card_says_what_was_done_and_names_the_weights(folder, tmp_path):
    card = json.loads((share(folder, 2, tmp_path / "two") / "card.json").read_text())
    assert card["detector"] == "fakereasoning" and "identity" not in card
    assert card["shared"]["from"] == weights_digest(folder) and "--heads 2" in card["shared"]["command"]
    assert str(tmp_path) not in json.dumps(card)


@pytest.mark.parametrize("heads", [0, 3, 8])
def test_heads_that_form_no_groups_are_refused(folder, tmp_path, heads):
    with pytest.raises(
        UsageError, match=f"has 4 heads of keys and values; expected --heads to divide that, not {heads}"
    ):
        share(folder, heads, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_a_model_is_not_written_over(folder):
    with pytest.raises(UsageError, match=r"holds a config\.json already"):
        share(folder, 2, folder)
