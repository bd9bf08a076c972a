"""De-Fake's captioner, on a tiny BLIP that says nothing sensible."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import BlipForConditionalGeneration
from transformers.models.blip.configuration_blip import BlipConfig

from baselines import _blip
from baselines._blip import Captioner, as_before_enlarging, blip_state, read_captioner
from fdr_bench.errors import WeightsError
from tests.baselines.made import picture

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "picture", "of", "cat", "dog", "'", "s", "##fish", "blue"]
VISION = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
    "layer_norm_eps": 1e-6,
}
TEXT = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "vocab_size": len(WORDS) + 2,
    "bos_token_id": len(WORDS),
    "sep_token_id": 3,
    "pad_token_id": 0,
}


@pytest.fixture
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = BlipForConditionalGeneration(BlipConfig(vision_config=VISION, text_config=TEXT))
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.0, 0.5)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def read(state: dict[str, Tensor], folder: Path, words: list[str] = WORDS) -> Captioner:
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return read_captioner(
        folder / "pytorch_model.bin", folder / "vocab.txt", torch.device("cpu"), vision=VISION, text=TEXT
    )


def test_a_caption_is_the_same_every_time(state: dict[str, Tensor], tmp_path: Path) -> None:
    captioner = read(state, tmp_path)
    assert captioner(picture(30, 20)) == captioner(picture(30, 20))


def test_the_search_is_the_authors_and_the_prompt_is_not_in_the_caption(
    state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner = read(state, tmp_path)
    asked = {}

    def generate(**keywords: object) -> Tensor:
        asked.update(keywords)
        # start, "a picture of a blue cat's dogfish", end, padding
        return torch.tensor([[len(WORDS), 5, 6, 7, 5, 13, 8, 10, 11, 9, 12, 3, 0, 0]])

    monkeypatch.setattr(captioner.model, "generate", generate)
    assert captioner(picture(20, 20)) == "a blue cat's dogfish"
    assert asked["input_ids"].tolist() == [[2, 5, 6, 7, 3]]  # type: ignore[attr-defined]
    assert (asked["num_beams"], asked["max_length"], asked["min_length"]) == (3, 60, 5)
    pixels = asked["pixel_values"]
    assert isinstance(pixels, Tensor) and pixels.shape == (1, 3, 16, 16)
    assert 0 <= pixels.min() < 0.2 and 0.8 < pixels.max() <= 1  # not normalised


@pytest.mark.parametrize("size", [(1, 1), (3, 90), (17, 16)])
def test_images_of_any_size_get_a_caption(state: dict[str, Tensor], tmp_path: Path, size: tuple[int, int]) -> None:
    assert isinstance(read(state, tmp_path)(picture(*size)), str)


def test_positions_that_were_enlarged_come_back_as_they_were(state: dict[str, Tensor], tmp_path: Path) -> None:
    grid = torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    large = nn.functional.interpolate(grid, size=(7, 7), mode="bicubic", align_corners=False)
    positions = torch.cat((torch.ones(1, 1, 8), large.flatten(2).mT), dim=1)  # (1, 1 + 49, 8)
    expected = torch.cat((torch.ones(1, 1, 8), grid.flatten(2).mT), dim=1)
    torch.testing.assert_close(as_before_enlarging(positions, 4), expected, rtol=0, atol=1e-5)
    assert as_before_enlarging(expected, 4) is expected
    model = read({**state, _blip._POSITIONS: positions}, tmp_path).model
    torch.testing.assert_close(model.vision_model.embeddings.position_embedding, expected, rtol=0, atol=1e-5)


def test_the_last_layer_may_be_left_out_and_position_counters_may_be_there(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    older = {**state, "text_decoder.bert.embeddings.position_ids": torch.arange(64)[None]}
    shared = {name: tensor for name, tensor in state.items() if name not in _blip._TIED}
    assert set(blip_state(older, 4)) == set(blip_state(shared, 4)) == set(state)
    x = picture(30, 20)
    assert read(older, tmp_path)(x) == read(shared, tmp_path)(x)


def test_another_file_is_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    odd = {**state, "surplus": torch.zeros(1)}
    del odd["vision_model.post_layernorm.bias"]
    with pytest.raises(WeightsError, match=r"missing \(vision_model\.post_layernorm\.bias\).*unknown \(surplus\)"):
        read(odd, tmp_path)
    with pytest.raises(WeightsError, match=r"lacks picture; expected BERT's vocab\.txt"):
        read(state, tmp_path, [word for word in WORDS if word != "picture"])
