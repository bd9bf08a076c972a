"""Score images without labels, for `fdr-bench predict`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fdr_bench import models
from fdr_bench.data.files import FileImage
from fdr_bench.data.listing import is_other
from fdr_bench.engines import Task
from fdr_bench.engines.local import InProcess
from fdr_bench.errors import FDRBenchError, UsageError, WeightsError
from fdr_bench.explanation import Stage, in_one_line, print_explanation, stages
from fdr_bench.terminal import print_json, print_table, say
from fdr_bench.types import Prediction

BATCH = 32


class Answer(NamedTuple):
    """What one model says of one image, or why it says nothing."""

    image: str
    model: str
    prediction: Prediction | None
    threshold: float
    error: str | None

    @property
    def verdict(self) -> str | None:
        """ "real" or "fake": the model's own verdict, else its score against the card's threshold."""
        if self.prediction is None:
            return None
        if self.prediction.verdict or self.prediction.score is None:
            return self.prediction.verdict
        return "fake" if self.prediction.score > self.threshold else "real"


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Return the files named, and of folders all the files beneath them that may be images, sorted.

    Raises `UsageError` where a path does not exist or a folder holds none.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"there is nothing at {path}")
        if not path.is_dir():
            found.append(path)
            continue
        beneath = [Path(folder) / name for folder, _, names in os.walk(path) for name in names]
        images = sorted(each for each in beneath if not is_other(each.name))
        if not images:
            raise UsageError(f"there are no images beneath {path}")
        found += images
    return found


def predict_paths(
    paths: Sequence[Path],
    names: Sequence[str],
    *,
    preset: str | None,
    brought: Mapping[str, str],
    files: Sequence[str],
    device: str,
) -> Iterator[Answer]:
    """Yield one answer an image and model, a batch at a time. Models that cannot run are told of on stderr.

    Raises `FDRBenchError` where none can.
    """
    images = find_images(paths)
    everything = tuple(names) == ("all",)
    candidates, _ = models.candidates(names, files, brought)
    candidates = [each for each in candidates if not hasattr(each.factory, "predict_set")]
    resolved = []
    for candidate in candidates:
        try:
            resolved.append(_resolve(candidate, preset, brought.get(candidate.name), device))
        except (WeightsError, UsageError) as error:
            if not everything:
                raise
            say(f"skipped {candidate.name}: {error}")
    engine = InProcess([each.model for each in resolved if each.model], threads=_threads(), device=device)
    for label, reason in engine.problems().items():
        say(f"skipped {label}: {reason}")
    thresholds = {each.label: each.entry["threshold"] for each in resolved if each.label not in engine.problems()}
    if not thresholds:
        raise FDRBenchError(
            "no model can run. 'fdr-bench list models' shows all; set baselines need a labelled dataset."
        )
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    tasks = (Task([FileImage(str(path), -1) for path in batch], list(thresholds)) for batch in batches)
    for batch, outcome in zip(batches, engine.run(tasks), strict=True):
        for place, path in enumerate(batch):
            for label, threshold in thresholds.items():
                answer = outcome.predictions[label][place]
                if isinstance(answer, str):
                    yield Answer(str(path), label, None, threshold, answer)
                else:
                    yield Answer(str(path), label, answer, threshold, None)


def _resolve(candidate: models.Candidate, preset: str | None, brought: str | None, device: str) -> models.Resolved:
    """Resolve with the preset named, else the official one where its weights are here, else the one that is shipped."""
    if candidate.preset or preset or brought:
        return models.resolve_model(candidate, models.preset_of(candidate, preset, "official"), brought, device, "")
    try:
        return models.resolve_model(candidate, models.preset_of(candidate, None, "official"), None, device, "")
    except WeightsError:
        if "scenes" not in candidate.factory.card.presets:
            raise
        say(f"{candidate.name}: no official weights here, so the small preset trained on FDR-Scenes answers")
        return models.resolve_model(candidate, "scenes", None, device, "")


def _threads() -> int:
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def print_answers(answers: Iterator[Answer], as_json: bool) -> bool:
    """Print the answers, with what a model wrote, stage by stage, beneath; return whether any image failed.

    Names of files and texts of models are shown so that a terminal takes nothing in them for a command.
    """
    rows = list(answers)
    failed = any(row.error for row in rows)
    if as_json:
        print_json([_as_json(row) for row in rows])
        return failed
    cells = []
    for row in rows:
        score = row.prediction.score if row.prediction else None
        shown = None if score is None else f"{score:.3f}"
        cells.append((in_one_line(row.image), row.model, row.verdict or "–", shown, in_one_line(row.error or "")))
    print_table(["image", "model", "verdict", "P(fake)", "note"], cells)
    for row in rows:
        if parts := _parts(row.prediction):
            score = row.prediction.score if row.prediction else None
            said = f"{row.verdict or 'no verdict'}" + ("" if score is None else f", P(fake) {score:.3f}")
            print_explanation(f"{row.image} · {row.model} · {said}", parts)
    return failed


def _parts(prediction: Prediction | None) -> list[Stage]:
    """Return what a model wrote, in its stages; its reasoning alone where the whole text is not told."""
    if prediction is None:
        return []
    if prediction.raw:
        return stages(prediction.raw)
    return [Stage("reasoning", prediction.reasoning)] if prediction.reasoning else []


def _as_json(row: Answer) -> dict[str, object]:
    content: dict[str, object] = {"image": row.image, "model": row.model, "threshold": row.threshold}
    if row.prediction is None:
        return {**content, "error": row.error}
    prediction = row.prediction
    return {
        **content,
        "verdict": row.verdict,
        "score": prediction.score,
        "score_source": prediction.score_source,
        "reasoning": prediction.reasoning,
        "raw": prediction.raw,
    }
