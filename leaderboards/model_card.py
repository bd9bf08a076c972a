"""A snippet for a model's card: its numbers as the metadata that model hubs read, and as tables for people.

The front matter is the `model-index` of Hugging Face's model cards. Names come from files that others wrote: in the
metadata they are quoted, in the tables escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from leaderboards.columns import Column
from leaderboards.exports import markdown
from leaderboards.formats import DASH, main, span
from leaderboards.load import Run
from leaderboards.pages import ModelPage, Part
from leaderboards.tables import Cell

TYPES = {"acc": "accuracy", "ap": "average_precision", "balanced_acc": "balanced_accuracy"}
"""What a hub calls a metric, where it has a name of its own for it."""


def model_card(page: ModelPage, runs: Sequence[Run]) -> str:
    """Return the snippet of one model: the metadata of every defined metric, then a table a dataset and run.

    Metadata values are shares; a metric without a value stands in the tables alone, with its reason.
    """
    provenance = {run.name: dict(run.facts) for run in runs}
    return "\n".join([*_metadata(page), "", "## Evaluation", *_tables(page, provenance)]) + "\n"


def _metadata(page: ModelPage) -> Iterator[str]:
    yield from ("---", "model-index:", f"- name: {_quoted(page.name)}", "  results:")
    for part in page.parts:
        known = [(column, cell) for column, cell in _measured(part) if cell.value is not None]
        if not known:
            continue
        yield from ("  - task:", "      type: image-classification", "      name: Detection of generated images")
        yield from ("    dataset:", f"      type: {_quoted(part.dataset.name)}", f"      name: {_quoted(part.title)}")
        if part.dataset.fingerprint:
            yield f"      revision: {_quoted(part.dataset.fingerprint)}"
        yield "    metrics:"
        for column, cell in known:
            yield f"    - type: {_quoted(TYPES.get(column.key, column.key))}"
            yield f"      name: {_quoted(column.title)}"
            yield f"      value: {cell.value!r}"
    yield "---"


def _tables(page: ModelPage, provenance: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for part in page.parts:
        yield from _table(part, provenance.get(part.by, {}))


def _table(part: Part, run: Mapping[str, str]) -> Iterator[str]:
    facts = part.dataset
    yield from ("", f"### {markdown(part.title)}", "")
    by = f"FDR-Bench {markdown(run.get('Version', ''))}".rstrip()
    commit = f", commit {markdown(run['Commit'][:12])}" if run.get("Commit") else ""
    counted = facts.n_real is not None and facts.n_fake is not None
    images = f", on {facts.n_real:,} real and {facts.n_fake:,} fake images" if counted else ""
    content = f", content {markdown(facts.fingerprint[:12])}" if facts.fingerprint else ""
    yield f"Measured with {by}{commit}{images}{content}."
    if part.facts.trained_on:
        trained = part.facts.trained_on
        listed = f": {', '.join(map(markdown, trained.generators))}" if trained.generators else ""
        yield f"Trained on {markdown(trained.dataset)}{listed}."
    yield from ("", "| Metric | Value | Interval | n | No answer |", "| --- | ---: | ---: | ---: | ---: |")
    yield from (_row(column, cell) for column, cell in _measured(part))
    if part.generators:
        heads = [markdown(metric.title) for metric in part.metrics]
        yield from ("", f"| Generator | {' | '.join(heads)} |", "| --- " + "| ---: " * len(heads) + "|")
        for each in part.generators:
            cells = [main(cell) + ("†" if cell.trained == "here" else "") for cell in each.cells]
            yield f"| {markdown(each.name)} | {' | '.join(cells)} |"
        if any(cell.trained == "here" for each in part.generators for cell in each.cells):
            yield from ("", "† trained on this generator.")


def _measured(part: Part) -> Iterator[tuple[Column, Cell]]:
    """Yield the columns that are shares; parameters and speed say nothing of the answers."""
    return ((column, cell) for column, cell in part.scores if column.form in ("percent", "failures"))


def _row(column: Column, cell: Cell) -> str:
    if cell.value is None:
        why = f" ({markdown(cell.reason)})" if cell.reason else ""
        return f"| {markdown(column.title)} | {DASH}{why} | | | |"
    n = DASH if cell.n is None else f"{cell.n:,}"
    return f"| {markdown(column.title)} | {main(cell)} | {span(cell) or DASH} | {n} | {cell.n_missing:,} |"


def _quoted(words: str) -> str:
    """Return a text as a double-quoted scalar, which both JSON and YAML read alike."""
    quoted = json.dumps(words, ensure_ascii=False)
    return quoted.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("\x85", "\\u0085")
