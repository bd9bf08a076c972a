"""Captions by BLIP, made as De-Fake's authors make them.

Li, Li, Xiong, Hoi, "BLIP: Bootstrapping Language-Image Pre-training for Unified Vision-Language Understanding and
Generation", ICML 2022. The network is transformers', with the values of BLIP's own code where its defaults differ: 12
heads in the decoder, a deviation of 1e-6 under the image tower's normalisations. The hub's weights are the authors'
model_base_capfilt_large, whose positions were enlarged for images of 384 px; here they are used at 224 px.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn
from transformers import BertTokenizer, BlipForConditionalGeneration
from transformers.models.blip.configuration_blip import BlipConfig

from baselines._checkpoints import build_from, find_state, read_checkpoint
from baselines._clip import finish_positions
from fdr_bench.errors import WeightsError
from fdr_bench.images import apply_view
from fdr_bench.types import CenterCrop, Resize, View

SIDE = 224
PROMPT = "a picture of "
VISION: Mapping[str, Any] = {"image_size": SIDE, "patch_size": 16, "layer_norm_eps": 1e-6}
TEXT: Mapping[str, Any] = {"num_attention_heads": 12, "bos_token_id": 30522, "sep_token_id": 102, "pad_token_id": 0}

_POSITIONS = "vision_model.embeddings.position_embedding"
_PREDICTIONS = "text_decoder.cls.predictions."
_TIED = {
    f"{_PREDICTIONS}decoder.weight": "text_decoder.bert.embeddings.word_embeddings.weight",
    f"{_PREDICTIONS}decoder.bias": f"{_PREDICTIONS}bias",
}


class Captioner:
    """An image to a short sentence: beam search over 3, between 5 and 60 tokens with the prompt, which is left out.

    One image at a time, as the authors do it: in a batch the last bits of a sum differ, and with them, now and then, a
    word.
    """

    def __init__(self, model: nn.Module, words: BertTokenizer, device: torch.device) -> None:
        self.model = model.to(device).eval()
        self.words, self.device = words, device
        side = model.config.vision_config.image_size
        self.view = View(steps=(Resize(side), CenterCrop(side)), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        self.prompt = torch.tensor([words(PROMPT)["input_ids"]], device=device)

    def __call__(self, image: Image) -> str:
        """Return the caption of an RGB image, in lower case; it may be empty."""
        pixels = torch.from_numpy(apply_view(self.view, image))[None].to(self.device)
        (tokens,) = self.model.generate(
            pixel_values=pixels,
            input_ids=self.prompt.clone(),
            num_beams=3,
            do_sample=False,
            max_length=60,
            min_length=5,
        )
        known = [token for token in tokens.tolist() if token < len(self.words)]  # the start is no word of BERT's
        text = self.words.decode(known, skip_special_tokens=True, clean_up_tokenization_spaces=True)
        return text[len(PROMPT) :]


def read_captioner(
    weights: Path,
    vocabulary: Path,
    device: torch.device,
    *,
    vision: Mapping[str, Any] = VISION,
    text: Mapping[str, Any] = TEXT,
) -> Captioner:
    """Return the captioner with the hub's weights (pytorch_model.bin) and BERT's vocabulary (vocab.txt).

    Raises `WeightsError` where a tensor is missing, unknown or of another shape, or a word of the prompt is unknown.
    """
    config = BlipConfig(vision_config=dict(vision), text_config=dict(text))
    state = blip_state(find_state(read_checkpoint(weights), weights), vision["image_size"] // vision["patch_size"])
    model = build_from(lambda: BlipForConditionalGeneration(config), state, str(weights), finish=_finish)
    lines = vocabulary.read_text(encoding="utf-8").splitlines()
    words = BertTokenizer(vocab={word: number for number, word in enumerate(lines)})
    lacking = [word for word in (*PROMPT.split(), "[CLS]", "[SEP]", "[PAD]") if word not in lines]
    if lacking:
        raise WeightsError(f"{vocabulary} lacks {', '.join(lacking)}; expected BERT's vocab.txt, a word a line")
    return Captioner(model, words, device)


def blip_state(state: Mapping[str, Tensor], side: int) -> dict[str, Tensor]:
    """Return a captioner's tensors for images of `side` × `side` patches, with those that a file may leave out.

    Left out may be the last layer's, which are the words' vectors, and position counters come in older files only.
    """
    whole = {name: tensor for name, tensor in state.items() if not name.endswith(".position_ids")}
    whole |= {name: whole[same] for name, same in _TIED.items() if name not in whole and same in whole}
    positions = whole.get(_POSITIONS)
    if positions is not None and positions.ndim == 3:
        whole[_POSITIONS] = as_before_enlarging(positions, side)
    return whole


def as_before_enlarging(positions: Tensor, side: int) -> Tensor:
    """Return positions (1, 1 + n², width) on a grid of side² that bicubic interpolation enlarged to n², as it was.

    Interpolation is linear, along one axis after the other, and loses nothing: least squares undo it. The first
    position, of the class token, is none of the grid.
    """
    old = round((positions.shape[1] - 1) ** 0.5)
    if old <= side or old**2 != positions.shape[1] - 1:
        return positions
    one = torch.eye(side, dtype=torch.float64)[None, None]
    enlarging = nn.functional.interpolate(one, size=(old, side), mode="bicubic", align_corners=False)[0, 0]
    undo = torch.linalg.pinv(enlarging)  # (side, old)
    grid = positions[0, 1:].double().unflatten(0, (old, old))
    small = torch.einsum("ay,bx,yxc->abc", undo, undo, grid).flatten(0, 1)
    return torch.cat((positions[:, :1], small[None].to(positions.dtype)), dim=1)


def _finish(model: nn.Module) -> None:
    """Give the position counters their values, and the last layer the words' vectors, as one tensor."""
    finish_positions(model)
    model.tie_weights()
