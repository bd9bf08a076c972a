"""Write synthetic run folders in the documented layout, for tests that read runs without running a detector.

`from tests.runs import make_run`. Scores are normal draws pushed through a sigmoid: fakes of the generator that a model
was trained on lie far from the reals, those of the others nearer, so that boards and intervals look as in life.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

GENERATORS = ("affine", "bloom", "cascade", "drift")
MODELS = ("cnndetection@scenes", "npr@scenes", "univfd@scenes", "constant", "file-metadata")
SET_BASELINES = ("constant", "file-metadata")
TITLES = {
    "cnndetection": ("CNNDetection", "Wang et al., CVPR 2020", "CC-BY-NC-SA-4.0"),
    "npr": ("NPR", "Tan et al., CVPR 2024", "Apache-2.0"),
    "univfd": ("UnivFD", "Ojha et al., CVPR 2023", "MIT"),
    "constant": ("Constant", "the share of fakes", "Apache-2.0"),
    "file-metadata": ("File metadata", "a dataset's bias alone", "Apache-2.0"),
}


def make_samples(
    n: int, *, generators: Sequence[str] = GENERATORS, shared_reals: bool = True, seed: int = 0
) -> list[dict[str, object]]:
    """Return `n` sample rows sorted by id: half real, half fake, fakes spread evenly over the generators.

    `shared_reals` gives reals no generator; otherwise each generator has its own.
    """
    draws = np.random.default_rng(seed)
    rows = []
    for position in range(n):
        fake = position % 2 == 1
        generator = generators[position // 2 % len(generators)]
        folder = f"{generator}/1_fake" if fake else "0_real" if shared_reals else f"{generator}/0_real"
        rows.append(
            {
                "id": f"{folder}/{position:07d}.png",
                "label": "fake" if fake else "real",
                "generator": generator if fake or not shared_reals else None,
                "category": ("street", "kitchen", "portrait")[position % 3],
                "size": int(draws.integers(20_000, 400_000)),
                "attributes": {"lighting": "The shadows fall two ways."} if fake else None,
                "reasoning": "The shadows fall two ways." if fake else None,
                "caption": f"scene {position}",
            }
        )
    return sorted(rows, key=lambda row: str(row["id"]))


def make_predictions(
    model: str,
    samples: Sequence[Mapping[str, object]],
    *,
    trained_on: str | None = GENERATORS[0],
    failures: float = 0.0,
    verdicts_only: bool = False,
    seed: int = 0,
) -> list[dict[str, object]]:
    """Return one prediction row a sample, in order; `failures` is the share that becomes an error row."""
    draws = np.random.default_rng([seed, int.from_bytes(hashlib.sha256(model.encode()).digest()[:4], "big")])
    noise, lost = draws.normal(size=len(samples)), draws.random(len(samples)) < failures
    rows: list[dict[str, object]] = []
    for sample, spread, failed in zip(samples, noise, lost, strict=True):
        row: dict[str, object] = {"id": sample["id"], "key": "0" * 16, "image": digest(str(sample["id"]))}
        lift = 0.0 if sample["label"] == "real" else 3.0 if sample["generator"] == trained_on else 1.0
        score = 0.5 if model == "constant" else 1 / (1 + float(np.exp(-(spread + lift - 0.8))))
        if failed:
            row["error"] = "the image cannot be decoded: truncated file"
        elif verdicts_only:
            row["verdict"] = "fake" if score > 0.5 else "real"
        else:
            row |= {"score": score, "score_source": "sigmoid"}
        rows.append(row)
    return rows


def make_run(
    root: Path,
    n: int = 240,
    models: Sequence[str] = MODELS,
    *,
    datasets: Sequence[str] = ("fdr-scenes-test",),
    generators: Sequence[str] = GENERATORS,
    shared_reals: bool = True,
    failures: float = 0.02,
    verdicts_only: Sequence[str] = (),
    reasons: Sequence[str] = (),
    thresholds: Mapping[str, float] = {},
    finished: bool = True,
    seed: int = 0,
) -> Path:
    """Write a run folder at `root` and return it: spec.json, samples, predictions and (if `finished`) run.json.

    Models named in `verdicts_only` state verdicts without scores, those in `reasons` are to state some by their cards;
    set baselines never fail. Without `finished` the
    last model has only the first half of its rows and run.json is absent, as after a kill. Equal arguments write
    equal bytes.
    """
    spec = {
        "models": {
            model: _model_entry(model, generators[0], thresholds.get(model, 0.5), model in reasons) for model in models
        },
        "datasets": {},
    }
    failed: dict[str, int] = {}
    for number, dataset in enumerate(datasets):
        samples = make_samples(n, generators=generators, shared_reals=shared_reals, seed=seed + number)
        write_lines(root / "datasets" / dataset / "samples.jsonl", samples)
        spec["datasets"][dataset] = _dataset_entry(dataset, samples, generators)
        for model in models:
            rows = make_predictions(
                model,
                samples,
                trained_on=None if model in SET_BASELINES else generators[0],
                failures=0.0 if model in SET_BASELINES else failures,
                verdicts_only=model in verdicts_only,
                seed=seed + number,
            )
            failed[f"{model}/{dataset}"] = sum("error" in row for row in rows)
            kept = rows if finished or model != models[-1] else rows[: n // 2]
            write_lines(root / model / dataset / "predictions.jsonl", kept)
    _write_json(root / "spec.json", spec)
    if finished:
        _write_json(root / "run.json", _manifest(root.name, spec, failed, n * len(datasets)))
    return root


def renamed(run: Path, target: Path, model: str, name: str) -> Path:
    """Copy a run, one model called otherwise."""
    shutil.copytree(run, target)
    (target / model).rename(target / name)
    for path in target.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(json.dumps(model), json.dumps(name)), encoding="utf-8")
    return target


def digest(name: str) -> str:
    """Return the first 32 hex digits of a sha256, as predictions carry of an image's bytes."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def write_lines(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows as JSON lines, making the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_lines(path: Path) -> list[dict[str, object]]:
    """Return the rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _model_entry(model: str, generator: str, threshold: float, reasons: bool) -> dict[str, object]:
    detector, _, rest = model.partition("@")
    preset, _, view = rest.partition(":")
    title, paper, licence = TITLES.get(detector, (detector, "unpublished", "MIT"))
    baseline = model in SET_BASELINES
    return {
        "detector": detector,
        "preset": preset or None,
        "view": view or None,
        "title": title,
        "paper": paper,
        "licence": licence,
        "threshold": threshold,
        "reasons": reasons,
        "parameters": None if baseline else 412_345,
        "trained_on": None if baseline else {"dataset": "fdr-scenes-train", "generators": [generator]},
        "weights_sha256": None if baseline else hashlib.sha256(model.encode()).hexdigest(),
        "kind": "set baseline" if baseline else "detector",
    }


def _dataset_entry(name: str, samples: Sequence[Mapping[str, object]], generators: Sequence[str]) -> dict[str, object]:
    fakes = sum(sample["label"] == "fake" for sample in samples)
    lines = (f"{row['id']}\t{row['label']}\t{row['generator']}\t{row['size']}\n" for row in samples)
    return {
        "spec": f"scenes:{name}",
        "fingerprint": hashlib.sha256("".join(lines).encode()).hexdigest(),
        "n_real": len(samples) - fakes,
        "n_fake": fakes,
        "generators": list(generators),
        "notes": [],
    }


def _manifest(run: str, spec: dict[str, object], failed: dict[str, int], images: int) -> dict[str, object]:
    models = spec["models"]
    assert isinstance(models, dict)
    timed = {name: entry | {"seconds": 12.5, "images_per_second": images / 12.5} for name, entry in models.items()}
    return {
        "schema": 1,
        "run": run,
        "spec": {"models": list(models), "data": ["scenes"], "limit": None, "seed": 0},
        "spec_hash": hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest(),
        "code": {"version": "0.1.0", "commit": "0" * 40},
        "packages": {"numpy": "2.0.0", "pillow": "11.0.0", "torch": "2.4.0"},
        "device": "cpu",
        "started": "2026-01-05T10:00:00+00:00",
        "finished": "2026-01-05T10:02:00+00:00",
        "seconds": 120.0,
        "models": timed,
        "datasets": spec["datasets"],
        "skipped": [{"model": "cnndetection@official", "dataset": None, "reason": "weights are missing: get them"}],
        "failures": failed,
    }
