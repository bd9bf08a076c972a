"""FakeReasoning as a plugin: it keeps the contract, and tells what its model wrote and how likely it found it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fakereasoning import answering
from fakereasoning.answering import Answerer, load, rows_at_once
from fakereasoning.calibrating import calibrate_folder
from fakereasoning.calibration import read_temperature
from fakereasoning.detector import RELEASED, SHIPPED, FakeReasoning, card_facts
from fakereasoning.generation import Generated, score_of
from fakereasoning.model import FakeReasoning as Model
from fakereasoning.pixels import normalised, squared
from fakereasoning.sizes import size
from fakereasoning.tokenizer import LlamaCodec
from fdr_bench.errors import ImageError, UsageError, WeightsError
from fdr_bench.models import Candidate, resolve_model
from fdr_bench.selftest import DETECTOR_CHECKS, run_selftest
from fdr_bench.types import Dataset, Sample
from fdr_bench.weights import digest, locate, packaged_path, resolve_preset
from tests.baselines.made import picture
from tests.fakereasoning import small, spoken
from tests.fakereasoning.test_tokenizer import llama

SAID = small.answer("red", "fake")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder of an untrained model that writes a dozen tokens or two."""
    place = tmp_path_factory.mktemp("made")
    codec = small.codec(small.records(place / "pictures", 4))
    prompt = len(codec.prompt()) - 1 + small.PATCHES
    config = replace(small.config(codec.vocabulary), max_length=prompt + 24)
    torch.manual_seed(3)
    out = place / "weights"
    model = Model(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    model.save_pretrained(out)
    codec.save(out)
    facts = {"format": 1, "detector": "fakereasoning", "size": "nano"} | card_facts(config)
    trained_on = {"dataset": "fdr-scenes-train", "generators": ["g"]}
    (out / "card.json").write_text(json.dumps(facts | {"trained_on": trained_on, "parameters": 7}))
    return out


def detector(folder: Path) -> FakeReasoning:
    return FakeReasoning(preset="scenes", device="cpu", weights={"weights": folder}, view=None)


def saying(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """Make every generation give one answer with these fields."""
    said = Generated(SAID, (1, 2), (1.0, 3.0), score_of((1.0, 3.0)), "cpm", "eos")._replace(**fields)
    monkeypatch.setattr(answering, "generate", lambda model, codec, *, pixels, **_: [said] * len(pixels))


def test_it_keeps_the_contract_of_detectors(folder):
    results = run_selftest(FakeReasoning, preset="scenes", weights={"weights": folder})
    assert {result.name: result.detail for result in results if result.passed is False} == {}
    assert set(DETECTOR_CHECKS) <= {result.name for result in results}


def test_texts_do_not_depend_on_the_batch(folder):
    made = detector(folder)
    images = [picture(40 + 7 * seed, 30, seed) for seed in range(5)]
    together = made.predict(images)
    assert [made.predict([image])[0].raw for image in images] == [each.raw for each in together]
    assert len({each.raw for each in together}) > 1


def test_a_prediction_has_the_conclusions_verdict_the_reasoning_and_the_whole_text(folder, monkeypatch):
    saying(monkeypatch)
    (found,) = detector(folder).predict([picture(20, 30)])
    assert (found.verdict, found.reasoning, found.raw, found.score_source) == ("fake", "It is red.", SAID, "cpm")
    # The softmax of the logits 1 and 3.
    assert found.score == pytest.approx(0.8807970779778823)


def test_a_text_without_a_verdict_still_has_a_score(folder, monkeypatch):
    saying(monkeypatch, text="<SUMMARY> I", score_source="cpm-forced", stopped="length")
    (found,) = detector(folder).predict([picture(20, 30)])
    assert found.verdict is None and found.reasoning is None and found.raw == "<SUMMARY> I"
    assert found.score == pytest.approx(0.8807970779778823) and found.score_source == "cpm-forced"


def test_a_calibrated_folder_scores_at_its_temperature(folder, monkeypatch, tmp_path):
    calibrated = tmp_path / "weights"
    calibrated.mkdir()
    for path in folder.iterdir():
        (calibrated / path.name).write_bytes(path.read_bytes())
    content = {"format": "fakereasoning-calibration-1", "temperature": 2.0}
    (calibrated / "calibration.json").write_text(json.dumps(content))
    saying(monkeypatch)
    # The sigmoid of (3 - 1) / 2.
    assert detector(calibrated).predict([picture(20, 30)])[0].score == pytest.approx(0.7310585786300049)


def test_calibrating_a_folder_writes_what_its_answers_say(folder, tmp_path):
    place = tmp_path / "weights"
    place.mkdir()
    for path in folder.iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    records = small.records(tmp_path / "pictures", 8)
    samples = [Sample(id=record.id, image=record.image, label=record.label) for record in records]
    dataset = Dataset(name="val", spec="folders:val", samples=samples, fingerprint="f")
    found = calibrate_folder(place, dataset, figure=tmp_path / "diagram.html", quiet=True)
    assert read_temperature(place) == found.temperature
    told = {"dataset": "val", "fingerprint": "f", "n": 8, "n_fake": 4}
    assert found.fitted_on == told | {"weights": digest([place / "model.safetensors"])}
    assert "plotly" in (tmp_path / "diagram.html").read_text()


def test_the_pixels_that_the_model_sees_are_padded_and_not_cropped(folder, monkeypatch):
    seen = []
    original = answering.generate
    monkeypatch.setattr(answering, "generate", lambda *a, **k: seen.append(k["pixels"]) or original(*a, **k))
    image = picture(64, 20)
    detector(folder).predict([image])
    assert torch.equal(seen[0], normalised(squared(image, 32)[None]))
    # The first row is padding: CLIP's mean colour, rounded down, which is nearly 0.
    assert float(seen[0][0, :, 0].abs().max()) < 0.02


def test_an_image_that_no_memory_would_hold_as_a_square_is_refused(folder):
    with pytest.raises(ImageError, match="1x20000 px make a square"):
        detector(folder).predict([picture(1, 20_000)])


def test_views_are_ways_of_answering_and_no_others(folder):
    with pytest.raises(UsageError, match=r"no view 'sample'\. Did you mean 'sampled'\? Views: greedy, sampled,"):
        FakeReasoning(weights={"weights": folder}, view="sample")
    with pytest.raises(UsageError, match="has one prompt"):
        FakeReasoning(weights={"weights": folder}, view="matched-prompt")
    images = [picture(40 + seed, 30, seed) for seed in range(4)]
    greedy, sampled, unbiased = (
        [each.raw for each in FakeReasoning(weights={"weights": folder}, view=view).predict(images)]
        for view in ("greedy", "sampled", "no-bias")
    )
    assert greedy == [each.raw for each in detector(folder).predict(images)]
    assert sampled != greedy and unbiased != greedy
    again = FakeReasoning(weights={"weights": folder}, view="sampled")
    assert again.predict(images[2:3])[0].raw == sampled[2]


# ---------------------------------------------------------------- weights


def test_a_folder_trained_here_is_a_model_of_its_own_name(folder):
    candidate = Candidate("fakereasoning", "fakereasoning", FakeReasoning, None, None)
    resolved = resolve_model(candidate, "official", str(folder), "cpu", "")
    assert resolved.label == "fakereasoning@weights" and resolved.model is not None
    assert resolved.entry["trained_on"] == {"dataset": "fdr-scenes-train", "generators": ["g"]}
    assert resolved.entry["kind"] == "vlm" and resolved.entry["parameters"] == 7
    made = FakeReasoning(
        preset=resolved.model.preset,
        weights={role: Path(path) for role, path in resolved.model.weights.items()},
        view=resolved.model.view,
    )
    assert made.predict([]) == []


def test_a_folder_trained_here_takes_the_detectors_ways_of_answering_and_keeps_their_predictions_apart(folder):
    keys = set()
    for view in (None, "sampled", "no-bias"):
        candidate = Candidate("fakereasoning", "fakereasoning", FakeReasoning, None, view)
        resolved = resolve_model(candidate, "official", str(folder), "cpu", "")
        assert resolved.model is not None and resolved.model.view == view
        assert resolved.label == "fakereasoning@weights" + (f":{view}" if view else "")
        assert resolved.entry["view"] == (view or "trained")
        keys.add(resolved.key)
    assert len(keys) == 3
    trained = Candidate("fakereasoning", "fakereasoning", FakeReasoning, None, "trained")
    resolved = resolve_model(trained, "official", str(folder), "cpu", "")
    assert resolved.model is not None and resolved.model.view is None and resolved.key in keys


def test_missing_weights_say_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setenv("FDR_BENCH_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="hf download AnnaGao/FakeReasoning"):
        resolve_preset(FakeReasoning.card, "official")
    (weights,) = FakeReasoning.card.presets["scenes"].weights
    with pytest.raises(WeightsError, match="make train-fakereasoning"):
        locate(replace(weights, packaged="fakereasoning/weights/none"), detector="fakereasoning")


def test_the_released_weights_are_any_folder_that_is_named_or_the_one_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("FDR_BENCH_CACHE", str(tmp_path / "cache"))
    brought = tmp_path / "anything"
    brought.mkdir()
    (brought / "config.json").write_text("{}")
    assert resolve_preset(FakeReasoning.card, "official", brought) == {"weights": brought.resolve()}
    cached = tmp_path / "cache" / "weights" / "fakereasoning" / str(RELEASED.filename)
    cached.mkdir(parents=True)
    assert resolve_preset(FakeReasoning.card, "official") == {"weights": cached}


def test_what_is_no_weights_folder_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"no .*config\.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="no tokenizer"):
        load(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "adapter_config.json").write_text("{}")
    command = f"python -m fakereasoning convert {tmp_path} --base BASE --out OUT"
    with pytest.raises(WeightsError, match=f"LoRA run without its base model.*{re.escape(command)}"):
        load(tmp_path)


def test_shipped_weights_are_of_this_detector_and_small_enough():
    try:
        folder = packaged_path(SHIPPED)
    except WeightsError:
        pytest.skip("the weights of fakereasoning@scenes are not in this installation")
    told: Mapping[str, Any] = json.loads((folder / "card.json").read_text())
    assert told["detector"] == "fakereasoning" and len(told["trained_on"]["generators"]) == 1
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 16_000_000
    assert FakeReasoning.card.presets["scenes"].parameters == told["parameters"]


# ---------------------------------------------------------------- memory


def test_batches_are_as_large_as_the_memory_for_keys_and_values_allows():
    with torch.device("meta"):
        nano, middle, large = Model(size("nano")), Model(size("llava-1.5-7b")), Model(size("llava-1.5-13b"))
    llama_codec = LlamaCodec(llama())
    # 2 · 4 blocks · 192 values · 640 positions · 4 bytes are 3.9 MB a row: of a gigabyte more than are of use.
    assert rows_at_once(Answerer(nano, spoken.codec())) == answering.ROWS
    # 76 ids and 576 tokens of the image with 512 more take room for 1408 positions: by 2 · 40 blocks · 5120 values and
    # 4 bytes 2.3 GB a row.
    assert rows_at_once(Answerer(large, llama_codec)) == 1
    # With 200 more it is room for 1024, which by 2 · 32 blocks · 4096 values and 2 bytes are 0.54 GB a row.
    assert rows_at_once(Answerer(middle.bfloat16(), llama_codec, max_new_tokens=200)) == 2
    # No more is written than the model's 2048 positions hold: more than there is, and one row all the same.
    assert rows_at_once(Answerer(middle, llama_codec, max_new_tokens=1_000_000)) == 1


def test_an_answer_to_no_images_is_empty(folder):
    assert Answerer(load(folder).model, load(folder).codec).answer([]) == []
