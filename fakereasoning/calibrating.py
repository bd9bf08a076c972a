"""Calibrate a folder of weights: its answers on validation data, a temperature, and figures before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fakereasoning.answering import Answerer, load, rows_at_once
from fakereasoning.calibration import (
    FIGURE,
    FILE,
    Booleans,
    Calibration,
    Margins,
    calibrate,
    check_classes,
    measure_elsewhere,
    read_fitted_on,
    reliability_diagram,
    write_calibration,
)
from fdr_bench.errors import UsageError
from fdr_bench.images import decode
from fdr_bench.training.progress import TrainingProgress
from fdr_bench.training.repeatable import check_device, torch_threads
from fdr_bench.types import Dataset
from fdr_bench.weights import digest


def calibrate_folder(
    folder: Path,
    dataset: Dataset,
    *,
    elsewhere: Dataset | None = None,
    figure: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    quiet: bool = False,
) -> Calibration:
    """Fit a weights folder's temperature on a labelled set, and write calibration.json into the folder.

    Use images that the model was not trained on. `elsewhere` is a set that is only measured, before and after;
    `figure` an .html file for the reliability diagram; `threads` None are as many as torch takes by itself. Raises
    `DataError` where a class is absent, `UsageError` where the sets share images or the figure has no place, before
    anything is computed; and what loading and reading raise.
    """
    check_device(device)
    _check_sets(dataset, elsewhere)
    if figure is not None and (figure.is_dir() or not figure.parent.is_dir()):
        raise UsageError(f"--figure {figure}: expected the name of an .html file in a folder that is there")
    with torch_threads(threads), TrainingProgress(quiet) as progress:
        answerer = load(folder, device=device)
        progress.answering(len(dataset.samples) + (0 if elsewhere is None else len(elsewhere.samples)))
        told = _told(dataset) | {"weights": weights_digest(folder)}
        found = calibrate(margins(answerer, dataset, advance=progress.advance), fitted_on=told)
        if elsewhere is not None:
            others = margins(answerer, elsewhere, advance=progress.advance)
            measured = measure_elsewhere(others, found.temperature, measured_on=_told(elsewhere))
            found = replace(found, elsewhere=measured)
    write_calibration(folder, found)
    if figure is not None:
        # With an id of its own, and not a random one, equal calibrations give equal files.
        reliability_diagram(found).write_html(str(figure), include_plotlyjs=True, div_id="reliability")
    return found


def is_calibrated(folder: Path, dataset: Dataset) -> bool:
    """Tell whether a folder has a calibration of its own weights on this very set, and the diagram of it."""
    told = read_fitted_on(folder)
    return told.get("fingerprint") == dataset.fingerprint and _is_of_weights(folder) and (folder / FIGURE).is_file()


def remove_outdated(folder: Path) -> None:
    """Remove the calibration of a weights folder, and the diagram of it, where it is of other weights."""
    if not _is_of_weights(folder):
        for name in (FILE, FIGURE):
            (folder / name).unlink(missing_ok=True)


def margins(answerer: Answerer, dataset: Dataset, *, advance: Callable[[int], None] = lambda _: None) -> Margins:
    """Return the model's margins on a labelled set. `advance` gets the number of images since its last call.

    Raises `ImageError` where an image cannot be read.
    """
    batch = rows_at_once(answerer)
    found: list[float] = []
    for start in range(0, len(dataset.samples), batch):
        part = dataset.samples[start : start + batch]
        images = [decode(sample.image.read(), sample.id).pixels for sample in part]
        found += [fake - real for real, fake in (answer.k_logits for answer in answerer.answer(images))]
        advance(len(part))
    return Margins(np.array(found, dtype=np.float64), _fake(sample.label for sample in dataset.samples))


def weights_digest(folder: Path) -> str:
    """Return a sha256 of a folder's weights files, without what stands beside them."""
    return digest(sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")]))


def _is_of_weights(folder: Path) -> bool:
    return bool(read_fitted_on(folder).get("weights") == weights_digest(folder))


def _check_sets(dataset: Dataset, elsewhere: Dataset | None) -> None:
    check_classes(_fake(sample.label for sample in dataset.samples), least=2)
    if elsewhere is None:
        return
    check_classes(_fake(sample.label for sample in elsewhere.samples))
    known = {sample.image.location for sample in dataset.samples}
    if shared := [sample.id for sample in elsewhere.samples if sample.image.location in known]:
        raise UsageError(
            f"{len(shared)} images of {elsewhere.spec}, such as {shared[0]}, are those that the temperature is fitted "
            "on; measure on others"
        )


def _told(dataset: Dataset) -> dict[str, Any]:
    return {"dataset": dataset.name, "fingerprint": dataset.fingerprint}


def _fake(labels: Iterable[str]) -> Booleans:
    return np.array([label == "fake" for label in labels], dtype=np.bool_)
