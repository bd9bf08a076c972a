"""Agreement of the whole model with the official code at a tiny size: every stage, single and batched, and training."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image
from torch import Tensor

from fakereasoning.cpm import OFFICIAL_CPM, cpm_loss
from fakereasoning.model import FakeReasoning, ModelOutput
from fakereasoning.official_names import source
from fakereasoning.pixels import normalised, squared
from fakereasoning.prompts import IMAGE_TOKEN, OFFICIAL_EVAL_IDS, OFFICIAL_TRAIN_IDS
from tests.fakereasoning.filled import filled_model, fixtures, noise, read, sampled
from tests.goldens import images_of

pytestmark = pytest.mark.goldens
CASES = ("single", "batch")


class Golden(NamedTuple):
    """The fixture, the model with its filled weights, and the folder of its images."""

    figures: dict[str, Any]
    model: FakeReasoning
    images: Path

    def tolerance(self, what: str) -> float:
        return float(self.figures["tolerances"]["recommended"][what])


class Inputs(NamedTuple):
    """One case of the fixture as tensors."""

    told: dict[str, Any]
    ids: Tensor
    labels: Tensor
    mask: Tensor | None
    pixels: Tensor
    fake: Tensor


@pytest.fixture(scope="module", params=fixtures("tiny"), ids=str)
def golden(request: pytest.FixtureRequest) -> Golden:
    figures = read(request.param)
    model = filled_model(figures)
    model.set_trainable(["projectors", "fusion", "language"])
    return Golden(figures, model, images_of(request.param))


def inputs(golden: Golden, case: str) -> Inputs:
    told = golden.figures["cases"][case]
    ids = torch.tensor(told["input_ids"])
    mask = None if told["attention_mask"] is None else ids != 0
    fake = torch.tensor(told["forgery_labels"])
    return Inputs(told, ids, torch.tensor(told["labels"]), mask, noise(told["pixels"]), fake)


def run(golden: Golden, given: Inputs) -> ModelOutput:
    return golden.model(given.ids, pixels=given.pixels, attention_mask=given.mask, labels=given.labels)


@pytest.mark.parametrize("case", CASES)
def test_every_visual_stage_agrees(golden: Golden, case: str) -> None:
    given, model = inputs(golden, case), golden.model
    assert model.fusion is not None and model.dino_projector is not None
    with torch.no_grad():
        features = model.visual_features(given.pixels)
        clip, dino = model.clip_projector(features.clip), model.dino_projector(features.dino)
        stages = {
            "clip_features": features.clip,
            "clip_tokens": clip,
            "dino_features": features.dino,
            "dino_tokens": dino,
            "dino_attention": features.attention,
            "attention_bias": model.fusion.bias_of(features.attention),
            "fused_tokens": model.image_tokens(features),
            "fused_tokens_without_bias": model.fusion(clip, dino, None),
        }
    assert stages.keys() == given.told["stages"].keys()
    worst = {name: sampled(told, stages[name]) for name, told in given.told["stages"].items()}
    print("largest differences", worst)
    assert max(worst.values()) <= golden.tolerance("stages"), worst


@pytest.mark.parametrize("case", CASES)
def test_the_sequence_agrees(golden: Golden, case: str) -> None:
    given = inputs(golden, case)
    with torch.no_grad():
        tokens = golden.model.image_tokens(golden.model.visual_features(given.pixels))
        expanded = golden.model.embed(given.ids, tokens, attention_mask=given.mask, labels=given.labels)
    assert sampled(given.told["inputs_embeds"], expanded.embeds) <= golden.tolerance("stages")
    assert expanded.labels is not None and expanded.labels.tolist() == given.told["expanded_labels"]
    lengths = given.told.get("expanded_lengths", [len(given.told["expanded_labels"][0])])
    assert expanded.attention_mask.sum(dim=1).tolist() == lengths
    assert not expanded.embeds[~expanded.attention_mask].any()


@pytest.mark.parametrize("case", CASES)
def test_logits_and_the_language_loss_agree(golden: Golden, case: str) -> None:
    given = inputs(golden, case)
    with torch.no_grad():
        out = run(golden, given)
    figures = [given.told["logits"]] if case == "single" else given.told["logits_valid"]
    argmax = given.told["argmax"] if case == "single" else given.told["argmax_valid"]
    for row, (told, best) in enumerate(zip(figures, argmax, strict=True)):
        valid = out.logits[row, : len(best)]
        assert sampled(told, valid[None] if case == "single" else valid) <= golden.tolerance("logits")
        assert valid.argmax(dim=-1).tolist() == best
        at = given.told["k"] if case == "single" else given.told["k"][row]
        expected = given.told["real_fake_logits_at_k"] if case == "single" else given.told["real_fake_logits_at_k"][row]
        two = out.logits[row, at, [*OFFICIAL_CPM.real, *OFFICIAL_CPM.fake]]
        assert two.tolist() == pytest.approx(expected, abs=golden.tolerance("logits"))
    assert out.loss is not None
    assert float(out.loss) == pytest.approx(given.told["lm_loss"], abs=golden.tolerance("losses"))


def test_a_batch_gives_what_its_rows_give_alone(golden: Golden) -> None:
    given = inputs(golden, "batch")
    assert given.mask is not None
    with torch.no_grad():
        both = run(golden, given).logits
        for row in range(2):
            ids = given.ids[row : row + 1, given.mask[row]]
            alone = golden.model(ids, pixels=given.pixels[row : row + 1]).logits[0]
            assert (both[row, : len(alone)] - alone).abs().max() <= golden.tolerance("logits")


@pytest.mark.parametrize("case", CASES)
def test_the_official_cpm_loss_agrees_in_every_situation(golden: Golden, case: str) -> None:
    given = inputs(golden, case)
    with torch.no_grad():
        out = run(golden, given)
    assert out.labels is not None
    assert golden.figures["cpm"]["pattern"] == list(OFFICIAL_CPM.pattern)
    for told in given.told["cpm"]:
        logits, fake = rigged(out.logits, told["rig"]), torch.tensor(told["forgery_labels"])
        if error := told.get("error"):
            assert error == "IndexError"
            with pytest.raises(IndexError):
                cpm_loss(logits, out.labels, fake, OFFICIAL_CPM, semantics="official")
            continue
        found = cpm_loss(logits, out.labels, fake, OFFICIAL_CPM, semantics="official")
        assert float(found.loss) == pytest.approx(told["loss"], abs=golden.tolerance("losses")), told["comment"]


@pytest.mark.parametrize("case", CASES)
def test_the_cpm_loss_by_labels_is_the_official_one_where_every_row_says_the_pattern(golden: Golden, case: str) -> None:
    given = inputs(golden, case)
    with torch.no_grad():
        out = run(golden, given)
    ks = [given.told["k"]] if case == "single" else given.told["k"]
    places = [[row, k - len(OFFICIAL_CPM.pattern)] for row, k in enumerate(ks)]
    (told,) = (
        each
        for each in given.told["cpm"]
        if each["rig"] == places and each["forgery_labels"] == given.told["forgery_labels"]
    )
    assert out.labels is not None
    found = cpm_loss(out.logits, out.labels, given.fake, OFFICIAL_CPM, semantics="labels")
    assert float(found.loss) == pytest.approx(told["loss"], abs=golden.tolerance("losses"))
    assert found.found.all()


def test_greedy_generation_agrees_alone_and_batched_with_left_padding(golden: Golden) -> None:
    single, batch = inputs(golden, "single"), inputs(golden, "batch")
    told = single.told["generate"]
    assert generated(golden.model, [single.ids[0, : told["prompt_length"]]], single.pixels) == told["new_tokens"]
    told = batch.told["generate"]
    prompts = [row[:length] for row, length in zip(batch.ids, told["prompt_lengths"], strict=True)]
    alone = [generated(golden.model, [prompt], batch.pixels[row][None])[0] for row, prompt in enumerate(prompts)]
    assert alone == told["alone"]
    assert generated(golden.model, prompts, batch.pixels) == told["padding_side_left"]


def test_rows_are_cut_after_their_image_took_its_place(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    given = inputs(golden, "batch")
    told = given.told["truncation"]
    shorter = dataclasses.replace(golden.model.config, max_length=told["tokenizer_model_max_length"])
    monkeypatch.setattr(golden.model, "config", shorter)
    with torch.no_grad():
        out = run(golden, given)
    assert list(out.logits.shape) == told["logits_shape"]
    assert out.loss is not None
    assert float(out.loss) == pytest.approx(told["lm_loss"], abs=golden.tolerance("losses"))


def test_the_total_loss_and_its_gradients_agree(golden: Golden) -> None:
    given = inputs(golden, "single")
    golden.model.zero_grad()
    out = run(golden, given)
    assert out.loss is not None and out.labels is not None
    logits = rigged(out.logits, [[0, given.told["k"] - 8]])
    total = out.loss + cpm_loss(logits, out.labels, given.fake, OFFICIAL_CPM, semantics="official").loss
    total.backward()  # type: ignore[no-untyped-call]
    told = given.told["training"]
    assert float(total.detach()) == pytest.approx(told["total_loss"], abs=golden.tolerance("losses"))
    norms = {
        source(name).name: float(parameter.grad.norm())
        for name, parameter in golden.model.named_parameters()
        if parameter.grad is not None
    }
    for name, norm in told["grad_l2"].items():
        assert norms[name] == pytest.approx(norm, rel=golden.tolerance("grad_l2_relative")), name
    assert not [name for name in norms if name.startswith(tuple(told["no_grad_prefixes"]))]


@pytest.mark.parametrize("side", [336, 56])
def test_preprocessed_images_agree(golden: Golden, side: int) -> None:
    for name, told in golden.figures["preprocess"]["images"].items():
        with Image.open(golden.images / name) as image:
            pixels = normalised(squared(image, side)[None])
        assert sampled(told[str(side)], pixels) <= golden.tolerance("preprocess"), name


@pytest.mark.parametrize(("prompt", "ids"), [("llava_v1", OFFICIAL_EVAL_IDS), ("v1", OFFICIAL_TRAIN_IDS)])
def test_both_prompts_are_the_official_ids(golden: Golden, prompt: str, ids: tuple[int, ...]) -> None:
    told = golden.figures["prompt"][prompt]
    assert list(ids) == told["ids"] and len(ids) == told["tokens"]
    assert hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest() == told["ids_sha256"]
    assert ids.index(IMAGE_TOKEN) == told["image_at"] and list(ids[told["image_at"] + 1 :]) == told["after_image"]


def rigged(logits: Tensor, places: list[list[int]]) -> Tensor:
    """Return logits whose argmax says the pattern at each (row, position), as the fixture did it."""
    changed = logits.clone()
    for row, start in places:
        for offset, token in enumerate(OFFICIAL_CPM.pattern):
            changed[row, start + offset, token] += 100
    return changed


def generated(model: FakeReasoning, prompts: list[Tensor], pixels: Tensor, new_tokens: int = 12) -> list[list[int]]:
    """Return each prompt's greedy continuation, by transformers' own generation, shorter prompts padded on the left."""
    longest = max(map(len, prompts))
    ids, mask = torch.zeros(len(prompts), longest, dtype=torch.long), torch.zeros(len(prompts), longest)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)], mask[row, : len(prompt)] = prompt, 1
    with torch.no_grad():
        tokens = model.image_tokens(model.visual_features(pixels))
        expanded = model.embed(ids, tokens, attention_mask=mask, padding_side="left")
        out = model.language.generate(
            inputs_embeds=expanded.embeds,
            attention_mask=expanded.attention_mask.long(),
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=0,
        )
    rows: list[list[int]] = out.tolist()
    return rows
