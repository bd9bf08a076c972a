"""Zero-shot CLIP: the ensemble of texts, against transformers' own CLIP, and the two layouts of its weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import pre_tokenizers
from transformers import CLIPModel

from baselines._clip import load_small_clip
from baselines._clip_pair import TEXT_L_14, VISION_B_32, clip_pair
from baselines._clip_words import ClipWords
from baselines._clip_zeroshot import ZeroShot, class_embeddings, from_files, from_folder
from baselines._words import Words
from baselines.clip_zeroshot import TEMPLATES, TEXTS, ClipZeroShot, texts
from fdr_bench.errors import UsageError, WeightsError
from fdr_bench.weights import packaged_path, resolve_preset
from tests.baselines.made import picture

REAL, FAKE = ["a clear surface"], ["a grainy surface"]
TOWERS = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def shares(clip: CLIPModel, tokens: torch.Tensor, image: torch.Tensor) -> list[float]:
    """The probabilities of single texts, as transformers' CLIP gives them."""
    with torch.no_grad():
        out = clip(input_ids=tokens, pixel_values=image)
    return out.logits_per_image.softmax(dim=1)[0].tolist()


def test_with_one_text_a_class_it_is_clips_own_softmax() -> None:
    folder = packaged_path("baselines/weights/clip-scenes")
    clip, words = load_small_clip(folder), Words.read(folder)
    image = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made = from_folder(folder, REAL, FAKE)(image).softmax(1)[0].tolist()
    tokens = torch.from_numpy(words.encode(REAL + FAKE, 72))
    assert made == pytest.approx(shares(clip, tokens, image), abs=1e-6)


def test_many_texts_are_averaged_after_and_before_their_norm() -> None:
    folder = packaged_path("baselines/weights/clip-scenes")
    clip, words = load_small_clip(folder), Words.read(folder)
    tokens = torch.from_numpy(words.encode(["a clear surface", "a matte surface", "a view of sunlight"], 72))
    with torch.no_grad():
        each = [clip.text_projection(clip.text_model(row[None]).pooler_output)[0] for row in tokens]
    mean = sum(one / one.norm() for one in each) / 3
    (made,) = class_embeddings(clip, [tokens])
    assert torch.allclose(made, mean / mean.norm(), atol=1e-6)


def test_the_shipped_one_scores_images_and_knows_all_its_words() -> None:
    card = ClipZeroShot.card
    made = ClipZeroShot(preset="scenes", weights=resolve_preset(card, "scenes"))
    scores = [each.score for each in made.predict([picture(140, 130, seed) for seed in range(3)])]
    assert all(score is not None and 0 < score < 1 for score in scores) and len(set(scores)) == 3
    with pytest.raises(WeightsError, match="does not know all the words"):
        from_folder(packaged_path("baselines/weights/clip-scenes"), ["a real picture"], ["a fake picture"])


def test_the_classes_have_equally_many_texts_and_no_text_twice() -> None:
    for preset in TEXTS:
        real, fake = texts(preset)
        assert len(real) == len(fake) == len(TEMPLATES) * len(TEXTS[preset]["real"])
        assert len({*real, *fake}) == len(real) + len(fake)


def letters(folder: Path) -> tuple[Path, Path]:
    """Write a vocabulary of CLIP's kind that has single bytes only, with the end after all others, as CLIP's."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(f"{one}</w>" for one in alphabet), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder / "vocab.json", folder / "merges.txt"


def test_a_whole_clip_of_the_hub_gives_what_transformers_gives(tmp_path: Path) -> None:
    vocabulary, merges = letters(tmp_path)
    count = len(json.loads(vocabulary.read_text()))
    text = {**TEXT_L_14, **TOWERS, "vocab_size": count, "bos_token_id": count - 2, "eos_token_id": count - 1}
    vision = {**VISION_B_32, **TOWERS, "image_size": 64, "projection_dim": 8}
    text["projection_dim"] = 8
    torch.manual_seed(0)
    clip = clip_pair(vision, text).eval()
    path = tmp_path / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in clip.state_dict().items()}, path)
    weights = {"clip": path, "words": vocabulary, "merges": merges}
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    made = from_files(weights, ["a photo"], ["a fake"], vision=vision, text=text)
    assert isinstance(made, ZeroShot)
    tokens = torch.from_numpy(ClipWords(vocabulary, merges).encode(["a photo", "a fake"]))
    with torch.no_grad():
        found = made(image).softmax(1)[0].tolist()
    assert found == pytest.approx(shares(clip, tokens, image), abs=1e-6)


def test_it_is_not_trained_and_says_what_is() -> None:
    with pytest.raises(UsageError, match="univfd is a trained linear layer on the same CLIP"):
        ClipZeroShot.recipe("scenes")
    with pytest.raises(UsageError, match="give its weights"):
        ClipZeroShot.network()
