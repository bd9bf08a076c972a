"""What is read off the image tokens and told back to them: concepts that a tuning leaves in the model."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fakereasoning.concepts import GAIN, Concepts, KindsReader, WordsReader, other_sides
from fakereasoning.config import FakeReasoningConfig
from fakereasoning.evidence import shown_by
from fakereasoning.generation import _Images
from fakereasoning.model import FakeReasoning
from fakereasoning.objective import Objective, heads_of
from fakereasoning.optimisation import optimizer
from fakereasoning.pixels import TrainingImages
from fakereasoning.places import Place, Shown, words_here
from fakereasoning.prompts import IMAGE_TOKEN
from fakereasoning.recipe import Lora, TuneRecipe
from fakereasoning.rows import Rows
from fakereasoning.training import tune
from fdr_bench.errors import RunError, UsageError, WeightsError
from tests.fakereasoning.test_evidence import CODEC, fresh
from tests.fakereasoning.test_evidence_in_tuning import TUNING, records_of
from tests.fakereasoning.test_stage1 import CONFIG

RECIPE = replace(TUNING, trainable=(*TUNING.trainable, "concepts"), places_weight=1.0)
SHOWN = Shown([Place(0.25, 0.25, 0.2, 0.2, ("ball", "red"))], ("sand",))


@pytest.fixture(scope="module")
def shown(samples):
    return {sample.image.location: SHOWN for sample in samples}


def known_of(samples, shown, model):
    files = [sample.image for sample in samples]
    return shown_by(files, samples, model), words_here(
        shown, [file.location for file in files], None, model.config.grid
    )


def test_what_is_read_joins_the_tokens_by_probabilities():
    random = torch.Generator().manual_seed(0)
    kinds, words = KindsReader(16, 2, 4), WordsReader(16, 3, 4)
    concepts = Concepts(16, kinds, words)
    # Two tokens a patch, as interleaved towers have them.
    tokens = torch.randn(3, 8, 16, generator=random)
    assert torch.equal(concepts(tokens), tokens)
    with torch.no_grad():
        for parameter in concepts.parameters():
            parameter.normal_(generator=random)
    told = concepts(tokens)
    for image in range(3):
        patches = tokens[image].reshape(4, 2, 16).mean(dim=1)
        whole = [
            (sum(torch.exp(patch @ kinds.any[k]) for patch in patches).log() + kinds.seldom[k]).sigmoid()
            for k in range(2)
        ]
        for token in range(8):
            patch = patches[token // 2]
            here = [(patch @ kinds.what[k] + kinds.known[k]).sigmoid() for k in range(2)]
            named = [(patch @ words.what[w] + words.known[w]).sigmoid() for w in range(3)]
            read = concepts.back.weight @ torch.stack([*here, *whole, *named])
            expected = tokens[image, token] + GAIN * (concepts.where[token // 2] + read)
            assert torch.allclose(told[image, token], expected, atol=1e-4)


def seeing(words) -> FakeReasoning:
    """Return a model that reads two kinds and these words, and tells them loudly."""
    model = FakeReasoning(replace(CONFIG, kinds=("melts", "floats"), words=words, dropout=0.0)).eval()
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.concepts.parameters():
            parameter.normal_(generator=random)
    return model


@torch.no_grad()
def test_concepts_are_read_off_the_mirror_image_too():
    model, pixels = seeing(("lit on the left", "red", "lit on the right")), torch.randn(2, 3, 16, 16)
    assert other_sides(model.config.words) == [2, 1, 0] and other_sides(("left",)) is None
    (here, image, words), (here_too, image_too, words_too) = (
        model.concepts.read(model.fused_tokens(model.visual_features(each))) for each in (pixels, pixels.flip(3))
    )
    tokens, grid = model.fused_tokens(model.visual_features(pixels)), model.config.grid
    expected = tokens + GAIN * model.concepts.where
    for patch in range(grid**2):
        row, column = divmod(patch, grid)
        other = row * grid + grid - 1 - column
        kinds = (here[:, patch] + here_too[:, other]) / 2
        named = (words[:, patch] + words_too[:, other][:, [2, 1, 0]]) / 2
        told = torch.cat((kinds, (image[:, 0] + image_too[:, 0]) / 2, named), dim=1)
        expected[:, patch] += GAIN * told @ model.concepts.back.weight.T
    both = model.tokens_of(pixels)
    assert torch.allclose(both, expected, atol=1e-4)
    # So it is when a text is read, and when one is written; not where that is not wanted.
    ids = torch.tensor([[IMAGE_TOKEN, 1, 2]] * 2)
    read = model.language(inputs_embeds=model.embed(ids, both).embeds).logits
    assert torch.allclose(model(ids, pixels=pixels).logits, read, atol=1e-5)
    assert torch.equal(_Images(model, pixels, None).tokens([0, 1]), both)
    alone = model.image_tokens(model.visual_features(pixels))
    assert not torch.allclose(alone, both, atol=1e-2)
    model.drop_mirror()
    assert torch.equal(model.tokens_of(pixels), alone)
    with pytest.raises(UsageError, match="no concepts off mirror images"):
        model.drop_mirror()


@torch.no_grad()
def test_where_a_word_has_no_other_side_concepts_are_read_one_way():
    model, pixels = seeing(("lit on the left", "red")), torch.randn(2, 3, 16, 16)
    assert torch.equal(model.tokens_of(pixels), model.image_tokens(model.visual_features(pixels)))
    with pytest.raises(UsageError, match="no concepts off mirror images"):
        model.drop_mirror()


def test_the_text_does_not_teach_a_reader_and_the_heads_do(samples, shown):
    model = fresh(replace(CONFIG, dropout=0.0))
    heads = heads_of(model, RECIPE, *known_of(samples, shown, model))
    assert model.concepts is not None and model.concepts.words is heads.places.reader
    nn.init.normal_(model.concepts.back.weight)
    nn.init.normal_(heads.evidence.reader.any)
    rows = Rows(records_of(samples), CODEC, model.config, RECIPE)
    batch = rows.batch(np.arange(4), TrainingImages(rows.files, 16), None, like=torch.empty(0))
    text = replace(RECIPE, evidence_weight=0.0)
    for recipe, taught in ((replace(text, places_weight=0.0, trainable=TUNING.trainable), False), (RECIPE, True)):
        objective = Objective(model, recipe, CODEC.cpm, heads).train()
        objective.zero_grad()
        objective(batch).total.backward()
        gradients = [reader.what.grad for reader in (model.concepts.kinds, model.concepts.words)]
        assert all((gradient is not None and bool(gradient.any())) == taught for gradient in gradients)
        assert model.concepts.back.weight.grad.any() and model.concepts.where.grad.any()


def test_the_heads_learn_from_the_tokens_before_anything_is_told_back(samples, shown):
    model = fresh(replace(CONFIG, dropout=0.0))
    heads = heads_of(model, RECIPE, *known_of(samples, shown, model))
    nn.init.normal_(heads.evidence.reader.what)
    rows = Rows(records_of(samples), CODEC, model.config, RECIPE)
    batch = rows.batch(np.arange(4), TrainingImages(rows.files, 16), None, like=torch.empty(0))
    objective = Objective(model, RECIPE, CODEC.cpm, heads).train()
    before = objective(batch)
    nn.init.normal_(model.concepts.back.weight)
    after = objective(batch)
    assert torch.equal(before.evidence, after.evidence) and not torch.equal(before.language, after.language)


def test_a_tuning_leaves_them_in_the_model_and_another_goes_on_with_them(samples, shown, tmp_path):
    def tuned(model, out, **fields):
        recipe = replace(RECIPE, epochs=3, **fields)
        records = records_of(samples)
        return tune(model, CODEC, records, samples=samples, shown=shown, recipe=recipe, out=out, threads=1, quiet=True)

    made = tuned(fresh(), tmp_path / "one")
    assert made.model.config.words == ("ball", "red", "sand") and len(made.model.config.kinds) == 2
    stored = FakeReasoning.from_pretrained(tmp_path / "one")
    assert stored.config == made.model.config
    assert stored.concepts.back.weight.any() and stored.concepts.kinds.what.any() and stored.concepts.words.what.any()
    pixels = torch.zeros(1, 3, 16, 16)
    with torch.no_grad():
        features = stored.visual_features(pixels)
        assert not torch.equal(stored.image_tokens(features), stored.fused_tokens(features))
    # A second tuning whose rates are all but nothing has what the first one had read.
    again = tuned(stored, tmp_path / "two", lr=1e-9)
    assert torch.allclose(again.model.concepts.words.what, made.model.concepts.words.what, atol=1e-5)
    # The same call finds it finished.
    assert tuned(fresh(), tmp_path / "one").card["identity"] == made.card["identity"]
    with pytest.raises(RunError, match="of another training"):
        tuned(fresh(), tmp_path / "one", places_weight=0.5)


def test_of_other_names_a_model_gets_them_anew(samples, shown):
    model = fresh()
    wrong, here = known_of(samples, shown, model)
    heads_of(model, RECIPE, wrong, here)
    first = model.concepts
    assert heads_of(model, RECIPE, wrong, here).places.reader is first.words and model.concepts is first
    heads = heads_of(model, RECIPE, wrong, here._replace(names=("ball", "red", "sea")))
    assert model.concepts is not first and model.config.words == ("ball", "red", "sea")
    assert heads.places.reader is model.concepts.words
    # A recipe that does not train them has heads of its own.
    assert heads_of(model, replace(RECIPE, trainable=TUNING.trainable), wrong, here).places.reader is not first.words


def test_a_parameter_that_model_and_head_share_is_learnt_once(samples, shown):
    model = fresh()
    heads = heads_of(model, RECIPE, *known_of(samples, shown, model))
    model.set_trainable(RECIPE.trainable)
    learnt = [id(one) for group in optimizer(model, RECIPE, heads).param_groups for one in group["params"]]
    assert len(learnt) == len(set(learnt)) and id(heads.evidence.reader.what) in learnt


def test_a_config_with_concepts_is_read_back_and_what_does_not_fit_is_named(tmp_path):
    config = replace(CONFIG, kinds=("melts", "floats"), words=("ball",))
    assert FakeReasoningConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    with pytest.raises(UsageError, match="expected different names"):
        replace(CONFIG, kinds=("melts", "melts"))
    for hostile in ([["melts"]], [3], "melts", {"melts": 1}):
        with pytest.raises(UsageError, match="kinds is"):
            FakeReasoningConfig.from_json({**CONFIG.to_json(), "kinds": hostile})
    FakeReasoning(config).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(written | {"words": ["ball", "cone"]}))
    with pytest.raises(WeightsError, match=r"concepts\.words\.what is"):
        FakeReasoning.from_pretrained(tmp_path)


def test_what_is_not_learnt_any_more_stays(samples, shown):
    model = fresh()
    wrong, here = known_of(samples, shown, model)
    assert heads_of(model, RECIPE, None, None) == (None, None) and model.concepts is None
    heads_of(model, RECIPE, wrong, here)
    first = model.concepts
    assert heads_of(model, RECIPE, wrong, None).evidence.reader is first.kinds and model.concepts is first
    assert heads_of(model, RECIPE, None, None) == (None, None) and model.concepts is first
    heads_of(model, RECIPE, None, here._replace(names=("ball", "red", "sea")))
    assert model.concepts.kinds is first.kinds and model.concepts.words is not first.words


def test_adapters_whose_folder_would_lose_them_are_refused():
    with pytest.raises(UsageError, match="no place for concepts"):
        TuneRecipe(trainable=("concepts", "language"), lora=Lora())
