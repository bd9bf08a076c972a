"""What a person sees in the terminal: progress on stderr, tables on stdout."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from fdr_bench.store import Row

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


TEXT_COLUMNS = {
    "note",
    "title",
    "reason",
    "paper",
    "presets",
    "package",
    "source",
    "value",
    "view",
    "verdict",
    "better",
    "set",
    "not",
    "file",
    "how",
}


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table to stdout; without a terminal as wide as it needs to be, so that nothing is cut in a log."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=240)
    if title:  # apart, for a table would break it at its own width
        console.print(Text(plain(title), style="bold"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = index > 0 and column.split()[0] not in TEXT_COLUMNS
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("–" if cell is None else plain(str(cell))) for cell in row))
    console.print(table)


# JSON escapes the first 32 controls by itself. These a terminal obeys as well, and lone surrogates no stream can write.
_OBEYED = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def print_json(content: object) -> None:
    """Print JSON to stdout. What a terminal would obey is escaped, which changes nothing for who parses it."""
    text = json.dumps(content, ensure_ascii=False, indent=1)
    sys.stdout.write(_OBEYED.sub(lambda match: f"\\u{ord(match.group()):04x}", text) + "\n")


_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f]")


def plain(text: str) -> str:
    """Return text with what a terminal would obey shown as \ufffd."""
    return _CONTROLS.sub("\ufffd", _OBEYED.sub("\ufffd", text))


def say(message: str) -> None:
    """Tell the person something on stderr."""
    sys.stderr.write(message + "\n")


class Bars:
    """Progress of a run: a bar a dataset with images/s and time left, and beneath it each model's own speed.

    Without a terminal a line every ten seconds.
    """

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._done: dict[str, list[int]] = {}
        self._failed: dict[str, int] = {}
        self._speed: dict[str, list[float]] = {}
        self._told = time.monotonic()

    def start(self, dataset: str, models: Sequence[str], total: int, done: int) -> None:
        """Show the dataset's bar."""
        self._done[dataset], self._failed[dataset] = [done, total], 0
        self._speed = {}
        if not sys.stderr.isatty():
            note = f", {done} done earlier" if done else ""
            say(f"{dataset}: {total} samples{note}, {len(models)} models")
            return
        if self._bars is None:
            self._bars = _make_bars()
            self._bars.start()
        self._tasks[dataset] = self._bars.add_task(dataset, total=total, completed=done, note="")

    def advance(self, dataset: str, samples: int, failures: int, seconds: Mapping[str, float]) -> None:
        """Move the bar."""
        self._done[dataset][0] += samples
        self._failed[dataset] += failures
        for model, spent in seconds.items():
            entry = self._speed.setdefault(model, [0.0, 0.0])
            entry[0] += samples
            entry[1] += spent
        speeds = "  ".join(f"{model} {n / spent:.0f}/s" for model, (n, spent) in self._speed.items() if spent)
        failed = f"{self._failed[dataset]} failed  " if self._failed[dataset] else ""
        if self._bars is not None:
            self._bars.update(self._tasks[dataset], advance=samples, note=failed + speeds)
        elif time.monotonic() - self._told > 10:
            self._told = time.monotonic()
            done, total = self._done[dataset]
            say(f"{dataset}: {done} of {total}  {failed}{speeds}")

    def finish(self, dataset: str) -> None:
        """Leave the full bar standing."""
        if self._bars is not None:
            self._bars.refresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._bars is not None:
            self._bars.stop()


def _make_bars() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TaskProgressColumn(show_speed=True),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        refresh_per_second=4,
    )


Table = tuple[str, list[str], list[list[str]]]
"""A title, the columns, the rows."""


def inspection_tables(facts: Mapping[str, Any]) -> list[Table]:
    """Return what `data.inspect.inspect_dataset` found as tables: generators, files, duplicates, shortcuts, notes."""
    title = f"{facts['name']}: {facts['real']} real, {facts['fake']} fake, fingerprint {facts['fingerprint'][:16]}"
    generators = [[row["generator"] or "(none)", str(row["real"]), str(row["fake"])] for row in facts["generators"]]
    tables: list[Table] = [(title, ["generator", "real", "fake"], generators)]
    if files := facts["files"]:
        sides = {label: files[label] for label in ("real", "fake") if files.get(label)}
        rows = [["formats", *(_counts(side["formats"]) for side in sides.values())]]
        rows += [["sizes", *(_counts(side["sizes"]) for side in sides.values())]]
        for name in ("width", "height", "bytes"):
            rows.append([name, *("{min:,} – {median:,} – {max:,}".format(**side[name]) for side in sides.values())])
        tables.append(("files (least – median – most)", ["", *(f"value of {label}" for label in sides)], rows))
    copies = facts["duplicates"]
    found = f"{copies['groups']} groups of identical files ({copies['images']} images)"
    crossing = f"{copies['across_labels']} across labels, {copies['across_generators']} across generators"
    rows = [["cannot be decoded", str(facts["failures"]["count"])], ["duplicates", f"{found}; {crossing}"]]
    rows += [["", f"{each['id']}: {each['reason']}"] for each in facts["failures"]["examples"]]
    rows += [["note", note] for note in facts["notes"]]
    tables.append(("what to know", ["", "value"], rows))
    if facts["shortcuts"]:
        best = [[name, f"{100 * value:.1f}"] for name, value in facts["shortcuts"].items()]
        tables.append(
            ("balanced accuracy of one file property alone, at its best (50 is blind)", ["property", "%"], best)
        )
    return tables


def _counts(counts: Mapping[str, int]) -> str:
    shown = [f"{name} ({count})" for name, count in list(counts.items())[:4]]
    return ", ".join(shown + ([f"{len(counts) - 4} more"] if len(counts) > 4 else []))


def result_tables(manifest: Mapping[str, Any], scores: Iterable[Row]) -> list[Table]:
    """Return per dataset (title, columns, rows) of the results: one row a model, the best balanced accuracy first."""
    cells = {(row["model"], row["dataset"], row["slice"], row["metric"]): row for row in scores}
    tables = []
    for dataset, facts in manifest["datasets"].items():
        columns = ["model", "ACC", "AP", "real ACC", "fake ACC", "seen gen.", "unseen", "failed", "n", "images/s"]
        forced = {model: cells.get((model, dataset, "all", "forced_score_rate")) for model in manifest["models"]}
        shows_forced = any(score and score["value"] for score in forced.values())
        if shows_forced:
            columns.insert(columns.index("n"), "forced %")
        ranked = []
        for model, entry in manifest["models"].items():
            acc = cells.get((model, dataset, "all", "acc"))
            if acc is None:
                continue
            seen, unseen = _seen_and_unseen(model, dataset, entry, facts["generators"], cells)
            numbers = [_number(cells.get((model, dataset, "all", name))) for name in ("ap", "real_acc", "fake_acc")]
            speed = entry.get("images_per_second")
            row = [
                model,
                _number(acc, interval=True),
                *numbers,
                seen,
                unseen,
                str(acc["n_missing"]),
                *([_number(forced[model])] if shows_forced else []),
                str(acc["n"]),
                f"{speed:.0f}" if speed else "–",
            ]
            rank = cells.get((model, dataset, "all", "balanced_acc"), acc)["value"]
            ranked.append((entry["kind"] == "set baseline", -(rank if rank is not None else -1), row))
        title = f"{dataset}: {facts['n_real']} real, {facts['n_fake']} fake, {len(facts['generators'])} generators"
        tables.append((title, columns, [row for _, _, row in sorted(ranked, key=lambda each: each[:2])]))
        tables += _reasoning_table(dataset, cells)
    return tables


REASONING = {
    "BLEU-1": "bleu1@nltk-split",
    "ROUGE-L": "rougeL@stem",
    "CSS": "css@minilm-l6",
    "attributes": "attribute_f1@phrase+minilm-l6",
    "grounded": "grounded_f1@scenes",
    "hallucinations": "hallucination@scenes",
    "no reasoning": "reasoning_failure_rate",
}


def _reasoning_table(dataset: str, cells: Mapping[tuple[str, str, str, str], Row]) -> list[Table]:
    """Return the table of reasoning, models before the texts that no image went into; none where no model reasons."""
    first = REASONING["BLEU-1"]
    givers = [model for model, of, part, metric in cells if (of, part, metric) == (dataset, "all", first)]
    rows = []
    for giver in givers:
        numbers = [_number(cells.get((giver, dataset, "all", name))) for name in REASONING.values()]
        rows.append([giver, *numbers, str(cells[giver, dataset, "all", first]["n"])])
    return [(f"{dataset}: reasoning, official reading", ["model", *REASONING, "n"], rows)] if rows else []


def _number(score: Row | None, *, interval: bool = False) -> str:
    if score is None or score["value"] is None:
        return "–"
    text = f"{100 * score['value']:.1f}"
    if interval and score["interval"]:
        text += f" [{100 * score['interval']['low']:.1f}, {100 * score['interval']['high']:.1f}]"
    return text


def _seen_and_unseen(
    model: str, dataset: str, entry: Row, generators: Sequence[str], cells: Mapping[tuple[str, str, str, str], Row]
) -> tuple[str, str]:
    """Return the mean accuracy on generators that the model was trained on, and on the others."""
    trained = set((entry["trained_on"] or {}).get("generators", ()))
    groups: tuple[list[float], list[float]] = ([], [])
    for generator in generators:
        score = cells.get((model, dataset, f"generator:{generator}", "acc"))
        if score and score["value"] is not None:
            groups[generator not in trained].append(score["value"])
    seen, unseen = (f"{100 * sum(group) / len(group):.1f}" if group else "–" for group in groups)
    return (seen, unseen) if trained else ("–", "–")
