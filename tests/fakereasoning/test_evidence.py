"""Evidence at its place: which terms count, which patches show them, and that it comes to be told there."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from fakereasoning.evidence import EvidenceHead, evidence, patches
from fakereasoning.facl_loop import FaclLoop
from fakereasoning.facl_recipe import FaclRecipe
from fakereasoning.model import FakeReasoning
from fakereasoning.places import NOTHING, UNKNOWN, SaidHere, places_loss
from fakereasoning.scene_faults import scenes_faults
from fakereasoning.stage1 import train_facl
from fakereasoning.tokenizer import train_tokenizer
from fdr_bench.data import open_dataset
from fdr_bench.data.scenes.phrases import FORGED
from fdr_bench.data.scenes.violations import KINDS
from fdr_bench.errors import DataError, RunError, UsageError
from tests.fakereasoning.test_stage1 import CLIP_ONLY, CONFIG, SAMPLES, Letters

RECIPE = FaclRecipe(
    rates={"dino": 3e-3}, head_rate=3e-3, shift=0, batch=16, epochs=3, held_out=0.2, evidence_weight=1.0
)
CODEC = train_tokenizer(["Stripes across. Stripes down. A red ball stands here."] * 8, vocabulary=320)


def fresh(config=CONFIG) -> FakeReasoning:
    torch.manual_seed(0)
    return FakeReasoning(replace(config, language={**config.language, "vocab_size": CODEC.vocabulary}))


def train(out, samples, *, model=None, recipe=RECIPE, **keywords):
    common = {"threads": 1, "quiet": True, "encoder": Letters()}
    return train_facl(model or fresh(), samples, out=out, recipe=recipe, **common, **keywords)


def shown(path, cells, size=(8, 8)):
    """Write a mask that covers these pixels."""
    mask = np.zeros(size, dtype=np.uint8)
    for row, column in cells:
        mask[row, column] = 255
    Image.fromarray(mask).save(path)
    return path


def test_a_patch_counts_by_its_share_or_by_being_the_most_covered(tmp_path):
    # Of 4 × 4 pixels a patch: one pixel is 6 %, less than a tenth; but it is all that the mask has.
    assert patches(shown(tmp_path / "one.png", [(0, 5)]), 2).tolist() == [[False, True], [False, False]]
    many = [(row, column) for row in range(4) for column in range(4)]
    assert patches(shown(tmp_path / "many.png", [*many, (0, 5)]), 2).tolist() == [[True, False], [False, False]]
    both = [*many, (0, 5), (1, 5)]
    assert patches(shown(tmp_path / "both.png", both), 2).tolist() == [[True, True], [False, False]]
    # A wide picture lies in the middle of its square.
    wide = shown(tmp_path / "wide.png", [(row, column) for row in range(4) for column in range(4)], size=(4, 8))
    assert patches(wide, 4).tolist() == [
        [False] * 4,
        [True, True, False, False],
        [True, True, False, False],
        [False] * 4,
    ]
    (tmp_path / "none.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"none\.png cannot be read"):
        patches(tmp_path / "none.png", 2)


def test_words_of_captions_and_what_lies_beside_a_region_do_not_count(samples):
    names, here = evidence(samples, 4)
    # "Stripes" is in every caption.
    assert names == ("across", "down")
    real = [number for number, sample in enumerate(samples) if sample.label == "real"]
    assert (here.rows[real] == UNKNOWN).all()
    for number, sample in enumerate(samples):
        if sample.label == "fake":
            rows = here.rows[number].reshape(4, 4)
            across = bool((sample.attributes or {})["Across"])
            assert here.told[rows[0, 0]].tolist() == [across, not across] and (rows[:, :2] == rows[0, 0]).all()
            assert (rows[:, 2] == UNKNOWN).all() and (rows[:, 3] == NOTHING).all()
    assert not here.behind.any()


def test_where_two_regions_overlap_both_sentences_are_told_and_of_one_without_a_region_nothing_is_known(
    samples, tmp_path
):
    first = next(sample for sample in samples if sample.label == "fake")
    left, upper = tmp_path / "left.png", tmp_path / "upper.png"
    shown(left, [(row, column) for row in range(8) for column in range(4)])
    shown(upper, [(row, column) for row in range(4) for column in range(8)])
    said = {"Across": "Stripes across.", "Down": "Stripes down."}
    two = replace(first, attributes=said, regions={"Across": str(left), "Down": str(upper)})
    found = evidence([two, replace(two, regions={"Down": str(upper)})], 2)
    here = found.here
    assert [here.told[row].tolist() for row in here.rows[0] if row >= 0] == [[True, True], [False, True], [True, False]]
    assert here.rows[0, 3] == UNKNOWN and (here.rows[1] == UNKNOWN).all()
    assert found.known(np.arange(2)).tolist() == [True, False]
    assert found.of_images(np.array([1, 0])).tolist() == [[False, False], [True, True]]


def test_a_kind_stands_for_the_words_of_its_sentence(samples):
    fakes = [sample for sample in samples if sample.label == "fake"]
    kinds = {
        sample.image.location: {
            name: f"{name.lower()}-kind" for name, text in (sample.attributes or {}).items() if text
        }
        for sample in fakes
    }
    named, worded = evidence(samples, 4, kinds), evidence(samples, 4)
    assert named.names == ("across-kind", "down-kind")
    assert np.array_equal(named.here.rows, worded.here.rows) and np.array_equal(named.here.told, worded.here.told)
    assert named.digest() != worded.digest()
    # Of a fake with a sentence whose kind is not known nothing is known.
    first = fakes[0].image.location
    partly = evidence(samples, 4, {location: of for location, of in kinds.items() if location != first})
    place = [sample.image.location for sample in samples].index(first)
    assert (partly.here.rows[place] == UNKNOWN).all() and not partly.known(np.array([place])).any()
    # Where each fake has a sentence without a region, there is nothing to learn.
    more = [replace(one, attributes={**(one.attributes or {}), "More": "And more."}) for one in fakes]
    with pytest.raises(DataError, match=f"none of the {len(more)} samples"):
        evidence(more, 4)


def test_of_scenes_every_stated_attribute_of_a_fake_has_the_kind_that_its_sentence_is_about(tmp_path, monkeypatch):
    monkeypatch.setenv("FDR_BENCH_CACHE", str(tmp_path))
    dataset = open_dataset("scenes:train?n=24&size=32")
    kinds = scenes_faults(dataset)
    assert {sample.image.location for sample in dataset.samples} == kinds.keys()

    def said_of(text: str) -> set[str]:
        return set(re.findall(r"[a-z]+", re.sub(r"{\w+}", "", text).lower()))

    for sample in dataset.samples:
        of, stated = kinds[sample.image.location], sample.attributes or {}
        assert of.keys() == ({name for name, text in stated.items() if text} if sample.label == "fake" else set())
        for attribute, kind in of.items():
            assert kind in KINDS[attribute]
            # It has a word in which no other kind of the attribute is spoken of.
            said = said_of(stated[attribute] or "")
            others = {other: said_of(" ".join(FORGED[other])) for other in KINDS[attribute]}
            own = others.pop(kind)
            assert said & own > said & own & set().union(*others.values())
    assert any(kinds.values())
    with pytest.raises(UsageError, match="no scene graphs"):
        scenes_faults(replace(dataset, spec="folder:somewhere"))


def test_held_out_images_tell_what_is_wrong_where_it_is(samples, tmp_path):
    result = train(tmp_path, samples, recipe=replace(RECIPE, epochs=36))
    first, last = result.card["history"][0], result.card["history"][-1]
    assert first["evidence"] < 0.8 and last["evidence"] > 0.95
    assert first["evidence_anywhere"] < 0.8 and last["evidence_anywhere"] > 0.95
    assert result.card["evidence"] == ["across", "down"]
    before, after = fresh().state_dict(), result.model.state_dict()
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"dino", "dino_projector", "fusion"}


def test_evidence_alone_is_learnt_of_the_fakes_and_the_towers_that_rest_stay_as_they_are(samples, tmp_path):
    alone = replace(RECIPE, cross_weight=0.0, intra_weight=0.0, rates={"clip": 3e-3}, keep={}, epochs=36)
    result = train(tmp_path, samples, recipe=alone)
    first, last = result.card["history"][0], result.card["history"][-1]
    assert first["evidence"] < 0.8 and last["evidence"] > 0.95
    assert {"cross", "intra", "drift"} <= last.keys() and last["cross"] == 0
    assert "probe" not in last and result.card["trained_on"]["n_real"] == 0 and result.card["trained_on"]["n_fake"] > 0
    before, after = fresh().state_dict(), result.model.state_dict()
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"clip", "clip_projector", "fusion"}
    with pytest.raises(UsageError, match="has no loss"):
        replace(alone, evidence_weight=0.0)


def test_a_killed_training_goes_on_to_the_same_bytes(samples, tmp_path, monkeypatch):
    advance = FaclLoop.advance

    def killed(self, fraction):
        if self.position == 5:
            raise KeyboardInterrupt
        advance(self, fraction)

    train(tmp_path / "whole", samples)
    monkeypatch.setattr(FaclLoop, "advance", killed)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", samples, checkpoint_seconds=0)
    monkeypatch.setattr(FaclLoop, "advance", advance)
    train(tmp_path / "parts", samples)
    assert len({(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts")}) == 1
    with pytest.raises(RunError, match="another training"):
        train(tmp_path / "parts", [replace(sample, caption="Across.") for sample in samples])


def test_without_a_weight_no_mask_is_read_and_with_one_there_must_be_some(samples, tmp_path):
    unread = [replace(sample, regions={"Across": "/nowhere.png"}) for sample in samples]
    card = train(tmp_path / "plain", unread, recipe=replace(RECIPE, evidence_weight=0.0, steps=1)).card
    assert card["evidence"] is None and "evidence" not in card["history"][-1]
    assert card["history"][-1]["evidence_loss"] == 0
    with pytest.raises(DataError, match=r"nowhere\.png cannot be read"):
        train(tmp_path / "unread", unread)
    with pytest.raises(DataError, match="Take a dataset with regions"):
        train(tmp_path / "none", SAMPLES)
    with pytest.raises(UsageError, match="evidence_weight is -1"):
        FaclRecipe(evidence_weight=-1)


def test_a_tower_that_is_not_compared_learns_by_evidence_alone(samples, tmp_path):
    recipe = replace(RECIPE, rates={"dino": 1e-3, "clip": 1e-3}, aligned=("dino",), keep={}, steps=2)
    result = train(tmp_path / "both", samples, recipe=recipe)
    before, after = fresh().state_dict(), result.model.state_dict()
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"clip", "dino", "clip_projector", "dino_projector", "fusion"}
    # Without evidence nothing reaches it.
    alone = train(tmp_path / "none", samples, recipe=replace(recipe, evidence_weight=0.0, weight_decay=0.0))
    after = alone.model.state_dict()
    weights = [name for name in before if name.startswith("clip.") and name.endswith("weight")]
    assert weights and all(torch.equal(before[name], after[name]) for name in weights)
    assert FaclRecipe.from_json(recipe.to_json()) == recipe
    with pytest.raises(UsageError, match="names none of the towers that learn, dino"):
        train(tmp_path / "wrong", samples, recipe=replace(RECIPE, aligned=("clip",)))
    with pytest.raises(UsageError, match="Did you mean 'clip'"):
        FaclRecipe(aligned=("clap",))


@pytest.mark.parametrize(
    ("config", "rates"),
    [
        (CLIP_ONLY, {"clip": 1e-3}),
        (replace(CONFIG, fusion="interleave"), {"dino": 1e-3}),
        (replace(CONFIG, fusion="cross-attention"), {"clip": 1e-3, "dino": 1e-3}),
    ],
)
def test_every_kind_of_fusion_tells_one_row_of_terms_a_patch(config, rates, samples, tmp_path):
    model = fresh(config)
    shown = evidence(samples, 4)
    head = EvidenceHead(16, shown)
    random = torch.Generator().manual_seed(0)
    tokens = torch.randn(3, model.config.image_tokens, 16, generator=random)
    # What is known before looking: of the patches that show something, half the share of each term.
    half = shown.here.told[shown.here.rows[shown.here.rows >= 0]].mean(axis=0) / 2
    assert head.reader.known.tolist() == pytest.approx([math.log(share / (1 - share)) for share in half])
    here, anywhere = head(tokens)
    assert torch.equal(here, head.reader.known.expand(3, 16, 2)) and here.shape == (3, 16, 2)
    # And of the fakes the share that shows it.
    fakes = [sample for sample in samples if sample.label == "fake"]
    share = sum(bool((sample.attributes or {})["Across"]) for sample in fakes) / len(fakes)
    assert anywhere[0, 0].sigmoid().item() == pytest.approx(share, abs=1e-5)
    with torch.no_grad():
        for weights in (head.reader.what, head.reader.any):
            weights.normal_(generator=random)
    here, anywhere = head(tokens)
    several = model.config.image_tokens // 16
    patches_ = tokens[1].reshape(16, several, 16).mean(dim=1)
    assert here[1, 5, 1].item() == pytest.approx(
        (patches_[5] @ head.reader.what[1] + head.reader.known[1]).item(), abs=1e-5
    )
    whole = (patches_ @ head.reader.any[1]).exp().sum().log() + head.reader.seldom[1]
    assert anywhere[1, 1].item() == pytest.approx(whole.item(), abs=1e-4)
    train(tmp_path, samples, model=model, recipe=replace(RECIPE, rates=rates, steps=2))


def test_an_image_of_which_nothing_is_known_adds_nothing_to_the_loss(samples):
    head = EvidenceHead(16, evidence(samples, 4))
    torch.nn.init.normal_(head.reader.any)
    real, fake = (next(n for n, one in enumerate(samples) if one.label == label) for label in ("real", "fake"))
    tokens = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(0))
    alone, both = head.loss(tokens[:1], np.array([fake])), head.loss(tokens, np.array([fake, real]))
    assert alone.item() == pytest.approx(both.item()) and alone > 0
    assert head.loss(tokens[1:], np.array([real])).item() == 0


def test_a_place_that_shows_nothing_is_told_that_it_does():
    here = SaidHere((7,), np.array([[0, NOTHING, UNKNOWN]], np.int32), np.array([[True]]), np.array([[False]]))
    on, off = places_loss(torch.tensor([[[2.0], [-1.0], [9.0]]]), here, np.array([0]))
    assert on.item() == pytest.approx(math.log1p(math.exp(-2))) and off.item() == pytest.approx(
        math.log1p(math.exp(-1))
    )
