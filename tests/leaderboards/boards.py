"""Hand-made scored runs for the tests of boards: every number in them is written in the test that uses it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

SETTINGS = {"resamples": 1000, "level": 0.95, "seed": 0}


def score(
    model: str, metric: str, value: float | None, *, slice: str = "all", n: int = 100, n_missing: int = 0,
    interval: tuple[float, float] | None = None, reason: str | None = None, dataset: str = "set",
) -> dict[str, object]:  # fmt: skip
    """Return one row of scores.json."""
    drawn = {"low": interval[0], "high": interval[1], "level": 0.95, "method": "bootstrap"} if interval else None
    return {
        "model": model, "dataset": dataset, "slice": slice, "metric": metric, "value": value, "reason": reason,
        "interval": drawn, "n": n, "n_missing": n_missing,
    }  # fmt: skip


def write_run(
    root: Path, scores: Sequence[Mapping[str, object]], *, models: Mapping[str, Mapping[str, object]] = {},
    datasets: Mapping[str, Mapping[str, object]] = {}, finished: bool = True, **manifest: object,
) -> Path:  # fmt: skip
    """Write run.json (or spec.json) and scores.json; every model that has a score is in the manifest."""
    root.mkdir(parents=True, exist_ok=True)
    named = dict.fromkeys(str(row["model"]) for row in scores)
    entries = {name: {"kind": "detector", **models.get(name, {})} for name in (*named, *models)}
    for name in ("constant", "file-metadata"):
        if name in entries:
            entries[name]["kind"] = "set baseline"
    sets = {str(row["dataset"]): {"fingerprint": "f" * 64} for row in scores} | dict(datasets)
    content = {"schema": 1, "run": root.name, "spec": {"seed": 0}, "models": entries, "datasets": sets, **manifest}
    (root / ("run.json" if finished else "spec.json")).write_text(json.dumps(content), encoding="utf-8")
    rows = {"schema": 1, "run": root.name, "settings": SETTINGS, "scores": list(scores)}
    (root / "scores.json").write_text(json.dumps(rows), encoding="utf-8")
    return root
