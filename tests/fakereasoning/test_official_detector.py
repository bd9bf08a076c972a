"""The released layout end to end: a folder as the release has it, through the detector, against plain generation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fakereasoning.detector import WAYS, FakeReasoning
from fakereasoning.generation import Generated, generate
from fakereasoning.model import FakeReasoning as Model
from fakereasoning.official import from_official
from fakereasoning.pixels import normalised, squared
from fakereasoning.prompts import OFFICIAL_EVAL_IDS, OFFICIAL_TRAIN_IDS
from fakereasoning.tokenizer import LlamaCodec
from fdr_bench.errors import UsageError
from tests.baselines.made import picture
from tests.fakereasoning import small
from tests.fakereasoning.filled import filled_config, filled_state, fixtures, read, write_config
from tests.fakereasoning.test_tokenizer import llama

FIGURES = read(fixtures("tiny")[0])
# The prompt of 77 ids takes 92 positions with the 16 of its image, which leaves 28 to write in.
CONFIG = replace(filled_config(FIGURES), max_length=120)
IMAGES = [picture(40, 60, 1), picture(80, 30, 2), picture(56, 56, 3)]


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the tiny fixture as a released folder: config.json, tensors with their towers, Llama's tokenizer."""
    monkeypatch.setattr("fakereasoning.official.SIZES", {"llava-1.5-13b": CONFIG})
    save_file(filled_state(FIGURES), tmp_path / "model.safetensors")
    llama().save(str(tmp_path / "tokenizer.json"))
    write_config(tmp_path, FIGURES, tokenizer_model_max_length=CONFIG.max_length)
    return tmp_path


def detector(folder: Path, view: str | None = None) -> FakeReasoning:
    return FakeReasoning(preset="official", device="cpu", weights={"weights": folder}, view=view)


def answers(ids: tuple[int, ...] = OFFICIAL_EVAL_IDS, *, bias: bool = True, **options: Any) -> list[Generated]:
    """Return what plain generation says, by a model that was made without the detector's code."""
    config = CONFIG if bias else replace(CONFIG, fusion="cross-attention")
    model = from_official(config, filled_state(FIGURES), "the filled state")
    pixels = normalised(np.stack([squared(image, 56) for image in IMAGES]))
    return generate(model, LlamaCodec(llama(), ids), pixels=pixels, **options)


EXPECTED: Mapping[str | None, Mapping[str, Any]] = {
    None: {},
    "greedy": {},
    "sampled": {"temperature": 0.2, "top_k": 50},
    "no-bias": {"bias": False},
    "matched-prompt": {"ids": OFFICIAL_TRAIN_IDS},
    "fp32": {},
}


@pytest.mark.parametrize("view", EXPECTED)
def test_a_released_folder_answers_as_plain_generation_does(released: Path, view: str | None) -> None:
    made, expected = detector(released, view), answers(**EXPECTED[view])
    found = [answer.generated for answer in made.answerer.answer(IMAGES)]
    assert [each.ids for each in found] == [each.ids for each in expected]
    assert all(len(each.ids) == 28 for each in found)
    np.testing.assert_allclose([each.k_logits for each in found], [each.k_logits for each in expected], atol=1e-5)
    for prediction, each in zip(made.predict(IMAGES), expected, strict=True):
        assert (prediction.raw, prediction.score_source) == (each.text, each.score_source)
        assert prediction.score == pytest.approx(each.score, abs=1e-6)


def test_what_a_view_changes_shows(released: Path) -> None:
    usual = answers()
    for view in ("sampled", "no-bias", "matched-prompt"):
        changed = answers(**EXPECTED[view])
        assert [each.k_logits for each in changed] != [each.k_logits for each in usual], view


@pytest.mark.parametrize(("view", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16), (None, torch.float32)])
def test_a_precision_is_that_of_every_weight_and_scores_are_near(
    released: Path, view: str | None, dtype: torch.dtype
) -> None:
    made = detector(released, view)
    assert {parameter.dtype for parameter in made.answerer.model.parameters()} == {dtype}
    for prediction in made.predict(IMAGES[:1]):
        assert prediction.score is not None and 0 < prediction.score < 1


def test_only_a_fusion_with_a_bias_can_go_without() -> None:
    with pytest.raises(UsageError, match="fusion is 'interleave', which has no bias"):
        Model(replace(small.config(320), fusion="interleave")).drop_bias()


def test_only_weights_with_concepts_can_go_one_way(released: Path) -> None:
    with pytest.raises(UsageError, match="reads no concepts off mirror images"):
        detector(released, "one-way")


def test_every_way_of_answering_is_a_view_of_the_released_weights() -> None:
    views = FakeReasoning.card.presets["official"].views
    assert list(views) == list(WAYS) and next(iter(views)) == "greedy"
    assert {view: dict(made.settings) for view, made in views.items()} == WAYS
