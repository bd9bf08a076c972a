"""Before anything else: teach a tower without pretraining which words are said of an image; nothing about forgery.

Leaves what `fakereasoning.vision_stage` says.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import numpy as np

from fakereasoning import vision_stage
from fakereasoning.acceleration import plain_attention
from fakereasoning.model import FakeReasoning
from fakereasoning.places import Shown, words_here
from fakereasoning.records import Record
from fakereasoning.tokenizer import Codec
from fakereasoning.vision_stage import VisionResult
from fakereasoning.words import WordsHead, WordsRecipe, words_said
from fakereasoning.words_loop import WordsLoop
from fdr_bench.errors import UsageError
from fdr_bench.store import Lock
from fdr_bench.training import checkpoint
from fdr_bench.training.progress import TrainingProgress
from fdr_bench.training.repeatable import check_device, repeatable
from fdr_bench.training.split import hold_out
from fdr_bench.types import Sample


def train_words(
    model: FakeReasoning,
    codec: Codec,
    samples: Sequence[Sample],
    records: Sequence[Record],
    shown: Mapping[str, Shown] | None = None,
    *,
    out: Path,
    recipe: WordsRecipe,
    seed: int = 0,
    resume: bool = True,
    threads: int | None = None,
    device: str = "cpu",
    max_minutes: float | None = None,
    quiet: bool = False,
    facts: Mapping[str, Any] | None = None,
    checkpoint_seconds: float = 60.0,
) -> VisionResult:
    """Train a tower, its projector and the embeddings on the words of the answers; write the model to `out`.

    `model` itself is used up.

    `records` are about the images of `samples`, `shown` says by location what stands where in some of them.
    `max_minutes`, `resume`, `facts` and what is equal from run to run are as for `fakereasoning.stage1.train_facl`.
    Raises `DataError` where an image cannot be read or there is nothing to learn, `UsageError` where the model lacks
    the tower, `RunError` where `out` is in use, of another training, or the loss diverges.
    """
    started = time.monotonic()
    if recipe.tower == "dino" and model.config.dino is None:
        raise UsageError("the recipe's tower is 'dino', which the model has not; set it to 'clip'")
    with ExitStack() as stack:
        check_device(device)
        stack.enter_context(repeatable(threads, device))
        stack.enter_context(plain_attention(device))
        stack.enter_context(Lock(out))
        progress = stack.enter_context(TrainingProgress(quiet))
        locations = [sample.image.location for sample in samples]
        said = words_said(records, locations, codec, recipe)
        here = words_here((shown or {}) if recipe.places_weight else {}, locations, codec, model.config.grid)
        images = vision_stage.images_of(samples, model)
        identity = checkpoint.identity(
            {
                "stage": "words",
                "config": model.config.to_json(),
                "initial": vision_stage.model_digest(model),
                "words": said.ids,
                "told": hashlib.sha256(np.packbits(said.told).tobytes()).hexdigest(),
                "places": here.digest(),
                "images": images.fingerprint(),
                "recipe": recipe.to_json(),
                "seed": seed,
            }
        )
        if (done := vision_stage.finished(out, identity, resume)) is not None:
            return done
        held = hold_out(samples, recipe.held_out, seed)
        progress.decoding(len(images))
        images.keep(progress.advance)
        loop = WordsLoop(
            model,
            images,
            said,
            here,
            np.flatnonzero(~held),
            np.flatnonzero(held),
            recipe=recipe,
            seed=seed,
            device=device,
            seconds=None if max_minutes is None else max_minutes * 60,
        )
        # Reading images counts as part of the training.
        loop.before = time.monotonic() - started
        vision_stage.run(loop, out, identity, checkpoint_seconds, progress)
        cast(WordsHead, loop.heads).fold()
        told = vision_stage.facts_of(loop, samples, identity, threads, max_minutes) | {
            "kind": "words",
            "n_held_out": int(held.sum()),
            "words": [codec.decode([token]) for token in said.ids],
            "n_things": len(here.told),
            "recipe": recipe.to_json(),
        }
        return vision_stage.leave(loop, out, told | dict(facts or {}))
