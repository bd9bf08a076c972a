"""A model with its tokenizer, from images to answers: what the detector and the calibration both do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL.Image import Image

from fakereasoning.calibration import read_temperature
from fakereasoning.checkpoints import read_json
from fakereasoning.generation import Generated, ScoreSource, generate, positions, score_of
from fakereasoning.kv_cache import room_for
from fakereasoning.lora_folder import is_lora_folder
from fakereasoning.model import FakeReasoning
from fakereasoning.official import load_official
from fakereasoning.pixels import normalised, squared
from fakereasoning.prompts import OFFICIAL_EVAL_IDS, OFFICIAL_TRAIN_IDS, STAGES, StageName, Stages, parse_stages
from fakereasoning.recipe import Precision
from fakereasoning.released import CLIP_TOWER, DINO_TOWER
from fakereasoning.stems import fold
from fakereasoning.storage import CONFIG, DTYPES, WEIGHTS
from fakereasoning.tokenizer import ByteLevelCodec, Codec, load_codec, load_llama_tokenizer
from fdr_bench.errors import ImageError, UsageError, WeightsError

LARGEST = 1 << 28
"""Pixels of the square that an image is padded to, above which it is refused: 16,384 px a side."""
SMALL = 2 << 30
"""Bytes of a weights file below which the model runs in float32 on every device."""
ROWS = 256
"""Rows that a batch has at most; on a processor, twice as many make it no faster."""


class Answer(NamedTuple):
    """What the model says of one image. `score` is P(fake) at the calibration's temperature, where there is one."""

    text: str
    stages: Stages
    score: float
    score_source: ScoreSource
    k_logits: tuple[float, float]
    generated: Generated


class Answerer:
    """A loaded model that answers its own question about images.

    It decodes greedily unless `sampling_temperature` is above 0; what is drawn then follows from `seed` and the image.
    `calibration_temperature` divides the verdict's logits. `stages` are those that an answer should have.
    """

    def __init__(
        self,
        model: FakeReasoning,
        codec: Codec,
        *,
        calibration_temperature: float = 1.0,
        max_new_tokens: int = 512,
        sampling_temperature: float = 0.0,
        seed: int = 0,
        stages: Sequence[StageName] = STAGES,
    ) -> None:
        self.model, self.codec = model, codec
        self.calibration_temperature, self.max_new_tokens = calibration_temperature, max_new_tokens
        self.sampling_temperature, self.seed, self.stages = sampling_temperature, seed, stages

    def answer(self, images: Sequence[Image], *, question: str | None = None) -> list[Answer]:
        """Return an answer an image, in order, to one question (None: the model's own).

        Raises `ImageError` for an image that no memory would hold when padded.
        """
        if not images:
            return []
        config = self.model.config
        for image in images:
            if config.pad_to_square and max(image.size) ** 2 > LARGEST:
                raise ImageError(
                    f"{image.width}x{image.height} px make a square of more than {LARGEST:,} px when padded; crop it"
                )
        pixels = np.stack([squared(image, config.image_size, pad=config.pad_to_square) for image in images])
        said = generate(
            self.model,
            self.codec,
            pixels=normalised(pixels),
            questions=None if question is None else [question] * len(images),
            max_new_tokens=self.max_new_tokens,
            temperature=self.sampling_temperature,
            seed=self.seed,
            batch=rows_at_once(self),
        )
        return [self._answer(each) for each in said]

    def _answer(self, said: Generated) -> Answer:
        assert said.k_logits is not None and said.score_source is not None
        score = score_of(said.k_logits, self.calibration_temperature)
        stages = parse_stages(said.text, expected=self.stages)
        return Answer(said.text, stages, score, said.score_source, said.k_logits, said)


def load(
    path: Path,
    *,
    device: str = "cpu",
    precision: Precision | None = None,
    bias: bool = True,
    both_ways: bool = True,
    matched_prompt: bool = False,
    sampling_temperature: float = 0.0,
) -> Answerer:
    """Return the model of a folder (or of a file in it) that was trained or converted here, or of the released layout.

    Without a `precision` small models run in float32, large ones in float16 on a GPU. `bias` False leaves DINO's
    attention map out of the fusion, `both_ways` False the mirror images, off which concepts are read too.
    `matched_prompt` asks in the words of the official training, where the released inference has others. Towers that a
    released folder lacks are looked for where its config.json says, then among the downloads, and downloaded. Raises
    `WeightsError` where files are missing or do not fit, `UsageError` where the model has no bias, nothing that is read
    off mirror images, or only one wording.
    """
    folder = path.parent if path.is_file() else path
    if is_lora_folder(folder):
        raise WeightsError(
            f"{folder} is a LoRA run without its base model. Put the two together first: python -m fakereasoning "
            f"convert {folder} --base BASE --out OUT"
        )
    dtype = None if precision is None else DTYPES[precision]
    codec: Codec
    if "format" in read_json(folder / CONFIG):
        weights = folder / WEIGHTS
        small = not weights.is_file() or weights.stat().st_size < SMALL or device == "cpu"
        codec = load_codec(folder, ids=OFFICIAL_TRAIN_IDS if matched_prompt else None)
        model = FakeReasoning.from_pretrained(folder, dtype=dtype or (torch.float32 if small else None), device=device)
    else:
        codec = load_llama_tokenizer(folder, ids=OFFICIAL_TRAIN_IDS if matched_prompt else OFFICIAL_EVAL_IDS)
        usual = torch.float32 if device == "cpu" else torch.float16
        model = load_official(folder, clip=CLIP_TOWER, dino=DINO_TOWER, dtype=dtype or usual, device=device)
    if matched_prompt and isinstance(codec, ByteLevelCodec):
        raise UsageError(f"{folder} has one prompt, in training and afterwards; leave out the matched one")
    if not bias:
        model.drop_bias()
    if not both_ways:
        model.drop_mirror()
    fold(model)
    temperature = read_temperature(folder)
    return Answerer(model, codec, calibration_temperature=temperature, sampling_temperature=sampling_temperature)


def rows_at_once(answerer: Answerer) -> int:
    """Return how many rows' keys and values fit into memory beside the model: at least 1, at most `ROWS`.

    A row is counted with its prompt, its image's tokens and all the tokens that may be written.
    """
    model, config = answerer.model, answerer.model.language.config
    of_a_head = config.head_dim or config.hidden_size // config.num_attention_heads
    heads = config.num_key_value_heads or config.num_attention_heads
    longest = len(answerer.codec.prompt()) - 1 + model.config.image_tokens + answerer.max_new_tokens
    values = 2 * config.num_hidden_layers * heads * of_a_head * room_for(min(positions(model), longest))
    bytes_of_a_row = values * torch.empty(0, dtype=model.dtype).element_size()
    gpu = model.device.type == "cuda"
    free = torch.cuda.mem_get_info(model.device)[0] // 2 if gpu else 1 << 30
    return max(1, min(ROWS, free // bytes_of_a_row))
