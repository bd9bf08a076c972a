"""Time answers written in batches against the official way: one image at a time, through transformers' generate.

`python -m tests.speed.generation [--images N] [--device cuda]`. Both have the same model, images and machine, and
preprocessing is in both figures. The official loop (PRIS-CV/FakeReasoning at c1aec51) has batch 1, no attention mask,
temperature 0.2, and the library's top_k of 50; ours is greedy, as the detector is, and once more with that sampling.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from fakereasoning.answering import Answerer, load, rows_at_once
from fakereasoning.detector import SHIPPED
from fakereasoning.model import FakeReasoning
from fakereasoning.pixels import normalised, squared
from fakereasoning.released import OFFICIAL_TEMPERATURE, OFFICIAL_TOP_K
from fakereasoning.sizes import size
from fakereasoning.tokenizer import LEAST_VOCABULARY, train_tokenizer
from fdr_bench.cli_options import cores
from fdr_bench.data import open_dataset
from fdr_bench.data.sampling import sample_evenly
from fdr_bench.errors import WeightsError
from fdr_bench.images import decode
from fdr_bench.weights import packaged_path

ASKED = 8.0
UNTRAINED_TOKENS = 160
"""What an untrained model writes at most: about as much as a trained one does."""


class Speed(NamedTuple):
    """Images a second, and tokens an image."""

    images: float
    tokens: float


def measure(images: int, rounds: int, *, device: str = "cpu", threads: int | None = None) -> Iterator[str]:
    """Yield lines that tell the speeds, medians over interleaved rounds, and their ratio.

    Both ways have `threads` torch threads (None: one a core, which is what a script gets that says nothing of it).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or cores())
    try:
        yield from _measured(images, rounds, device)
    finally:
        torch.set_num_threads(before)


def _measured(images: int, rounds: int, device: str) -> Iterator[str]:
    answerer, plain, which = _answerers(device)
    batch = rows_at_once(answerer)
    count = max(images, batch)
    shown = _images(count)
    # One image at a time takes long: an eighth of the images tells its speed as well.
    few = shown[:: max(1, count // max(4, count // 8))]
    ways: dict[str, Callable[[], Speed]] = {
        "one by one, official": lambda: _timed(_official, plain, few),
        f"batches of {batch}, sampling": lambda: _timed(_sampling, answerer, shown),
        f"batches of {batch}, greedy": lambda: _timed(_greedy, answerer, shown),
    }
    for way, whose in ((_official, plain), (_greedy, answerer)):  # memory and kernels are fetched once
        _timed(way, whose, shown[:2])
    found: dict[str, list[Speed]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    yield f"FakeReasoning, {which}, {torch.get_num_threads()} threads, {device}: {count} images"
    base = float(np.median([each.images for each in found["one by one, official"]]))
    for name, speeds in found.items():
        speed, tokens = (float(np.median(column)) for column in zip(*speeds, strict=True))
        asked = f"   (asked: at least {ASKED:.0f} x)" if "greedy" in name else ""
        yield f"{name:28}{speed:9.2f} images/s{tokens:8.0f} tokens each{speed / base:8.1f} x{asked}"


def _answerers(device: str) -> tuple[Answerer, Answerer, str]:
    """Return the shipped model as the detector has it and as it was saved; or one that has learnt nothing, twice."""
    try:
        folder = packaged_path(SHIPPED)
        ours = load(folder, device=device)
        plain = FakeReasoning.from_pretrained(folder, dtype=ours.model.dtype, device=device).eval()
        return ours, Answerer(plain, ours.codec), "fakereasoning@scenes"
    except WeightsError:
        texts = ["This image is real. It shows a cube on sand.", "This image is fake. The shadow is wrong."]
        codec = train_tokenizer(texts, vocabulary=LEAST_VOCABULARY + 64)
        torch.manual_seed(0)
        model = FakeReasoning(size("nano")).eval().to(device)
        untrained = Answerer(model, codec, max_new_tokens=UNTRAINED_TOKENS)
        return untrained, untrained, "nano, untrained: it writes to the end"


def _images(count: int) -> list[Image.Image]:
    samples = sample_evenly(open_dataset("scenes").samples, count)
    return [decode(sample.image.read(), sample.id).pixels for sample in samples]


def _timed(
    way: Callable[[Answerer, list[Image.Image]], list[int]], answerer: Answerer, images: list[Image.Image]
) -> Speed:
    begun = time.perf_counter()
    tokens = way(answerer, images)
    seconds = time.perf_counter() - begun  # every way ends with tokens in Python, so no kernel is under way
    return Speed(len(images) / seconds, sum(tokens) / len(tokens))


def _greedy(answerer: Answerer, images: list[Image.Image]) -> list[int]:
    answerer.sampling_temperature = 0.0
    return [len(answer.generated.ids) for answer in answerer.answer(images)]


def _sampling(answerer: Answerer, images: list[Image.Image]) -> list[int]:
    answerer.sampling_temperature = OFFICIAL_TEMPERATURE
    return [len(answer.generated.ids) for answer in answerer.answer(images)]


def _official(answerer: Answerer, images: list[Image.Image]) -> list[int]:
    """Write one answer after another as the released inference code does."""
    model, codec = answerer.model, answerer.codec
    room = model.config.max_length - model.config.image_tokens
    written = []
    for image in images:
        pixels = normalised(squared(image, model.config.image_size)[None]).to(model.device, model.dtype)
        ids = torch.tensor([codec.prompt()])
        with torch.inference_mode():
            tokens = model.tokens_of(pixels)
            out = model.language.generate(
                inputs_embeds=model.embed(ids, tokens).embeds,
                do_sample=True,
                temperature=OFFICIAL_TEMPERATURE,
                top_p=None,
                top_k=OFFICIAL_TOP_K,
                num_beams=1,
                max_new_tokens=min(answerer.max_new_tokens, room - ids.shape[1] + 1),
                eos_token_id=codec.eos,
                pad_token_id=codec.pad,
                use_cache=True,
            )
        codec.decode(out[0].tolist())
        written.append(out.shape[1])
    return written


def main() -> None:
    """Print the speeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="torch threads of both [default: one a core]")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    for line in measure(given.images, given.rounds, device=given.device, threads=given.threads):
        print(line, flush=True)


if __name__ == "__main__":
    main()
