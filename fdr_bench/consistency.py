"""How consistent a run's zero-shot models are: between repeats of a question, and between its two polarities."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from fdr_bench.answered_sets import read_plan, read_set
from fdr_bench.errors import RunError
from fdr_bench.metrics.consistency import Rate, Verdicts, called_fake, disagreement, inconsistency
from fdr_bench.store import Row, read_manifest

_REPEAT = re.compile(r"\.\d+$")


def consistency(run: Path) -> list[Row]:
    """Return a row for each question that was repeated, and for each pair of polarities of one prompt, on each dataset.

    "rate" is the mean minority share of an image's answers over the repeats, or the share of images whose verdicts
    differ between the polarities; there "fake_first" and "fake_second" are the shares that each calls fake of the
    images with a verdict in both. What is not there is None. Raises `RunError` where the run has neither repeats nor
    polarities, or is damaged.
    """
    questions = _questions(read_manifest(run)["models"])
    plan = read_plan(run)
    rows: list[Row] = []
    for dataset in plan.fingerprints:
        wanted = [label for labels in questions.values() for label in labels]
        known = [label for label in wanted if (run / label / dataset / "predictions.jsonl").is_file()]
        answers = read_set(run, plan, dataset, known).answers
        verdicts = {label: answers[label].verdict for label in known}
        rows += _of_repeats(questions, dataset, verdicts) + _of_polarities(questions, dataset, verdicts)
    if not rows:
        raise RunError(
            f"{run} has nothing to compare: ask with --repeats 5, or in both polarities "
            "(openai:NAME@verdict:real-first,openai:NAME@verdict:fake-first)."
        )
    return rows


def _questions(models: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str, str], list[str]]:
    """Return the labels of each (detector, prompt, polarity): one, and one more for each repeat."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for label, entry in models.items():
        if "prompt_sha256" in (entry.get("settings") or {}):
            try:
                key = (str(entry["detector"]), str(entry["preset"]), _REPEAT.sub("", entry["view"]))
            except (KeyError, TypeError):
                raise RunError(
                    f"the run's plan does not say which detector, prompt and view {label} is. Restore run.json, or run "
                    "anew."
                ) from None
            found.setdefault(key, []).append(label)
    return found


def _of_repeats(
    questions: Mapping[tuple[str, str, str], list[str]], dataset: str, verdicts: Mapping[str, Verdicts]
) -> list[Row]:
    rows = []
    for (detector, prompt, polarity), labels in questions.items():
        asked = [verdicts[label] for label in labels if label in verdicts]
        if len(asked) > 1:
            rate = inconsistency(np.stack(asked))
            rows.append(_row(f"{detector}@{prompt}:{polarity}", dataset, f"{len(asked)} repeats", rate))
    return rows


def _of_polarities(
    questions: Mapping[tuple[str, str, str], list[str]], dataset: str, verdicts: Mapping[str, Verdicts]
) -> list[Row]:
    first = {key: labels[0] for key, labels in questions.items() if labels[0] in verdicts}
    rows = []
    for (one, label), (other, other_label) in combinations(first.items(), 2):
        if one[:2] == other[:2]:
            a, b = verdicts[label], verdicts[other_label]
            both = (a >= 0) & (b >= 0)
            row = _row(f"{one[0]}@{one[1]}", dataset, f"{one[2]} / {other[2]}", disagreement(a, b))
            rows.append({**row, "fake_first": called_fake(a[both]).value, "fake_second": called_fake(b[both]).value})
    return rows


def _row(model: str, dataset: str, between: str, rate: Rate) -> Row:
    return {
        "model": model,
        "dataset": dataset,
        "between": between,
        "rate": rate.value,
        "fake_first": None,
        "fake_second": None,
        "n": rate.n,
        "n_missing": rate.n_missing,
    }
