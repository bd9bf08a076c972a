"""Train the language side on records: the model that describes images, and the tuning that judges them.

OUT/features/            what frozen towers give, computed once; gone afterwards
OUT/unfinished…          the state of a training that has not ended; gone afterwards
OUT/model.safetensors    the weights, with config.json, tokenizer.json and, with Llama's tokenizer, prompt.json
OUT/adapter/             after a training with adapters: these alone, as the official training leaves them
OUT/card.json            what they are and how they came about; written last

accelerate drives it: on a processor, on a GPU, or in several processes under `accelerate launch`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator

from fakereasoning import adapters
from fakereasoning.acceleration import accelerator, plain_attention
from fakereasoning.evidence import Kinds, shown_by
from fakereasoning.frozen import FrozenFeatures, frozen_features
from fakereasoning.model import FakeReasoning
from fakereasoning.objective import Heads, heads_of
from fakereasoning.optimisation import recompute_blocks
from fakereasoning.pixels import TrainingImages
from fakereasoning.places import Shown, words_here
from fakereasoning.recipe import TuneRecipe
from fakereasoning.records import Record
from fakereasoning.resuming import Checkpoints
from fakereasoning.rows import Rows
from fakereasoning.tokenizer import Codec
from fakereasoning.tuning_card import facts_of, identity_of
from fakereasoning.tuning_loop import TuningLoop
from fdr_bench.errors import RunError
from fdr_bench.store import Lock, read_json, write_json
from fdr_bench.training import checkpoint
from fdr_bench.training.progress import TrainingProgress
from fdr_bench.training.repeatable import repeatable
from fdr_bench.types import Sample

FORMAT = 1
CARD = "card.json"
FEATURES, ADAPTER = "features", "adapter"


class TuneResult(NamedTuple):
    """A finished tuning: the trained model on the processor, in evaluation mode, and what its card says."""

    model: FakeReasoning
    card: Mapping[str, Any]


def tune(
    model: FakeReasoning,
    codec: Codec,
    records: Sequence[Record],
    *,
    samples: Sequence[Sample] = (),
    kinds: Kinds | None = None,
    shown: Mapping[str, Shown] | None = None,
    recipe: TuneRecipe,
    out: Path,
    seed: int = 0,
    resume: bool = True,
    threads: int | None = None,
    device: str = "cpu",
    max_minutes: float | None = None,
    quiet: bool = False,
    facts: Mapping[str, Any] | None = None,
    checkpoint_seconds: float = 60.0,
) -> TuneResult:
    """Train a model on records and write it to the folder `out`; `model` itself is used up.

    `samples` are the records' own, with the masks that the recipe's evidence is learnt from; `kinds` may name by
    location what these show. `shown` says, likewise, what stands where.

    `max_minutes` of wall time, preparation included, end the training earlier, with the learning rate gone down to 0 by
    then. `resume` continues what a killed training left in `out`, and returns at once where the same training has
    finished there; without it `out` is begun anew. `facts` are added to the card.

    Equal calls with equal software, `threads` and device give equal weights, interrupted or not, unless `max_minutes`
    ended them. Raises `DataError` where an image cannot be read or nothing is to be learnt, `UsageError` for a recipe
    that does not fit the model, `RunError` where `out` is in use, of another training, or the loss is not finite.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(repeatable(threads, device))
        stack.enter_context(plain_attention(device))
        driver = accelerator(device, recipe.precision, whole=recipe.muon is not None)
        if driver.is_main_process:
            stack.enter_context(Lock(out))
        progress = stack.enter_context(TrainingProgress(quiet or not driver.is_main_process))
        rows = Rows(records, codec, model.config, recipe)
        side, pad = model.config.image_size, model.config.pad_to_square
        images = TrainingImages(rows.files, side, pad=pad, threads=torch.get_num_threads())
        wrong = shown_by(rows.files, samples, model, kinds) if recipe.evidence_weight else None
        locations = [file.location for file in rows.files]
        here = words_here(shown or {}, locations, None, model.config.grid) if recipe.places_weight else None
        told = [one.digest() for one in (wrong, here) if one is not None]
        heads = heads_of(model, recipe, wrong, here)
        identity = identity_of(model, rows, images, recipe, seed, told)
        if (finished := _finished(out, identity, resume)) is not None:
            return finished
        seconds = None if max_minutes is None else max_minutes * 60
        stored = model.dtype
        loop = _prepared(
            model,
            codec,
            rows,
            images,
            driver,
            out,
            heads=heads,
            recipe=recipe,
            seed=seed,
            seconds=seconds,
            progress=progress,
        )
        # Reading images and computing features count as part of the training.
        loop.before = time.monotonic() - started
        checkpoints = Checkpoints(out, identity, driver, loop.objective, loop.optimizer)
        _run(loop, checkpoints, checkpoint_seconds, progress)
        facts = dict(facts or {}) | facts_of(loop, identity, seed, threads, max_minutes)
        result = _finish(loop, model, codec, recipe, out, facts, dtype=stored)
        if driver.is_main_process:
            # The folder may be shipped as it is. Whoever comes now finds it finished, with or without these.
            checkpoints.remove()
            shutil.rmtree(out / FEATURES, ignore_errors=True)
            (out / ".lock").unlink(missing_ok=True)
        return result


def _finished(out: Path, identity: str, resume: bool) -> TuneResult | None:
    """Return what this very training left in `out`, or None; clear the folder where it is to be begun anew."""
    if not resume:
        for leftover in (out / CARD, out / checkpoint.NAME, *out.glob("unfinished-*")):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
        return None
    if not (out / CARD).exists():
        return None
    card = read_json(out / CARD)
    if card.get("identity") != identity:
        raise RunError(
            f"{out} holds weights of another training; choose another --out, or give --restart to replace them"
        )
    (out / ".lock").unlink(missing_ok=True)
    return TuneResult(FakeReasoning.from_pretrained(out), card)


def _prepared(
    model: FakeReasoning,
    codec: Codec,
    rows: Rows,
    images: TrainingImages,
    driver: Accelerator,
    out: Path,
    *,
    heads: Heads,
    recipe: TuneRecipe,
    seed: int,
    seconds: float | None,
    progress: TrainingProgress,
) -> TuningLoop:
    """Return the loop before its first step: parts frozen, adapters on, images read or their features computed."""
    torch.manual_seed(seed)
    model.set_trainable(recipe.trainable)
    progress.decoding(len(images))
    features: FrozenFeatures | None = None
    if recipe.frozen_towers and recipe.cache_features:
        model.to(driver.device)
        # The main process writes them, the others then find them.
        with driver.main_process_first():
            features = frozen_features(model.eval(), images, out / FEATURES, advance=progress.advance)
    else:
        images.keep(progress.advance)
    if recipe.lora is not None:
        adapters.attach(model.language, recipe.lora)
    # Steps of a small rate are lost in a half-precision weight.
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if recipe.gradient_checkpointing:
        recompute_blocks(model.language.model.layers)
    if rows.left_out:
        progress.line(f"{rows.left_out} records are left out: nothing of their answers fits into the length allowed")
    return TuningLoop(
        model,
        rows,
        images,
        features,
        recipe=recipe,
        tokens=codec.cpm if recipe.cpm_weight else None,
        heads=heads,
        accelerator=driver,
        seed=seed,
        seconds=seconds,
    )


def _run(loop: TuningLoop, checkpoints: Checkpoints, every: float, progress: TrainingProgress) -> None:
    """Run the loop from where an earlier process left it, with a saved state at most every so many seconds."""
    if (counters := checkpoints.load()) is not None:
        loop.restore(counters)
        progress.line(f"continued at epoch {loop.epoch + 1}, step {loop.in_epoch} of {loop.batches.steps}")
    saved, shown = loop.elapsed(), len(loop.history)

    def report(loop: TuningLoop) -> None:
        done = loop.in_epoch or loop.batches.steps
        epoch = (loop.position - 1) // loop.batches.steps + 1
        progress.step(loop.position, loop.pace.fraction, epoch=epoch, loss=sum(loop.sums) / done)

    def save(elapsed: float) -> None:
        nonlocal saved, shown
        for row in loop.history[shown:]:
            progress.line("  ".join(f"{name} {value:.5g}" for name, value in row.items()))
        shown = len(loop.history)
        if elapsed - saved >= every:
            checkpoints.save(loop.counters())
            saved = elapsed

    loop.run(report, save)
    for row in loop.history[shown:]:
        progress.line("  ".join(f"{name} {value:.5g}" for name, value in row.items()))


def _finish(
    loop: TuningLoop,
    model: FakeReasoning,
    codec: Codec,
    recipe: TuneRecipe,
    out: Path,
    facts: Mapping[str, Any],
    *,
    dtype: torch.dtype,
) -> TuneResult:
    """Write the folder, by the main process and in this type, and return what it holds."""
    driver = loop.accelerator
    gathered = driver.get_state_dict(loop.objective)
    if driver.is_main_process:
        # Heads whose readers are not the model's have done their work.
        kept = {name: tensor for name, tensor in gathered.items() if name.startswith("model.")}
        state = {name.removeprefix("model."): tensor.detach().cpu() for name, tensor in kept.items()}
        if recipe.lora is not None:
            adapters.write_lora_folder(state, recipe.lora, out / ADAPTER)
            state = adapters.merged(state, recipe.lora)
        trained = FakeReasoning.empty(model.config)
        trained.load_tensors(state, f"the training in {out}")
        trained.save_pretrained(out, dtype=dtype)
        codec.save(out)
        parameters = sum(parameter.numel() for parameter in trained.parameters())
        write_json(out / CARD, {"format": FORMAT, "parameters": parameters, **facts})
    driver.wait_for_everyone()
    return TuneResult(FakeReasoning.from_pretrained(out), read_json(out / CARD))
