"""A model with its tokenizer, from images to answers: what the detector and the calibration both do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL.Image import Image

from fakereasoning.calibration import Calibration, Margins, calibrate, read_temperature, write_calibration
from fakereasoning.checkpoints import read_json, read_state
from fakereasoning.generation import Generated, ScoreSource, generate, positions, score_of
from fakereasoning.lora_folder import is_lora_folder
from fakereasoning.model import FakeReasoning
from fakereasoning.official import load_official
from fakereasoning.official_names import CLIP, DINO
from fakereasoning.pixels import normalised, squared
from fakereasoning.prompts import STAGES, StageName, Stages, parse_stages
from fakereasoning.released import CLIP_TOWER, DINO_TOWER
from fakereasoning.storage import CONFIG, WEIGHTS
from fakereasoning.tokenizer import ByteLevelCodec, Codec, load_llama_tokenizer, load_tokenizer
from fdr_bench.errors import ImageError, WeightsError
from fdr_bench.images import decode
from fdr_bench.types import Dataset
from fdr_bench.weights import locate

LARGEST = 1 << 28
"""Pixels of the square that an image is padded to, above which it is refused: 16,384 px a side."""
SMALL = 2 << 30
"""Bytes of a weights file below which the model runs in float32 on every device."""
ROWS = {"cpu": 64, "cuda": 256}
"""Rows that a batch has at most; more make it no faster."""


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

    def answer(self, images: Sequence[Image]) -> list[Answer]:
        """Return an answer an image, in order. Raises `ImageError` for one that no memory would hold when padded."""
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
            max_new_tokens=self.max_new_tokens,
            temperature=self.sampling_temperature,
            seed=self.seed,
            batch=rows_at_once(self.model),
        )
        return [self._answer(each) for each in said]

    def _answer(self, said: Generated) -> Answer:
        assert said.k_logits is not None and said.score_source is not None
        score = score_of(said.k_logits, self.calibration_temperature)
        stages = parse_stages(said.text, expected=self.stages)
        return Answer(said.text, stages, score, said.score_source, said.k_logits, said)


def load(path: Path, *, device: str = "cpu") -> Answerer:
    """Return the model of a folder (or of a file in it) that was trained here, or of the released layout.

    Small models run in float32, large ones in float16 on a GPU. Towers that a released folder lacks are looked for
    among the downloads, and downloaded. Raises `WeightsError` where files are missing or do not fit.
    """
    folder = path.parent if path.is_file() else path
    if "format" in read_json(folder / CONFIG):
        weights = folder / WEIGHTS
        small = not weights.is_file() or weights.stat().st_size < SMALL or device == "cpu"
        model = FakeReasoning.from_pretrained(folder, dtype=torch.float32 if small else None, device=device)
        return Answerer(model, load_codec(folder), calibration_temperature=read_temperature(folder))
    if is_lora_folder(folder):
        raise WeightsError(
            f"{folder} is a LoRA run without its base model. Merge the two first, in Python: fakereasoning.official."
            "load_official(FOLDER, base=BASE).save_pretrained(OUT), and copy the tokenizer to OUT"
        )
    codec = load_llama_tokenizer(folder)
    names = list(read_state(folder))
    model = load_official(
        folder,
        clip=None if any(name.startswith(CLIP) for name in names) else locate(CLIP_TOWER, detector="fakereasoning"),
        dino=None if any(name.startswith(DINO) for name in names) else locate(DINO_TOWER, detector="fakereasoning"),
        dtype=torch.float32 if device == "cpu" else torch.float16,
        device=device,
    )
    return Answerer(model, codec, calibration_temperature=read_temperature(folder))


def load_codec(folder: Path) -> Codec:
    """Return the tokenizer of a folder that was trained here: the small model's own, or Llama-2's."""
    try:
        codec: ByteLevelCodec = load_tokenizer(folder)
    except WeightsError as small:
        try:
            return load_llama_tokenizer(folder)
        except WeightsError:
            raise small from None
    return codec


def rows_at_once(model: FakeReasoning) -> int:
    """Return how many rows' keys and values fit into memory beside the model: at least 1, at most `ROWS`."""
    config = model.language.config
    of_a_head = config.head_dim or config.hidden_size // config.num_attention_heads
    heads = config.num_key_value_heads or config.num_attention_heads
    values = 2 * config.num_hidden_layers * heads * of_a_head * positions(model)
    bytes_of_a_row = values * torch.empty(0, dtype=model.dtype).element_size()
    gpu = model.device.type == "cuda"
    free = torch.cuda.mem_get_info(model.device)[0] // 2 if gpu else 1 << 30
    return max(1, min(ROWS["cuda" if gpu else "cpu"], free // bytes_of_a_row))


def margins(answerer: Answerer, dataset: Dataset, *, advance: Callable[[int], None] = lambda _: None) -> Margins:
    """Return the model's margins on a labelled set. `advance` gets the number of images since its last call.

    Raises `ImageError` where an image cannot be read.
    """
    batch = rows_at_once(answerer.model)
    found: list[float] = []
    for start in range(0, len(dataset.samples), batch):
        part = dataset.samples[start : start + batch]
        images = [decode(sample.image.read(), sample.id).pixels for sample in part]
        found += [fake - real for real, fake in (answer.k_logits for answer in answerer.answer(images))]
        advance(len(part))
    return Margins(np.array(found, dtype=np.float64), _fake(sample.label for sample in dataset.samples))


def calibrate_folder(
    folder: Path,
    dataset: Dataset,
    *,
    device: str = "cpu",
    figure: Path | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Calibration:
    """Fit a weights folder's temperature on a labelled set, and write calibration.json into the folder.

    Use images that the model was not trained on. `figure` is an .html file for the reliability diagram. Raises
    `DataError` where a class is absent, and what loading and reading raise.
    """
    answerer = load(folder, device=device)
    told = {"dataset": dataset.name, "fingerprint": dataset.fingerprint}
    found = calibrate(margins(answerer, dataset, advance=advance), fitted_on=told)
    write_calibration(folder, found)
    if figure is not None:
        from fakereasoning.calibration import reliability_diagram

        reliability_diagram(found).write_html(str(figure), include_plotlyjs=True)
    return found


def _fake(labels: Iterable[str]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.array([label == "fake" for label in labels], dtype=np.bool_)
