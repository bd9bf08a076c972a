"""Stage 1: make the vision side sensitive to forgery by FACL, on samples with attribute sentences.

Leaves what `fakereasoning.vision_stage` says, and for the time of the training OUT/sentences-….npy, the encoded
sentences.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from fakereasoning import vision_stage
from fakereasoning.acceleration import plain_attention
from fakereasoning.evidence import Kinds, evidence
from fakereasoning.facl_loop import FaclLoop, Material
from fakereasoning.facl_recipe import FaclRecipe
from fakereasoning.model import FakeReasoning
from fakereasoning.statements import statements, text_vectors
from fakereasoning.vision_stage import VisionResult
from fdr_bench.metrics.sentences import MiniLM, SentenceEncoder, minilm
from fdr_bench.store import Lock
from fdr_bench.training import checkpoint
from fdr_bench.training.progress import TrainingProgress
from fdr_bench.training.repeatable import check_device, repeatable
from fdr_bench.training.split import hold_out
from fdr_bench.types import Sample


def train_facl(
    model: FakeReasoning,
    samples: Sequence[Sample],
    *,
    out: Path,
    recipe: FaclRecipe,
    seed: int = 0,
    resume: bool = True,
    threads: int | None = None,
    device: str = "cpu",
    max_minutes: float | None = None,
    quiet: bool = False,
    encoder: SentenceEncoder | None = None,
    kinds: Kinds | None = None,
    facts: Mapping[str, Any] | None = None,
    checkpoint_seconds: float = 60.0,
) -> VisionResult:
    """Train the model's towers on samples with attributes and write it to the folder `out`; `model` is used up.

    `encoder` defaults to MiniLM. `kinds` may name what is wrong with the samples, where the recipe weighs evidence.
    `max_minutes` of wall time, preparation included, end the training earlier, with the learning rate gone down to 0
    by then. `resume` continues what a killed training left in `out`, and returns at once where the same training has
    finished there; without it `out` is begun anew. `facts` are added to the card.

    Equal calls with equal software, `threads` and device give equal weights, interrupted or not, unless `max_minutes`
    ended them. Raises `DataError` where an image or a mask cannot be read or there is nothing to compare, `UsageError`
    for a recipe that does not fit the model, `RunError` where `out` is in use, of another training,
    or the loss diverges.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(repeatable(threads, device))
        stack.enter_context(plain_attention(device))
        check_device(device)
        stack.enter_context(Lock(out))
        progress = stack.enter_context(TrainingProgress(quiet))
        stated = statements(samples)
        wrong = evidence(samples, model.config.grid, kinds) if recipe.evidence_weight else None
        images = vision_stage.images_of(samples, model)
        encoder = encoder or (minilm() if device == "cpu" else MiniLM(device=device))
        identity = checkpoint.identity(
            {
                "stage": "facl",
                "config": model.config.to_json(),
                "initial": vision_stage.model_digest(model),
                "statements": stated.digest(),
                "images": images.fingerprint(),
                "recipe": recipe.to_json(),
                "encoder": encoder.name,
                "evidence": None if wrong is None else wrong.digest(),
                "seed": seed,
            }
        )
        if (done := vision_stage.finished(out, identity, resume)) is not None:
            return done
        held = hold_out(samples, recipe.held_out, seed)
        compares = bool(recipe.compared(model.config))
        # Where nothing is compared, an image of which nothing is known to be wrong teaches nothing.
        learnt = np.flatnonzero(~held)
        if wrong is not None and not compares:
            learnt = learnt[wrong.known(learnt)]
        vectors = text_vectors(stated, learnt, encoder, out) if compares else np.zeros((0, 0), dtype=np.float32)
        progress.decoding(len(images))
        images.keep(progress.advance)
        material = Material(images, stated, vectors, learnt, np.flatnonzero(held), wrong)
        seconds = None if max_minutes is None else max_minutes * 60
        loop = FaclLoop(model, material, recipe=recipe, seed=seed, device=device, seconds=seconds)
        # Reading images and encoding sentences count as part of the training.
        loop.before = time.monotonic() - started
        vision_stage.run(loop, out, identity, checkpoint_seconds, progress)
        told = vision_stage.facts_of(loop, samples, identity, threads, max_minutes) | {
            "kind": "facl",
            "n_held_out": int(held.sum()),
            "attributes": list(stated.attributes),
            "n_sentences": int((stated.sentence[learnt] >= 0).sum()),
            "encoder": encoder.name,
            "evidence": None if wrong is None else list(wrong.names),
            "recipe": recipe.to_json(),
        }
        return vision_stage.leave(loop, out, told | dict(facts or {}), "sentences-*.npy")
