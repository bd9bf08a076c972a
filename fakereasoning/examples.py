"""Show what a model wrote beside the truth: a Markdown page of images out of a finished run, right and wrong ones.

Which images are shown follows from their ids alone, so that nobody picks them: the first of every generator by the hash
of its id, then the first of those that the model called wrongly or left without a verdict.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from fdr_bench.data import open_dataset
from fdr_bench.errors import RunError
from fdr_bench.explanation import visible
from fdr_bench.store import read_manifest, read_rows, write_atomically
from fdr_bench.types import Dataset, Sample


class Example(NamedTuple):
    """One image of a set, and the row that the run recorded of it."""

    sample: Sample
    row: dict[str, Any]

    @property
    def wrong(self) -> bool:
        """Whether the verdict is not the truth; also where there is none."""
        return bool(self.row.get("verdict") != self.sample.label)


def write_examples(run: Path, out: Path, *, wrong: int = 6) -> Path:
    """Write `out`/README.md and its images from a run of FakeReasoning, and return the page.

    One image of each generator and one photograph are shown, and up to `wrong` mistakes beside them. Raises `RunError`
    where the run has no such model, or its dataset is another one by now.
    """
    manifest = read_manifest(run)
    label = next((name for name, entry in manifest["models"].items() if entry["reasons"]), None)
    if label is None:
        raise RunError(f"{run} has no model that gives reasons; run fdr-bench run --models fakereasoning first")
    (name, told), *_ = manifest["datasets"].items()
    dataset = open_dataset(told["spec"])
    if dataset.fingerprint != told["fingerprint"]:
        raise RunError(f"{told['spec']} is not what {run} was made of (fingerprint {told['fingerprint']}); run it anew")
    rows = {row["id"]: row for row in read_rows(run / label / name / "predictions.jsonl")}
    shown, mistakes = choose([Example(sample, rows[sample.id]) for sample in dataset.samples if sample.id in rows])
    parts = [f"# {label} on {name}", _about(dataset, len(rows), len(mistakes)), "## One image of each generator"]
    parts += [_section(example, out) for example in shown]
    parts.append(f"## Mistakes: {min(wrong, len(mistakes))} of {len(mistakes)}")
    parts += [_section(example, out) for example in mistakes[:wrong]]
    write_atomically(out / "README.md", ("\n\n".join(parts) + "\n").encode())
    return out / "README.md"


def choose(examples: Iterable[Example]) -> tuple[list[Example], list[Example]]:
    """Return the first example of every generator and class, and all mistakes beside those, in the hashes' order."""
    ordered = sorted(examples, key=lambda each: hashlib.sha256(each.sample.id.encode()).hexdigest())
    first: dict[tuple[str, str | None], Example] = {}
    for example in ordered:
        first.setdefault((example.sample.label, example.sample.generator), example)
    shown = sorted(first.values(), key=lambda each: (each.sample.label, each.sample.generator or ""))
    taken = {each.sample.id for each in shown}
    return shown, [each for each in ordered if each.wrong and each.sample.id not in taken]


def _about(dataset: Dataset, answered: int, mistakes: int) -> str:
    return (
        f"{answered} of {len(dataset.samples)} images answered. The hashes of their ids chose those shown here. The "
        f"model's words are as it wrote them; beside the first images there are {mistakes} mistakes."
    )


def _section(example: Example, out: Path) -> str:
    sample, row = example
    picture = sample.id.replace("/", "-")
    write_atomically(out / picture, sample.image.read())
    score = "–" if row.get("score") is None else f"{row['score']:.3f}"
    told = f"**{sample.label}**" + (f", {sample.generator}" if sample.generator else "")
    verdict = row.get("verdict") or "no verdict"
    return "\n".join(
        [
            f"| ![{sample.id}]({picture}) | truth: {told} | model: **{verdict}**, P(fake) {score} |",
            "| --- | --- | --- |",
            f"| scene | {_cell(sample.caption)} | {_cell(_stage(row, 'CAPTION'))} |",
            f"| reasoning | {_cell(sample.reasoning)} | {_cell(row.get('reasoning'))} |",
        ]
    )


def _stage(row: dict[str, Any], name: str) -> str | None:
    _, _, rest = str(row.get("raw", "")).partition(f"<{name}>")
    return rest.partition(f"</{name}>")[0].strip() or None


def _cell(text: str | None) -> str:
    """Return a text for a cell of a table: a model's text is anybody's, so nothing in it is markup."""
    shown = " ".join(visible(text or "–").split())
    for mark in "\\`*_{}[]<>#|!":
        shown = shown.replace(mark, f"\\{mark}" if mark != "<" else "&lt;")
    return shown
