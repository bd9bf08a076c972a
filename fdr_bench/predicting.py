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
from fdr_bench.explanation import Stage, four_stages, in_one_line, print_explanation, stages
from fdr_bench.terminal import print_json, print_table, say
from fdr_bench.types import Label, Prediction

BATCH = 32


class Answer(NamedTuple):
    """What one model says of one image, or why it says nothing. `states_verdicts` is by the model's card."""

    image: str
    model: str
    prediction: Prediction | None
    threshold: float
    states_verdicts: bool
    error: str | None

    @property
    def verdict(self) -> Label | None:
        """The verdict that the model states; of one that states none by its card, what its score says."""
        stated = self.prediction.verdict if self.prediction else None
        return stated if stated or self.states_verdicts else self.by_score

    @property
    def by_score(self) -> Label | None:
        """What the score says against the card's threshold."""
        if self.prediction is None or self.prediction.score is None:
            return None
        return "fake" if self.prediction.score > self.threshold else "real"

    @property
    def in_words(self) -> str:
        """The verdict, or that there is none and what the score would say; a dash where the model failed."""
        if self.prediction is None:
            return "–"
        return self.verdict or "no verdict" + (f" (score says {self.by_score})" if self.by_score else "")


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
    options: Mapping[str, str] | None = None,
) -> Iterator[Answer]:
    """Yield one answer an image and model, a batch at a time. Models that cannot run are told of on stderr.

    Raises `FDRBenchError` where none can.
    """
    images = find_images(paths)
    everything = tuple(names) == ("all",)
    candidates, _ = models.candidates(names, files, brought, options)
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
    entries = {each.label: each.entry for each in resolved if each.label not in engine.problems()}
    if not entries:
        raise FDRBenchError(
            "no model can run. 'fdr-bench list models' shows all; set baselines need a labelled dataset."
        )
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    tasks = (Task([FileImage(str(path), -1) for path in batch], list(entries)) for batch in batches)
    for batch, outcome in zip(batches, engine.run(tasks), strict=True):
        for place, path in enumerate(batch):
            for label, entry in entries.items():
                answer = outcome.predictions[label][place]
                prediction, failure = (None, answer) if isinstance(answer, str) else (answer, None)
                yield Answer(str(path), label, prediction, entry["threshold"], entry["reasons"], failure)


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
        score, source = _score(row.prediction)
        cells.append((in_one_line(row.image), row.model, row.in_words, score, source, in_one_line(row.error or "")))
    print_table(["image", "model", "verdict", "P(fake)", "source", "note"], cells)
    for row in rows:
        if parts := _parts(row.prediction):
            score, source = _score(row.prediction)
            said = row.in_words + (f", P(fake) {score}" if score else "") + (f" ({source})" if score and source else "")
            print_explanation(f"{row.image} · {row.model} · {said}", parts)
    return failed


def _score(prediction: Prediction | None) -> tuple[str | None, str]:
    """Return a score and its source as they are shown."""
    if prediction is None or prediction.score is None:
        return None, ""
    return f"{prediction.score:.3f}", in_one_line(prediction.score_source or "")


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
        "stages": four_stages(prediction.raw or ""),
    }
