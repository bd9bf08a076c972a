"""The published size on LLaVA-1.5 13B answers on one GPU, in memory that cards of 48 GB have."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from fakereasoning.model import FakeReasoning
from fakereasoning.sizes import size
from tests.fakereasoning.numbers import Numbers, answers
from tests.fakereasoning.tiny import noise

SIZE = "llava-1.5-13b"
DEVICE = "cuda"
TOKENS = 32
IMAGES = 4
MOST = 48e9
"""Bytes that may be allocated at the worst moment: 28e9 of them are weights."""

pytestmark = [
    pytest.mark.gpu,
    # Where PyTorch 2.9 and later are asked for whole float32 in the words that earlier ones understand.
    pytest.mark.filterwarnings("ignore:Please use the new API settings to control TF32:UserWarning"),
]


def test_thirteen_billion_parameters_answer_four_images_within_48_gigabytes(
    record_property: Callable[[str, object], None],
) -> None:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    model = drawn()
    torch.cuda.synchronize()
    built = time.perf_counter()
    side = model.config.image_size
    codec = Numbers(int(model.config.language["vocab_size"]))
    # Prompts of unequal lengths, so that rows are padded and masked as questions of users are.
    questions = [" ".join(str(100 + number) for number in range(20 * row + 20)) for row in range(IMAGES)]
    pixels = noise(IMAGES, 3, side, side)
    said = answers(model, codec, pixels, questions=questions, max_new_tokens=TOKENS, batch=IMAGES)
    ended = time.perf_counter()

    peak = torch.cuda.max_memory_allocated()
    told: dict[str, float] = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "peak GB": round(peak / 1e9, 2),
        "seconds to build": round(built - started, 1),
        "seconds to answer": round(ended - built, 1),
    }
    print(told)
    for name, value in told.items():
        record_property(name, value)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert [len(answer.ids) for answer in said] == [TOKENS] * IMAGES
    # A logit that is no number has no score in [0, 1].
    assert all(answer.score is not None and 0 <= answer.score <= 1 for answer in said)
    assert told["parameters"] > 13e9
    assert peak < MOST


def drawn() -> FakeReasoning:
    """Return the size in bfloat16 with weights drawn on the GPU, put in place as a checkpoint's are."""
    config = size(SIZE)
    model = FakeReasoning.empty(config)
    generator = torch.Generator(DEVICE).manual_seed(0)
    state = {
        name: torch.empty(tensor.shape, dtype=torch.bfloat16, device=DEVICE).normal_(0, 0.02, generator=generator)
        for name, tensor in model.stored_tensors().items()
    }
    model.load_tensors(state, "weights drawn here", device=DEVICE)
    return model.eval().requires_grad_(False)
