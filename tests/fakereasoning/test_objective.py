"""What a batch is learnt by: the losses against the plain model, packing, cached features, and encoded records."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fakereasoning.cpm import cpm_loss
from fakereasoning.frozen import frozen_features
from fakereasoning.objective import Objective
from fakereasoning.optimisation import recompute_blocks
from fakereasoning.pixels import TrainingImages
from fakereasoning.prompts import IGNORE, IMAGE_TOKEN
from fakereasoning.recipe import PARTS, TuneRecipe
from fakereasoning.records import Record
from fakereasoning.rows import Rows
from fakereasoning.tokenizer import ByteLevelCodec
from fdr_bench.errors import DataError, UsageError
from tests.fakereasoning import small

ALL = TuneRecipe(trainable=PARTS, batch=4)


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> list[Record]:
    return small.records(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def codec(records) -> ByteLevelCodec:
    return small.codec(records)


def rows_and_images(records, codec, recipe=ALL) -> tuple[Rows, TrainingImages]:
    rows = Rows(records, codec, small.config(codec.vocabulary), recipe)
    return rows, TrainingImages(rows.files, 32)


LIKE = torch.empty(0)

# ---------------------------------------------------------------- losses


@pytest.mark.parametrize("semantics", ["labels", "official"])
def test_the_losses_are_those_of_the_whole_model_on_all_positions(records, codec, semantics):
    rows, images = rows_and_images(records, codec)
    recipe = replace(ALL, cpm_semantics=semantics, cpm_weight=0.5)
    model = small.model(codec.vocabulary).eval()
    batch = rows.batch(np.array([0, 1, 6]), images, None, like=LIKE)
    losses = Objective(model, recipe, codec.cpm)(batch)
    out = model(batch.input_ids, pixels=batch.pixels, attention_mask=batch.attention_mask, labels=batch.labels)
    cpm = cpm_loss(out.logits, out.labels, batch.fake, codec.cpm, semantics=semantics).loss
    assert losses.language.item() == pytest.approx(out.loss.item(), rel=1e-5)
    assert losses.cpm.item() == pytest.approx(cpm.item(), rel=1e-5)
    assert losses.total.item() == pytest.approx(out.loss.item() + 0.5 * cpm.item(), rel=1e-5)


def test_padding_does_not_change_a_rows_loss(records, codec):
    rows, images = rows_and_images(records, codec)
    objective = Objective(small.model(codec.vocabulary).eval(), ALL, codec.cpm)
    lengths = np.array(rows.lengths)
    short, long = int(lengths.argmin()), int(lengths.argmax())
    assert lengths[short] < lengths[long]
    alone = [objective(rows.batch(np.array([i]), images, None, like=LIKE)).language.item() for i in (short, long)]
    both = objective(rows.batch(np.array([short, long]), images, None, like=LIKE)).language.item()
    counts = [sum(label != IGNORE for label in rows.rows[i].labels) for i in (short, long)]
    assert both == pytest.approx(np.average(alone, weights=counts), rel=1e-5)


def test_every_row_with_a_conclusion_gives_a_gradient_to_the_verdict(records, codec):
    rows, images = rows_and_images(records, codec)
    model = small.model(codec.vocabulary).eval()
    for index in range(4):
        model.zero_grad()
        Objective(model, replace(ALL, cpm_weight=1e6), codec.cpm)(
            rows.batch(np.array([index]), images, None, like=LIKE)
        ).total.backward()
        real, fake = codec.cpm.real[0], codec.cpm.fake[0]
        pull = model.language.lm_head.weight.grad[[real, fake]].abs().sum(dim=1)
        assert bool((pull > 1).all())


def test_records_packed_into_one_row_are_learnt_as_if_each_stood_alone(records, codec):
    asked = [replace(record, question=f"What is this{'?' * n}") for n, record in enumerate(records[:2] * 3)]
    asked = [replace(record, image=records[n // 3].image, label=None) for n, record in enumerate(asked)]
    recipe = replace(ALL, cpm_weight=0.0)
    rows, images = rows_and_images(asked, codec, recipe)
    packed, _ = rows_and_images(asked, codec, replace(recipe, pack=True))
    assert (len(rows), len(packed), list(packed.images)) == (6, 2, [0, 1])
    losses, gradients = [], []
    for given in (rows, packed):
        model = small.model(codec.vocabulary).eval()
        loss = Objective(model, recipe, None)(given.batch(np.arange(len(given)), images, None, like=LIKE)).total
        loss.backward()
        losses.append(loss.item())
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_questions_share_a_row_with_a_verdict_and_change_nothing_of_it(records, codec):
    real, fake, other = records[2], records[1], records[3]
    verdicts = [real, fake, replace(fake, id="again", question="Is it?")]
    asked = [
        replace(record, question="What is this?", answer="A picture.", label=None)
        for record in (real, fake, other, fake)
    ]
    both, images = rows_and_images([*verdicts, *asked], codec, replace(ALL, pack=True))
    assert both.images.tolist() == [0, 1, 1, 2]
    assert both.fake.tolist() == [False, True, True, False]
    assert [max(row.segments) for row in both.rows] == [2, 3, 1, 1]
    alone = Rows(verdicts, codec, small.config(codec.vocabulary), ALL)
    objective = Objective(small.model(codec.vocabulary).eval(), ALL, codec.cpm)
    packed, apart = (objective(rows.batch(np.arange(len(rows)), images, None, like=LIKE)) for rows in (both, alone))
    assert packed.cpm.item() == pytest.approx(apart.cpm.item(), rel=1e-6)
    questions, _ = rows_and_images(asked, codec)
    told = objective(questions.batch(np.arange(4), images, None, like=LIKE))
    n = [sum(label != IGNORE for row in rows.rows for label in row.labels) for rows in (alone, questions)]
    mean = np.average([apart.language.item(), told.language.item()], weights=n)
    assert packed.language.item() == pytest.approx(mean, rel=1e-6)


def test_a_row_holds_no_more_records_than_its_length_allows(records, codec):
    asked = [replace(records[0], question="What is this?", label=None) for _ in range(6)]
    segment = len(codec.prompt("What is this?")) - 2 + len(codec.answer(records[0].answer))
    longest = 2 + 3 * segment + segment - 1  # bos and image, three records, not quite a fourth
    recipe = replace(ALL, cpm_weight=0.0, pack=True, max_length=longest + small.PATCHES - 1)
    rows, _ = rows_and_images(asked, codec, recipe)
    assert [max(row.segments) for row in rows.rows] == [3, 3]
    assert max(rows.lengths) <= longest


def test_recomputed_blocks_give_the_same_gradients(records, codec):
    rows, images = rows_and_images(records, codec)
    batch = rows.batch(np.arange(4), images, None, like=LIKE)
    gradients = []
    for recompute in (False, True):
        model = small.model(codec.vocabulary).eval()
        if recompute:
            recompute_blocks(model.language.model.layers)
        Objective(model, ALL, codec.cpm)(batch).total.backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 50
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*gradients, strict=True))


def test_features_of_frozen_towers_are_those_of_the_images_to_half_precision(records, codec, tmp_path):
    rows, images = rows_and_images(records, codec)
    model = small.model(codec.vocabulary).eval()
    features = frozen_features(model, images, tmp_path / "features")
    index = np.array([7, 2])
    live = model.visual_features(rows.batch(index, images, None, like=LIKE).pixels)
    for kept, computed in zip(features.take(rows.images[index], LIKE.device, LIKE.dtype), live, strict=True):
        assert torch.allclose(kept, computed, rtol=1e-3, atol=1e-4)
    # Found again, until a tower changes.
    stamp = (tmp_path / "features" / "clip.npy").stat().st_mtime_ns
    frozen_features(small.model(codec.vocabulary).eval(), images, tmp_path / "features")
    assert (tmp_path / "features" / "clip.npy").stat().st_mtime_ns == stamp
    frozen_features(small.model(codec.vocabulary, seed=1).eval(), images, tmp_path / "features")
    assert (tmp_path / "features" / "clip.npy").stat().st_mtime_ns != stamp


# ---------------------------------------------------------------- records


def test_records_without_room_for_an_answer_are_left_out_and_counted(records, codec):
    config = small.config(codec.vocabulary)
    prompt = len(codec.prompt(None)) - 1 + small.PATCHES
    rows = Rows(records, codec, config, replace(ALL, max_length=prompt + 5))
    assert all(sum(label != IGNORE for label in row.labels) == 5 for row in rows.rows)
    with pytest.raises(DataError, match="none has anything to learn"):
        Rows(records, codec, config, replace(ALL, max_length=prompt))


def test_a_recipe_may_learn_the_conclusion_alone(records, codec):
    rows, _ = rows_and_images(records, codec, replace(ALL, stages=("CONCLUSION",)))
    learnt = [label for label in rows.rows[0].labels if label != IGNORE]
    assert codec.decode(learnt) == "<CONCLUSION> This image is fake. </CONCLUSION>"
    with pytest.raises(DataError, match="lacks one of the stages"):
        rows_and_images([replace(records[0], answer="A picture.")], codec, replace(ALL, stages=("CAPTION",)))


def test_records_about_one_image_share_it(records, codec):
    rows, images = rows_and_images([*records, *records[:5]], codec)
    assert (len(rows), len(images)) == (17, 12)
    assert np.array_equal(np.bincount(rows.images), [2] * 5 + [1] * 7)


def test_images_move_by_whole_pixels_where_the_recipe_says_so_and_never_without_chance(records, codec):
    rows, images = rows_and_images(records, codec, replace(ALL, shift=3))
    index = np.arange(6)
    still = rows.batch(index, images, None, like=LIKE).pixels
    moved = rows.batch(index, images, None, like=LIKE, random=np.random.default_rng(0)).pixels
    again = rows.batch(index, images, None, like=LIKE, random=np.random.default_rng(0)).pixels
    assert torch.equal(moved, again) and not torch.equal(moved, still)
    # Each is the still image behind an edge of three mirrored pixels, seen from somewhere else.
    wide = torch.nn.functional.pad(still, (3, 3, 3, 3), mode="reflect")
    places = [(y, x) for y in range(7) for x in range(7)]
    for number in range(6):
        assert any(torch.equal(moved[number], wide[number, :, y : y + 32, x : x + 32]) for y, x in places)
    plain, _ = rows_and_images(records, codec)
    assert torch.equal(plain.batch(index, images, None, like=LIKE, random=np.random.default_rng(0)).pixels, still)


# ---------------------------------------------------------------- the verdict alone


def test_of_a_share_of_the_records_the_verdict_is_asked_alone(records, codec):
    whole, _ = rows_and_images(records, codec)
    rows, _ = rows_and_images(records, codec, replace(ALL, direct=0.5))
    added = [row for row in rows.rows if row not in whole.rows]
    assert len(rows) == len(whole) + sum(record.label is not None for record in records) // 2
    learnt = {codec.decode([token for token in row.labels if token != IGNORE]).strip() for row in added}
    assert learnt == {f"<CONCLUSION> This image is {label}. </CONCLUSION>" for label in ("real", "fake")}
    assert rows.left_out == 0


def test_of_a_share_of_the_records_the_verdict_is_learnt_behind_the_words_of_the_other_class(records, codec):
    whole, _ = rows_and_images(records, codec)
    rows, _ = rows_and_images(records, codec, replace(ALL, contrary=0.5))
    labelled = [record for record in records if record.label is not None]
    added = [number for number, row in enumerate(rows.rows) if row not in whole.rows]
    assert len(rows) == len(whole) + len(added) and len(added) == len(labelled) // 2
    said = {record.answer.partition("<CONCLUSION>")[0]: record.label for record in labelled}
    of_image = {record.image.location: record.label for record in labelled}
    for number in added:
        row = rows.rows[number]
        answer = codec.decode(row.input_ids[row.input_ids.index(IMAGE_TOKEN) + 1 :])
        words = next(text for text in said if text in answer)
        verdict = of_image[rows.files[rows.images[number]].location]
        assert said[words] != verdict == ("fake" if rows.fake[number] else "real")
        learnt = codec.decode([token for token in row.labels if token != IGNORE]).strip()
        assert learnt == f"<CONCLUSION> This image is {verdict}. </CONCLUSION>"


def test_the_verdicts_behind_other_words_give_a_gradient_to_the_image(records, codec):
    rows, images = rows_and_images(records, codec, replace(ALL, contrary=1.0))
    model = small.model(codec.vocabulary)
    model.set_trainable(PARTS)
    added = [number for number, row in enumerate(rows.rows) if sum(label != IGNORE for label in row.labels) < 20]
    batch = rows.batch(np.array(added), images, None, like=LIKE)
    losses = Objective(model, replace(ALL, cpm_weight=1.0), codec.cpm).train()(batch)
    losses.total.backward()
    assert losses.cpm > 0
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.dino_projector.parameters() if parameter.ndim > 1)


def test_of_a_share_of_the_records_only_the_summary_is_learnt(records, codec):
    whole, _ = rows_and_images(records, codec)
    rows, images = rows_and_images(records, codec, replace(ALL, brief=0.5))
    cut = [number for number, row in enumerate(rows.rows) if row not in whole.rows]
    assert len(rows) == len(whole) and len(cut) == sum(record.label is not None for record in records) // 2
    answers = {record.answer.partition("</SUMMARY>")[0] + "</SUMMARY>" for record in records}
    for number in cut:
        row = rows.rows[number]
        learnt = [token for token in row.labels if token != IGNORE]
        # Behind a summary comes a caption: that a text ends there is not learnt.
        assert codec.decode(learnt) in answers and learnt[-1] != codec.eos
        assert row.input_ids[-len(learnt) :] == learnt
    model = small.model(codec.vocabulary)
    losses = Objective(model, ALL, codec.cpm).train()(rows.batch(np.array(cut), images, None, like=LIKE))
    losses.total.backward()
    assert losses.language > 0 and losses.cpm == 0


@pytest.mark.parametrize("name", ["direct", "contrary", "brief"])
def test_a_share_above_one_is_refused(name):
    with pytest.raises(UsageError, match=rf"{name} is 1\.5"):
        replace(ALL, **{name: 1.5})


def test_batch_normalisation_keeps_its_statistics_while_its_weights_learn(codec):
    model = small.model(codec.vocabulary)
    model.clip.embeddings.patch_embedding = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 8, 8, 8))
    norm = model.clip.embeddings.patch_embedding[0]
    model.set_trainable(PARTS)
    objective = Objective(model, ALL, codec.cpm).train()
    norm(torch.rand(4, 3, 8, 8) + 5)
    assert objective.training and model.clip.training
    assert torch.equal(norm.running_mean, torch.zeros(3))
    assert norm.weight.requires_grad
