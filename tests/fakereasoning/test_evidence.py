"""Evidence at its place: which words count, which patches show them, and that FACL comes to tell them there."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from fakereasoning.evidence import EvidenceHead, KeptEvidence, evidence, patches, shown_by
from fakereasoning.facl_loop import FaclLoop
from fakereasoning.facl_recipe import FaclRecipe
from fakereasoning.model import FakeReasoning
from fakereasoning.objective import Objective
from fakereasoning.pixels import TrainingImages, normalised
from fakereasoning.places import NOTHING, UNKNOWN, SaidHere, places_loss
from fakereasoning.recipe import TuneRecipe
from fakereasoning.records import Record
from fakereasoning.rows import Rows
from fakereasoning.stage1 import train_facl
from fakereasoning.tokenizer import train_tokenizer
from fakereasoning.training import tune
from fdr_bench.errors import DataError, RunError, UsageError
from tests.fakereasoning.test_stage1 import CLIP_ONLY, CONFIG, SAMPLES, Letters

RECIPE = FaclRecipe(
    rates={"dino": 3e-3}, head_rate=3e-3, shift=0, batch=16, epochs=3, held_out=0.2, evidence_weight=1.0
)
CODEC = train_tokenizer(["Stripes across. Stripes down. A red ball stands here."] * 8, vocabulary=320)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Give every fake a mask: its stripes show in the left half, where the right half is made plain."""
    folder = tmp_path_factory.mktemp("regions")
    half = np.zeros((16, 16), dtype=np.uint8)
    half[:, :8] = 255
    Image.fromarray(half).save(folder / "left.png")
    given = []
    for sample in SAMPLES:
        said = [name for name, text in (sample.attributes or {}).items() if text]
        regions = {name: str(folder / "left.png") for name in said} if sample.label == "fake" else None
        given.append(replace(sample, regions=regions, caption="Stripes here."))
    return given


def fresh(config=CONFIG) -> FakeReasoning:
    torch.manual_seed(0)
    return FakeReasoning(replace(config, language={**config.language, "vocab_size": CODEC.vocabulary}))


def train(out, samples, *, model=None, recipe=RECIPE, codec=CODEC, **keywords):
    common = {"threads": 1, "quiet": True, "encoder": Letters(), "codec": codec}
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
    here = evidence(samples, CODEC, 4)
    # "Stripes" is in every caption.
    assert [CODEC.decode([token]) for token in here.ids] == [" across", " down"]
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
    here = evidence([two, replace(two, regions={"Down": str(upper)})], CODEC, 2)
    assert [here.told[row].tolist() for row in here.rows[0] if row >= 0] == [[True, True], [False, True], [True, False]]
    assert here.rows[0, 3] == UNKNOWN and (here.rows[1] == UNKNOWN).all()


def test_held_out_images_tell_what_is_wrong_where_it_is(samples, tmp_path):
    result = train(tmp_path, samples, recipe=replace(RECIPE, epochs=36))
    first, last = result.card["history"][0], result.card["history"][-1]
    assert first["evidence"] < 0.8 and last["evidence"] > 0.95
    assert last["places"] < 0.7 * result.card["history"][1]["places"]
    assert result.card["evidence"] == [" across", " down"]
    before, after = fresh().state_dict(), result.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    embeddings = "language.model.embed_tokens.weight"
    assert {name.partition(".")[0] for name in changed - {embeddings}} == {"dino", "dino_projector", "fusion"}
    ids = evidence(samples, CODEC, 4).ids
    rows = (before[embeddings] != after[embeddings]).any(dim=1).nonzero().flatten().tolist()
    assert rows == sorted(ids)


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
    with pytest.raises(DataError, match=r"nowhere\.png cannot be read"):
        train(tmp_path / "unread", unread)
    with pytest.raises(DataError, match="Take a dataset with regions"):
        train(tmp_path / "none", SAMPLES)
    with pytest.raises(UsageError, match="give its codec"):
        train(tmp_path / "codec", samples, codec=None)
    with pytest.raises(UsageError, match="evidence_weight is -1"):
        FaclRecipe(evidence_weight=-1)


def test_a_tower_that_is_not_compared_learns_by_evidence_alone(samples, tmp_path):
    recipe = replace(RECIPE, rates={"dino": 1e-3, "clip": 1e-3}, aligned=("dino",), keep={}, steps=2)
    result = train(tmp_path / "both", samples, recipe=recipe)
    before, after = fresh().state_dict(), result.model.state_dict()
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"clip", "dino", "clip_projector", "dino_projector", "fusion", "language"}
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
def test_every_kind_of_fusion_tells_one_row_of_words_a_patch(config, rates, samples, tmp_path):
    model = fresh(config)
    here = evidence(samples, CODEC, 4)
    head = EvidenceHead(model, tuple(rates), here)
    tokens = torch.randn(3, model.config.image_tokens, 16, generator=torch.Generator().manual_seed(0))
    logits = head(tokens)
    assert logits.shape == (3, 16, 2)
    several = model.config.image_tokens // 16
    mean = tokens[1, 5 * several : 6 * several].mean(dim=0) @ head.words[1] + head.known[1]
    assert logits[1, 5, 1].item() == pytest.approx(mean.item(), abs=1e-5)
    # What is known before looking: of the patches that show something, half the share of each word.
    half = here.told[here.rows[here.rows >= 0]].mean(axis=0) / 2
    assert head.known.tolist() == pytest.approx([math.log(share / (1 - share)) for share in half])
    train(tmp_path, samples, model=model, recipe=replace(RECIPE, rates=rates, steps=2))


def test_a_place_that_shows_nothing_is_told_that_it_does():
    here = SaidHere((7,), np.array([[0, NOTHING, UNKNOWN]], np.int32), np.array([[True]]), np.array([[False]]))
    on, off = places_loss(torch.tensor([[[2.0], [-1.0], [9.0]]]), here, np.array([0]))
    assert on.item() == pytest.approx(math.log1p(math.exp(-2))) and off.item() == pytest.approx(
        math.log1p(math.exp(-1))
    )


# ---------------------------------------------------------------- in tuning

TUNING = TuneRecipe(
    trainable=("dino", "projectors", "fusion", "language"),
    batch=8,
    lr=3e-3,
    epochs=16,
    held_out=0.1,
    evidence_weight=1.0,
)


def records_of(samples) -> list[Record]:
    answer = "<REASONING> {} </REASONING> <CONCLUSION> This image is {}. </CONCLUSION>"
    return [
        Record(
            id=sample.id,
            image=sample.image,
            question="Real or fake?",
            answer=answer.format(" ".join(text for text in (sample.attributes or {}).values() if text), sample.label),
            label=sample.label,
        )
        for sample in samples
    ]


def test_in_tuning_evidence_is_read_by_the_language_models_own_embeddings(samples):
    records = records_of(samples)
    recipe = replace(TUNING, evidence_weight=0.5)
    model = fresh(replace(CONFIG, dropout=0.0)).eval()
    rows = Rows(records, CODEC, model.config, recipe)
    here = shown_by(rows.files, samples, CODEC, model)
    fakes = np.flatnonzero([sample.label == "fake" for sample in samples])[:3]
    batch = rows.batch(fakes, TrainingImages(rows.files, 16), None, like=torch.empty(0))
    assert batch.images is not None and batch.images.tolist() == rows.images[fakes].tolist()
    objective = Objective(model, recipe, CODEC.cpm, KeptEvidence(here))
    assert objective.eval()(batch).evidence == 0
    losses = objective.train()(batch)
    with torch.no_grad():
        logits = EvidenceHead(model, ("dino",), here)(model.image_tokens(model.visual_features(batch.pixels)))
    expected = torch.stack(places_loss(logits, here, rows.images[fakes])).sum().item() / len(here.ids)
    assert losses.evidence.item() == pytest.approx(expected, rel=1e-5)
    told = losses.language + recipe.cpm_weight * losses.cpm + 0.5 * losses.evidence
    assert losses.total.item() == pytest.approx(told.item(), rel=1e-5)


def test_a_tuning_with_evidence_comes_to_tell_it_and_one_without_does_not(samples, tmp_path):
    records = records_of(samples)

    def tuned(name, recipe):
        options = {"threads": 1, "quiet": True, "samples": samples}
        return tune(fresh(), CODEC, records, recipe=recipe, out=tmp_path / name, **options)

    def remaining(model) -> float:
        here = shown_by([record.image for record in records], samples, CODEC, model)
        images = TrainingImages([record.image for record in records], 16)
        every = np.arange(len(records))
        with torch.no_grad():
            tokens = model.image_tokens(model.visual_features(normalised(images.take(every))))
            return KeptEvidence(here).loss(model, tokens, every).item()

    kept, left = tuned("kept", TUNING), tuned("left", replace(TUNING, evidence_weight=0.0))
    assert remaining(kept.model) < 0.8 * remaining(left.model)
    history = kept.card["history"]
    assert history[-1]["evidence"] < 0.8 * history[0]["evidence"] and "evidence" not in left.card["history"][-1]
    with pytest.raises(UsageError, match="no sample with masks is known"):
        tune(fresh(), CODEC, records, recipe=TUNING, out=tmp_path / "none", quiet=True)
