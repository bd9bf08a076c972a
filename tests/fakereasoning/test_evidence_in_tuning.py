"""What is wrong, and what stands where, go on being told in tuning, by heads that are dropped."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fakereasoning.concepts import as_taken
from fakereasoning.evidence import EvidenceHead, shown_by
from fakereasoning.objective import Heads, Objective
from fakereasoning.pixels import TrainingImages
from fakereasoning.places import Place, PlacesHead, Shown, words_here
from fakereasoning.recipe import TuneRecipe
from fakereasoning.records import Record
from fakereasoning.rows import Rows
from fakereasoning.training import tune
from fakereasoning.tuning_loop import TuningLoop
from fdr_bench.errors import DataError, UsageError
from tests.fakereasoning.test_evidence import CODEC, fresh
from tests.fakereasoning.test_stage1 import CONFIG

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


def test_in_tuning_a_head_reads_evidence_and_is_dropped(samples):
    records = records_of(samples)
    recipe = replace(TUNING, evidence_weight=0.5)
    model = fresh(replace(CONFIG, dropout=0.0)).eval()
    rows = Rows(records, CODEC, model.config, recipe)
    head = EvidenceHead(16, shown_by(rows.files, samples, model))
    torch.nn.init.normal_(head.reader.what)
    fakes = np.flatnonzero([sample.label == "fake" for sample in samples])[:3]
    batch = rows.batch(fakes, TrainingImages(rows.files, 16), None, like=torch.empty(0))
    assert batch.images is not None and batch.images.tolist() == rows.images[fakes].tolist()
    objective = Objective(model, recipe, CODEC.cpm, Heads(head))
    assert objective.eval()(batch).evidence == 0
    losses = objective.train()(batch)
    with torch.no_grad():
        tokens = model.image_tokens(model.visual_features(batch.pixels))
        expected = head.loss(tokens, rows.images[fakes])
    assert losses.evidence.item() == pytest.approx(expected.item(), rel=1e-5)
    told = losses.language + recipe.cpm_weight * losses.cpm + 0.5 * losses.evidence
    assert losses.total.item() == pytest.approx(told.item(), rel=1e-5)


def test_glances_are_told_to_the_heads_and_to_nothing_else(samples):
    records = records_of(samples)
    model = fresh(replace(CONFIG, dropout=0.0)).eval()
    recipe = replace(TUNING, glances=5)
    rows = Rows(records, CODEC, model.config, recipe)
    head = EvidenceHead(16, shown_by(rows.files, samples, model))
    torch.nn.init.normal_(head.reader.what)
    images, like = TrainingImages(rows.files, 16), torch.empty(0)
    learnt = np.arange(len(records) // 2, len(records))
    index = np.array([0, 1, 2])
    batch = rows.batch(index, images, None, like=like, random=np.random.default_rng(3), learnt=learnt)
    again = rows.batch(index, images, None, like=like, random=np.random.default_rng(3), learnt=learnt)
    assert batch.glances is not None and again.glances is not None
    glanced = batch.glances.images.numpy()
    assert len(glanced) == 5 and set(glanced) <= set(rows.images[learnt])
    assert again.glances.images.tolist() == glanced.tolist() and torch.equal(again.glances.pixels, batch.glances.pixels)
    # What is held out is measured without them.
    assert rows.batch(index, images, None, like=like, learnt=learnt).glances is None
    objective = Objective(model, recipe, CODEC.cpm, Heads(head)).train()
    losses, plain = objective(batch), objective(batch._replace(glances=None))
    assert losses.language == plain.language and losses.cpm == plain.cpm
    with torch.no_grad():
        pixels = torch.cat((batch.pixels, batch.glances.pixels))
        expected = head.loss(model.image_tokens(model.visual_features(pixels)), np.append(rows.images[index], glanced))
    assert losses.evidence.item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses.evidence != plain.evidence


def test_a_killed_tuning_with_glances_goes_on_to_the_same_bytes(samples, tmp_path, monkeypatch):
    advance = TuningLoop._advance

    def killed(self, fraction):
        if self.position == 5:
            raise KeyboardInterrupt
        advance(self, fraction)

    def train(name):
        options = {"samples": samples, "threads": 1, "quiet": True, "checkpoint_seconds": 0}
        recipe = replace(TUNING, glances=8, epochs=3)
        tune(fresh(), CODEC, records_of(samples), recipe=recipe, out=tmp_path / name, **options)

    train("whole")
    monkeypatch.setattr(TuningLoop, "_advance", killed)
    with pytest.raises(KeyboardInterrupt):
        train("parts")
    monkeypatch.setattr(TuningLoop, "_advance", advance)
    train("parts")
    assert len({(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts")}) == 1


def test_a_tuning_with_evidence_comes_to_tell_it(samples, tmp_path):
    records = records_of(samples)
    options = {"threads": 1, "quiet": True, "samples": samples}
    kept = tune(fresh(), CODEC, records, recipe=TUNING, out=tmp_path / "kept", **options)
    left = tune(fresh(), CODEC, records, recipe=replace(TUNING, evidence_weight=0.0), out=tmp_path / "left", **options)
    history = kept.card["history"]
    assert history[-1]["evidence"] < 0.6 * history[0]["evidence"] and "evidence" not in left.card["history"][-1]
    assert (
        load_file(tmp_path / "kept" / "model.safetensors").keys()
        == load_file(tmp_path / "left" / "model.safetensors").keys()
    )
    with pytest.raises(UsageError, match="no sample with masks is known"):
        tune(fresh(), CODEC, records, recipe=TUNING, out=tmp_path / "none", quiet=True)


def test_a_tuning_with_places_comes_to_tell_what_stands_there(samples, tmp_path):
    # One word is true of a fake and its upper left quarter, another of a photograph.
    shown = {
        sample.image.location: Shown([Place(0.25, 0.25, 0.2, 0.2, (word,))], (word,))
        for sample in samples
        for word in ["here" if sample.label == "fake" else "left"]
    }
    recipe = replace(TUNING, evidence_weight=0.0, places_weight=1.0)
    told = tune(fresh(), CODEC, records_of(samples), recipe=recipe, out=tmp_path, shown=shown, threads=1, quiet=True)
    history = told.card["history"]
    assert history[-1]["places"] < 0.6 * history[0]["places"] and "evidence" not in history[-1]
    assert load_file(tmp_path / "model.safetensors").keys() == fresh().state_dict().keys()
    with pytest.raises(DataError, match="nothing is known of what stands where"):
        tune(fresh(), CODEC, records_of(samples), recipe=recipe, out=tmp_path / "none", quiet=True)


def test_the_places_head_begins_with_the_words_shares_and_means_over_them():
    shown = {"a": Shown([Place(0.25, 0.25, 0.2, 0.2, ("x",))], ("y",)), "b": Shown([], ("y",))}
    head = PlacesHead(16, words_here(shown, ["a", "b", "unknown"], CODEC, 2))
    tokens = torch.randn(3, 4, 16)
    ids = [CODEC.encode(" x"), CODEC.encode(" y")]
    assert sorted(head.here.ids) == sorted({token for one in ids for token in one})
    shares = torch.sigmoid(head(tokens)[0, 0]).tolist()
    # Half of what is learnt are things' places, the other half those with none.
    for token, share in zip(head.here.ids, shares, strict=True):
        both = (token in ids[0]) + (token in ids[1])
        assert share == pytest.approx(min(both / 2, 0.999), abs=1e-3)
    alone = head.loss(tokens[2:], np.array([2]))
    assert alone.item() == 0


def test_of_a_mirrored_image_left_is_told_as_right_and_at_the_other_side():
    # By hand: two images that are each other's mirror images, and what is true of them.
    words, other = ("lit on the left", "red"), ("lit on the right", "red")
    shown = {
        "a": Shown([Place(0.25, 0.25, 0.2, 0.2, words)], ("left",)),
        "b": Shown([Place(0.75, 0.25, 0.2, 0.2, other)], ("right",)),
    }
    head = PlacesHead(16, words_here(shown, ["a", "b"], None, 2))
    torch.nn.init.normal_(head.reader.what)
    tokens, first, second = torch.randn(2, 4, 16), np.array([0, 0]), np.array([1, 1])
    seen = head.loss(tokens, second)
    assert head.loss(tokens, first, torch.tensor([True, True])).item() == pytest.approx(seen.item(), rel=1e-6)
    assert head.loss(tokens, first).item() != pytest.approx(seen.item(), rel=1e-3)
    # Each by itself: one taken as it is, one the other way round.
    both = head.loss(tokens, np.array([1, 0]), torch.tensor([False, True]))
    assert both.item() == pytest.approx(seen.item(), rel=1e-6)
    said = head(tokens)
    assert as_taken(said, head.here.names, torch.tensor([False, False])) is said
    turned = as_taken(said, head.here.names, torch.tensor([True, True]))
    assert torch.equal(as_taken(turned, head.here.names, torch.tensor([True, True])), said)
    with pytest.raises(DataError, match="the data know but one in some of these words: left"):
        as_taken(said[..., :1], ["left"], torch.tensor([True, False]))


def test_half_of_the_glances_are_mirrored_where_the_recipe_says_so(samples):
    records = records_of(samples)
    model = fresh(replace(CONFIG, dropout=0.0)).eval()
    images, like, index = TrainingImages(Rows(records, CODEC, model.config, TUNING).files, 16), torch.empty(0), [0, 1]

    def glanced(mirror):
        rows = Rows(records, CODEC, model.config, replace(TUNING, glances=40, mirror=mirror))
        random = np.random.default_rng(3)
        return rows, rows.batch(np.array(index), images, None, like=like, random=random, learnt=np.arange(len(records)))

    (rows, batch), (_, plain) = glanced(True), glanced(False)
    turned = batch.glances.mirrored
    assert 8 < int(turned.sum()) < 32 and not plain.glances.mirrored.any()
    assert torch.equal(batch.glances.pixels[~turned], plain.glances.pixels[~turned])
    assert torch.equal(batch.glances.pixels[turned], plain.glances.pixels[turned].flip(3))
    assert torch.equal(batch.pixels, plain.pixels)
    # The heads are told which they are.
    shown = {file.location: Shown([Place(0.25, 0.5, 0.2, 0.2, ("x",))], ("y",)) for file in rows.files}
    head = PlacesHead(16, words_here(shown, [file.location for file in rows.files], None, 2))
    torch.nn.init.normal_(head.reader.what)
    losses = Objective(model, replace(TUNING, places_weight=1.0), CODEC.cpm, Heads(None, head)).train()(batch)
    with torch.no_grad():
        tokens = model.image_tokens(model.visual_features(torch.cat((batch.pixels, batch.glances.pixels))))
        every = np.append(rows.images[index], batch.glances.images.numpy())
        expected = head.loss(tokens, every, torch.cat((torch.tensor([False, False]), turned)))
        assert losses.places.item() == pytest.approx(expected.item(), rel=1e-5)
        assert head.loss(tokens, every).item() != pytest.approx(expected.item(), rel=1e-3)
    with pytest.raises(UsageError, match="'mirror' but without glances"):
        replace(TUNING, mirror=True)
