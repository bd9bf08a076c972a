"""One run from beginning to end: find or make its folder, hold it, execute the plan, write the manifest, score it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import fdr_bench
from fdr_bench import journal, runner
from fdr_bench.errors import FDRBenchError, RunError, RunStopped
from fdr_bench.plan import Asked, Plan, resolve, restrict
from fdr_bench.record import PlannedSet, write_samples
from fdr_bench.store import SCHEMA, Lock, Row, read_json, read_manifest, write_json

PACKAGES = ("torch", "transformers", "numpy", "pillow", "scipy", "scikit-learn")


class Finished(NamedTuple):
    """A finished run: its folder, its manifest, and the share of its predictions that failed in the worst cell."""

    run: Path
    manifest: Row

    def failures_above(self, limit: str) -> list[str]:
        """Return "model/dataset: k of n" for each cell with more failures than the limit ("12" or "1%")."""
        sets = self.manifest["datasets"]
        over = []
        for cell, failed in self.manifest["failures"].items():
            facts = sets[cell.rpartition("/")[2]]
            n = facts["n_real"] + facts["n_fake"]
            allowed = float(limit[:-1]) / 100 * n if limit.endswith("%") else int(limit)
            if failed > allowed:
                over.append(f"{cell}: {failed} of {n}")
        return over


def run(
    asked: Asked, *, out: Path | None, workers: int, progress: runner.Progress, retry_failures: bool = False
) -> Finished:
    """Start a run, or continue the unfinished one of the same plan, in `out` or under runs/."""
    plan = resolve(asked)
    if not any(each.models or each.baselines for each in plan.sets):
        reasons = "\n".join(f"  {row['model']}: {row['reason']}" for row in plan.spec["skipped"])
        raise FDRBenchError(f"no model can run:\n{reasons}")
    folder = out or _unfinished(plan) or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{plan.hash[:8]}"
    if (folder / "spec.json").exists():
        plan = _agree(plan, folder)
    elif folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise RunError(f"{folder} is not empty and not a run folder; choose another --out")
    return _execute(plan, folder, asked, workers, progress, retry_failures)


def resume(
    folder: Path,
    *,
    workers: int,
    progress: runner.Progress,
    retry_failures: bool = False,
    options: Mapping[str, str] | None = None,
) -> Finished:
    """Finish an unfinished run; a finished one is returned as it is.

    `options` take the place of those that models of families had: another server, a larger budget.
    """
    from pydantic import TypeAdapter, ValidationError

    spec = read_json(folder / "spec.json")
    if (folder / "run.json").exists() and not retry_failures:
        manifest = read_manifest(folder)
        if _is_whole(folder, manifest):
            return Finished(folder, manifest)
    try:
        asked = TypeAdapter(Asked).validate_python(spec["asked"])
    except (KeyError, ValidationError) as error:
        raise RunError(f"{folder / 'spec.json'} is damaged: {error}") from None
    asked = replace(asked, options={**asked.options, **(options or {})})
    folder = folder.resolve()
    with contextlib.chdir(asked.folder if Path(asked.folder).is_dir() else "."):
        plan = restrict(resolve(asked), spec)
        return _execute(plan, folder, asked, workers, progress, retry_failures)


def _unfinished(plan: Plan) -> Path | None:
    found = sorted(Path("runs").glob(f"*-{plan.hash[:8]}/spec.json"), reverse=True)
    return next((path.parent for path in found if not (path.parent / "run.json").exists()), None)


def _agree(plan: Plan, folder: Path) -> Plan:
    spec = read_json(folder / "spec.json")
    if spec.get("spec_hash") == plan.hash:
        return plan
    before, now = spec.get("keys", {}), plan.spec["keys"]
    differing = sorted(
        {
            f"{label} on {name}"
            for name in before.keys() | now.keys()
            for label in before.get(name, {}).keys() | now.get(name, {}).keys()
            if before.get(name, {}).get(label) != now.get(name, {}).get(label)
        }
    )
    what = ", ".join(differing) or "the samples or the settings"
    raise RunError(
        f"{folder} holds a run of another plan (differing: {what}). Choose another --out, or resume it as it is."
    )


def _is_whole(folder: Path, manifest: Mapping[str, Any]) -> bool:
    for name, labels in manifest["spec"]["keys"].items():
        n = manifest["datasets"][name]["n_real"] + manifest["datasets"][name]["n_fake"]
        unloadable = {row["model"] for row in manifest["skipped"]}
        for label in labels.keys() - unloadable:
            path = folder / label / name / "predictions.jsonl"
            if not path.exists() or _count_lines(path) != n:
                return False
    return True


def _count_lines(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def _execute(
    plan: Plan, folder: Path, asked: Asked, workers: int, progress: runner.Progress, retry_failures: bool
) -> Finished:
    with Lock(folder):
        if not (folder / "spec.json").exists():
            write_json(folder / "spec.json", plan.spec)
        for planned in plan.sets:
            write_samples(folder, planned.dataset)
        started = time.time()
        try:
            totals = runner.execute(
                folder,
                [_placed(planned, folder) for planned in plan.sets],
                batch=asked.batch,
                workers=workers,
                threads=asked.threads,
                device=asked.device,
                progress=progress,
                began=(folder / "spec.json").stat().st_mtime,
                retry_failures=retry_failures,
            )
        except RunStopped as stopped:
            raise RunStopped(f"{stopped}\nThe run is not finished; to go on: fdr-bench resume {folder}") from None
        manifest = _manifest(plan, folder, asked, workers, started, totals)
        write_json(folder / "run.json", manifest)
    return Finished(folder, manifest)


def _placed(planned: PlannedSet, folder: Path) -> PlannedSet:
    """Tell each model its folder in the run."""
    models = [
        each._replace(model=replace(each.model, folder=str(folder / each.model.label))) for each in planned.models
    ]
    return planned._replace(models=models)


def _manifest(plan: Plan, folder: Path, asked: Asked, workers: int, started: float, totals: runner.Totals) -> Row:
    models = {}
    for label, entry in plan.spec["models"].items():
        if label in totals.unloadable:
            continue
        seconds, images = totals.seconds.get(label), totals.images.get(label, 0)
        models[label] = {**entry, "seconds": seconds, "images_per_second": images / seconds if seconds else None}
        if (used := journal.usage(folder / label)) is not None:
            models[label]["usage"] = used
    skipped = [*plan.spec["skipped"]]
    skipped += [{"model": label, "dataset": None, "reason": reason} for label, reason in totals.unloadable.items()]
    finished = time.time()
    return {
        "schema": SCHEMA,
        "run": folder.resolve().name,
        "spec": {name: plan.spec[name] for name in ("asked", "keys")},
        "spec_hash": plan.hash,
        "code": {"version": fdr_bench.__version__, "commit": _commit()},
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "device": asked.device,
        "workers": workers,
        "started": _iso(started),
        "finished": _iso(finished),
        "seconds": round(finished - started, 3),
        "models": models,
        "datasets": plan.spec["datasets"],
        "skipped": skipped,
        "failures": totals.failures,
        "problems": totals.problems,
    }


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    root = Path(fdr_bench.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
