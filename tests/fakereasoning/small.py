"""A model of a few thousand parameters, records about plain pictures, and their tokenizer: for tests of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fakereasoning.config import FakeReasoningConfig
from fakereasoning.model import FakeReasoning
from fakereasoning.records import Record
from fakereasoning.sizes import size
from fakereasoning.tokenizer import ByteLevelCodec, train_tokenizer
from fdr_bench.data.files import FileImage

COLOURS = {"red": (200, 30, 20), "green": (20, 180, 40), "blue": (30, 40, 210), "grey": (120, 120, 120)}
PATCHES = 4


def answer(colour: str, label: str) -> str:
    return (
        f"<SUMMARY> I look. </SUMMARY>\n<CAPTION> A {colour} picture. </CAPTION>\n"
        f"<REASONING> It is {colour}. </REASONING>\n<CONCLUSION> This image is {label}. </CONCLUSION>"
    )


def records(folder: Path, count: int = 12) -> list[Record]:
    """Return records of noisy pictures in one colour; the red and green ones are fake."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(count):
        colour = list(COLOURS)[number % len(COLOURS)]
        noise = np.random.default_rng(number).integers(-15, 16, (32, 32, 3))
        path = folder / f"{number:03d}.png"
        Image.fromarray((np.array(COLOURS[colour]) + noise).clip(0, 255).astype(np.uint8)).save(path)
        label = "fake" if colour in ("red", "green") else "real"
        text = answer(colour + " and noisy" * (number % 3), label)
        image = FileImage(str(path), path.stat().st_size)
        made.append(Record(id=path.name, image=image, question=None, answer=text, label=label))
    return made


def codec(given: Sequence[Record]) -> ByteLevelCodec:
    return train_tokenizer([record.answer for record in given], vocabulary=320)


def config(vocabulary: int, *, dropout: float = 0.1) -> FakeReasoningConfig:
    """Return the nano architecture at a hundredth of its size: images of 32 px in four patches."""
    nano = size("nano", vocabulary=vocabulary)
    assert nano.dino is not None
    small = {"hidden_size": 16, "image_size": 32}
    return replace(
        nano,
        clip={**nano.clip, **small, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        dino={**nano.dino, **small, "num_hidden_layers": 1, "num_attention_heads": 2},
        language={
            **nano.language,
            "hidden_size": 24,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 256,
        },
        fusion_heads=2,
        fusion_hidden=32,
        bias_hidden=4,
        max_length=256,
        dropout=dropout,
    )


def model(vocabulary: int, seed: int = 0, *, dropout: float = 0.1) -> FakeReasoning:
    torch.manual_seed(seed)
    return FakeReasoning(config(vocabulary, dropout=dropout))
