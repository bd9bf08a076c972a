"""Training the small CLIP: its words, its loss, and that a killed training ends as an uninterrupted one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines import _clip_training as training
from baselines._clip import load_small_clip, small_tower
from baselines._words import END, PAD, START, UNKNOWN, Words
from fdr_bench.errors import RunError

CAPTIONS = ["a red ball", "a blue cube", "a green cone", "the red cube"] * 6


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    monkeypatch.setattr(training, "VISION", {**training.VISION, **small, "image_size": 16, "patch_size": 8})
    monkeypatch.setattr(training, "TEXT", {**training.TEXT, **small, "max_position_embeddings": 12})


def made(**recipe: Any) -> training.ClipTraining:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)
    return training.ClipTraining(pixels, CAPTIONS, training.ClipRecipe(batch=8, **recipe), seed=0)


def test_words_are_numbered_by_frequency_and_texts_end_where_they_end(tmp_path: Path) -> None:
    words = Words.of(["A cat, a dog.", "a bird"])
    # a occurs three times; bird, cat and dog once each, so in alphabetical order after the four special ones.
    assert words.vocabulary[4:] == ("a", "bird", "cat", "dog")
    assert words.encode(["a dog", "a fish"], 6).tolist() == [
        [START, 4, 7, END, PAD, PAD],
        [START, 4, UNKNOWN, END, PAD, PAD],
    ]
    assert words.encode(["a cat a dog a bird"], 4).tolist() == [[START, 4, 6, END]]
    (tmp_path / "vocabulary.json").write_bytes(words.as_json())
    assert Words.read(tmp_path).vocabulary == words.vocabulary


def test_the_loss_is_the_mean_of_both_directions() -> None:
    # Rows [0, ln 3] and [0, 0]: image to caption -ln(1/4), -ln(1/2); columns [0, 0] and [ln 3, 0]: -ln(1/2), -ln(1/4).
    similarities = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])
    assert training.contrastive_loss(similarities).item() == pytest.approx((math.log(4) + math.log(2)) / 2)


def test_the_embedding_of_a_text_is_read_at_its_end(tmp_path: Path) -> None:
    clip = made(epochs=1).clip.eval()
    words = Words.of(CAPTIONS)
    with torch.inference_mode():
        long, short = (
            clip.get_text_features(torch.from_numpy(words.encode(["a red ball"], n))).pooler_output for n in (12, 5)
        )
    torch.testing.assert_close(long, short, rtol=0, atol=1e-6)


def test_training_learns_the_pairs() -> None:
    job = made(epochs=16, lr=1e-2)
    while job.done() < 1.0:
        job.advance()
    assert job.history[-1]["loss"] < 0.8 * job.history[0]["loss"]
    assert len(job.history) == 16


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole = made(epochs=2)
    training.run(whole, tmp_path / "a", "plan", quiet=True)
    first = made(epochs=2)
    for _ in range(3):  # one and a half epochs of two batches
        first.advance()
    training.checkpoint.save(tmp_path / training.UNFINISHED, "plan", first.state())
    torch.manual_seed(9)
    second = made(epochs=2)
    training.run(second, tmp_path, "plan", quiet=True)
    assert training.weights_bytes(second.clip) == training.weights_bytes(whole.clip)
    assert second.history == whole.history
    with pytest.raises(RunError, match="another recipe"):
        training.run(made(epochs=2), tmp_path, "another plan", quiet=True)


def test_what_is_written_can_be_loaded_as_a_clip_and_as_a_tower(tmp_path: Path) -> None:
    clip = made(epochs=1).clip
    (tmp_path / "model.safetensors").write_bytes(training.weights_bytes(clip))
    (tmp_path / "config.json").write_bytes(training.config_bytes(clip))
    x = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        whole = load_small_clip(tmp_path)
        embedding = whole.visual_projection(whole.vision_model(pixel_values=x).pooler_output)
        torch.testing.assert_close(small_tower(tmp_path)(x), embedding, rtol=0, atol=1e-6)


def test_the_real_sizes_stay_within_their_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    clip = training.small_clip(Words([str(number) for number in range(400)]))
    parameters = sum(parameter.numel() for parameter in clip.parameters())
    assert 2_000_000 < parameters < 4_000_000  # at most 8 MB in float16
