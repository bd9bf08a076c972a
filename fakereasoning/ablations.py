"""What each part is worth: the model trained without it, and what that gives on the test set.

After tables IV and V of arXiv 2503.21210 v3. Variants share what they have in common: base models by architecture and
seed, or one that the plan starts with, and the FACL stage on them.

OUT/STAGE-ARCHITECTURE-SEED/   the shared stages: words, base, facl
OUT/VARIANT-SEED/                                         a tuned variant
OUT/runs/VARIANT-SEED-…/                                  its run on the test set
OUT/ablations.json OUT/ablations.md                       the figures; written last
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from fakereasoning.config import Fusion, Vision
from fakereasoning.material import BEFORE, Stage
from fakereasoning.pipeline import Plan, train_stage
from fakereasoning.recipe import read_recipe
from fdr_bench.errors import RunError, UsageError, nearest
from fdr_bench.store import read_scores, write_atomically, write_json
from fdr_bench.training import checkpoint

TOLD: Mapping[str, str] = {
    "acc": "ACC",
    "balanced_acc": "balanced ACC",
    "ap": "AP",
    "failure_rate": "failures",
    "bleu1@nltk-split": "BLEU-1",
    "rougeL@stem": "ROUGE-L",
    "css@minilm-l6": "CSS",
    "attribute_f1@phrase+minilm-l6": "attribute F1",
    "grounded_f1@scenes": "grounded F1",
}
"""Metrics of the table by name, with their headings; each is the mean over generators."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way of training: what differs from the full model."""

    title: str
    vision: Vision | None = None
    fusion: Fusion | None = None
    facl: bool = True
    tune: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the tuning recipe."""

    @property
    def architecture(self) -> str:
        """A name for what the variant's base model has to be."""
        return f"{self.vision or 'clip+dino'}-{self.fusion or ('none' if self.vision == 'clip' else 'faff')}"


VARIANTS: Mapping[str, Variant] = {
    "full": Variant(title="full model"),
    "no-cpm": Variant(title="without CPM", tune={"cpm_weight": 0.0}),
    "no-facl": Variant(title="without FACL", facl=False),
    "no-reasoning": Variant(title="without reasoning: the conclusion alone", tune={"stages": ["CONCLUSION"]}),
    "no-cot": Variant(
        title="without chain of thought: reasoning and conclusion alone", tune={"stages": ["REASONING", "CONCLUSION"]}
    ),
    "clip": Variant(title="CLIP alone", vision="clip"),
    "interleave": Variant(title="CLIP and DINO, interleaved", fusion="interleave"),
    "cross-attention": Variant(title="fused by cross-attention without the bias", fusion="cross-attention"),
}
REPEATED = ("full", "no-cpm", "no-facl", "no-reasoning")
"""Variants that are trained with several seeds; the others with one."""


class Figures(NamedTuple):
    """A variant's metrics by name, one value a seed; None where the metric does not exist."""

    variant: str
    values: Mapping[str, Sequence[float | None]]


def ablate(plan: Plan, *, variants: Sequence[str], seeds: int, test: str) -> Path:
    """Train and test the variants and return the table's file, `plan.out`/ablations.md.

    `plan.data`, recipe, changes, times and steps hold for all of them; `seeds` counts those of the variants in
    `REPEATED`, from `plan.seed` on. With `plan.start`, a base model, none is trained: each variant begins
    with it, its towers fused as the variant has them. What has finished before is not done again. Raises
    `UsageError` for an unknown variant, `RunError` where a test run fails, and what the stages raise.
    """
    for name in variants:
        if name not in VARIANTS:
            raise UsageError(f"there is no variant '{name}'; expected {', '.join(VARIANTS)}.{nearest(name, VARIANTS)}")
    if plan.vision is not None or plan.fusion is not None:
        raise UsageError("an ablation goes through towers and fusions by itself; leave --vision and --fusion out")
    figures = []
    for name in variants:
        count = seeds if name in REPEATED else 1
        scored = [_trained_and_tested(plan, name, plan.seed + turn, test) for turn in range(count)]
        figures.append(Figures(name, {metric: [scores.get(metric) for scores in scored] for metric in TOLD}))
    setting = {"data": plan.data, "test": test, "recipe": plan.recipe, "command": plan.command}
    write_json(plan.out / "ablations.json", setting | {"variants": {one.variant: one.values for one in figures}})
    write_atomically(plan.out / "ablations.md", table(figures).encode())
    return plan.out / "ablations.md"


def table(figures: Sequence[Figures]) -> str:
    """Return the figures as a Markdown table: mean ± standard deviation over seeds (n - 1), in percent for shares."""
    lines = [f"| variant | seeds | {' | '.join(TOLD.values())} |", f"| --- | --- |{' --- |' * len(TOLD)}"]
    for one in figures:
        count = max(map(len, one.values.values()))
        cells = " | ".join(_cell(one.values[metric]) for metric in TOLD)
        lines.append(f"| {VARIANTS[one.variant].title} | {count} | {cells} |")
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float | None]) -> str:
    known = [100 * value for value in values if value is not None]
    if not known:
        return "–"
    mean = f"{statistics.fmean(known):.1f}"
    return mean if len(known) < 2 else f"{mean} ± {statistics.stdev(known):.1f}"


def _trained_and_tested(plan: Plan, name: str, seed: int, test: str) -> dict[str, float | None]:
    if not plan.quiet:
        print(f"{VARIANTS[name].title}, seed {seed}", file=sys.stderr, flush=True)
    return _scores(_tuned(plan, name, seed), plan, test)


def _tuned(plan: Plan, name: str, seed: int) -> Path:
    """Train a variant with one seed, its shared stages first; return its folder."""
    variant = VARIANTS[name]
    common = replace(plan, seed=seed, start=None, size=None, vision=None, fusion=None)
    where = f"{variant.architecture}-{seed}"
    content = read_recipe(plan.recipe)
    # One base serves all where DINO and the fusion join later.
    shared = str(seed) if "base_vision" in content else where
    architecture: dict[str, Any] = {"size": plan.size, "vision": variant.vision, "fusion": variant.fusion}
    start = plan.start
    for stage in (stage for stage in BEFORE if stage in content and plan.start is None):
        before = replace(common, out=plan.out / f"{stage}-{shared}", start=start)
        # What a folder begins with has its architecture already.
        start = train_stage(_only(before if start else replace(before, **architecture), stage), stage)
    if plan.start is not None or "base_vision" in content:
        common = replace(common, fusion=variant.fusion or ("none" if variant.vision == "clip" else None))
    if variant.facl:
        changed = common.changes
        if variant.vision == "clip":
            # The recipe's rates are for DINO; without it CLIP has to learn, gently.
            changed = {**changed, "facl": {"rates": {"clip": 3e-4}, "aligned": None, **changed.get("facl", {})}}
        facl = replace(common, out=plan.out / f"facl-{where}", start=start, changes=changed)
        start = train_stage(_only(facl, "facl"), "facl")
    changes = {**common.changes, "tune": {**common.changes.get("tune", {}), **variant.tune}}
    tune = replace(common, out=plan.out / f"{name}-{seed}", start=start, changes=changes)
    return train_stage(_only(tune, "tune"), "tune")


def _only(plan: Plan, stage: Stage) -> Plan:
    """Return the plan with the limits and changes of one stage."""
    return replace(
        plan,
        max_minutes={name: value for name, value in plan.max_minutes.items() if name == stage},
        changes={name: value for name, value in plan.changes.items() if name == stage},
    )


def _scores(folder: Path, plan: Plan, test: str) -> dict[str, float | None]:
    """Run the harness on a tuned variant, where it has not yet, and return its means over generators by metric."""
    # Not inside the weights' folder, whose files all count as weights.
    run = plan.out / "runs" / f"{folder.name}-{checkpoint.identity({'test': test})[:8]}"
    words = ["run", "--models", "fakereasoning", "--weights", f"fakereasoning={folder}", "--data", test]
    threads = plan.threads or os.cpu_count() or 1
    words += ["--out", str(run), "--device", plan.device, "--workers", "1", "--threads", str(threads)]
    done = subprocess.run([sys.executable, "-m", "fdr_bench", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunError(f"the test of {folder} ended with exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    return dict(_means(run))


def _means(run: Path) -> Iterator[tuple[str, float | None]]:
    # Beside the model stand texts that no image went into.
    rows = [row for row in read_scores(run) if str(row["model"]).startswith("fakereasoning@")]
    # With one generator there is no mean over several: the set as a whole says the same.
    wanted = "macro" if any(row["slice"] == "macro" for row in rows) else "all"
    for row in rows:
        if row["slice"] == wanted and row["metric"] in TOLD:
            yield row["metric"], row.get("value")
