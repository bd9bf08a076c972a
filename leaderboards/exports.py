"""The tables of a board as CSV, Markdown, LaTeX and JSON.

Names and reasons come from files that others wrote: they are escaped for each format, and a CSV cell that a spreadsheet
would take for a formula gets an apostrophe in front.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence

from leaderboards.formats import DASH, count, main, percent, span
from leaderboards.load import Run
from leaderboards.reproduction import Quote
from leaderboards.tables import Cell, Row, Table

Field = str | float | int | None


def table_csv(table: Table) -> str:
    """Return a table with all digits: value, low, high, n, missing and reason of each column.

    What papers print of a model stands beneath it, of the kind "printed", its source where others have their run.
    """
    head: list[Field] = ["model", "run", "kind", "trained_on", *(["rank", "rank shared"] if table.ranked else [])]
    for column in table.columns:
        parts = ("", " low", " high", " n", " missing", " reason") if column.form in ("percent", "failures") else ("",)
        head += [column.key + part for part in parts]
    lines = [head]
    for row in (*table.detectors, *table.baselines):
        line: list[Field] = [row.model.name, row.run, "baseline" if row.model.baseline else "detector", _trained(row)]
        line += _rank_fields(row) if table.ranked else []
        for column, cell in zip(table.columns, row.cells, strict=True):
            line.append(cell.value)
            if column.form in ("percent", "failures"):
                line += [cell.low, cell.high, cell.n, cell.n_missing, cell.reason]
        lines.append(line)
        lines += [_quote_line(row, quote, table) for quote in row.quotes]
    return _csv(lines)


def _quote_line(row: Row, quote: Quote, table: Table) -> list[Field]:
    line: list[Field] = [row.model.name, quote.source, "printed", f"{quote.method}; weights: {quote.weights}"]
    line += [None, None] if table.ranked else []
    for column, cell in zip(table.columns, quote.cells, strict=True):
        line.append(round(cell.printed / 100, 8) if cell else None)
        line += [None] * (5 if column.form in ("percent", "failures") else 0)
    return line


def _rank_fields(row: Row) -> list[Field]:
    return [row.standing.place, "; ".join(row.standing.shared)] if row.standing else [None, None]


def table_json(table: Table) -> str:
    """Return a table as JSON: what each column means, and by row its cells with value, interval, n and reason.

    Values are shares, parameters and images a second as they are; undefined is null with a reason.
    """
    columns = [{"key": c.key, "title": c.title, "definition": c.definition, "higher_is_better": c.higher_is_better}
               for c in table.columns]  # fmt: skip
    rows = [
        {
            "model": row.model.name, "run": row.run, "kind": "baseline" if row.model.baseline else "detector",
            "trained_on": _trained(row),
            **({"rank": row.standing._asdict() if row.standing else None} if table.ranked else {}),
            "cells": {c.key: _plain(cell) for c, cell in zip(table.columns, row.cells, strict=True)},
        }
        for row in (*table.detectors, *table.baselines)
    ]  # fmt: skip
    told = {"dataset": table.dataset, "title": table.title, "metric": table.metric.key, "columns": columns}
    return json.dumps(told | {"rows": rows}, indent=1, ensure_ascii=False) + "\n"


def _plain(cell: Cell) -> dict[str, Field]:
    """Return what a cell holds: always its value, of the rest what is known."""
    names = ("low", "high", "level", "n", "reason", "trained", "detail")
    known = {name: getattr(cell, name) for name in names if getattr(cell, name) is not None}
    missing = {"n_missing": cell.n_missing} if cell.n is not None else {}
    return {"value": cell.value, **known, **missing}


def scores_csv(runs: Sequence[Run]) -> str:
    """Return every score of every run, one a line: all slices and metrics, those that the board does not show too."""
    head: list[Field] = ["run", "model", "dataset", "slice", "metric", "value", "low", "high", "level", "method"]
    lines = [[*head, "n", "n_missing", "reason"]]
    for run in runs:
        for s in run.scores:
            interval: Sequence[Field] = s.interval or (None, None, None, None)
            lines.append([run.name, s.model, s.dataset, s.slice, s.metric, s.value, *interval])
            lines[-1] += [s.n, s.n_missing, s.reason]
    return _csv(lines)


def _trained(row: Row) -> str | None:
    trained = row.model.trained_on
    return f"{trained.dataset}: {', '.join(trained.generators)}" if trained else None


def _csv(lines: Iterable[Sequence[Field]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([[_cell_text(field) for field in line] for line in lines])
    return out.getvalue()


def _cell_text(field: Field) -> str:
    if field is None:
        return ""
    if not isinstance(field, str):
        return repr(field)
    return f"'{field}" if field.startswith(("=", "+", "-", "@", "\t", "\n")) else field


def table_markdown(table: Table) -> str:
    """Return a pipe table: percent with intervals, best bold, second underlined, n in the head, reasons below."""
    head = [*_firsts(table), *(_head(c.title, c.n, markdown) for c in table.columns)]
    lines = [f"**{markdown(table.dataset)}: {markdown(table.title)}**", ""]
    left = len(_firsts(table))
    lines += ["| " + " | ".join(head) + " |", "| --- " * left + "| ---: " * (len(head) - left) + "|"]
    for row in (*table.detectors, *table.baselines):
        name = f"*{markdown(row.model.name)}*" if row.model.baseline else markdown(row.model.name)
        first = [*([_rank(row)] if table.ranked else []), name, *([markdown(row.run)] if table.several_runs else [])]
        cells = [_markdown_cell(cell, column.n) for cell, column in zip(row.cells, table.columns, strict=True)]
        lines.append("| " + " | ".join([*first, *cells]) + " |")
    notes = [f"{number}. {markdown(note)}" for number, note in enumerate(table.notes, 1)]
    legend = ["", "Best bold, second underlined; baselines that see no pixel in italics. † trained on this generator."]
    legend += [TIES] if table.ranked else []
    return "\n".join([*lines, *legend, *([""] if notes else []), *notes]) + "\n"


TIES = "= shares its rank: no difference beyond chance (McNemar's exact test on the same images, Holm over all pairs)."


def _firsts(table: Table) -> list[str]:
    return [*(["Rank"] if table.ranked else []), "Model", *(["Run"] if table.several_runs else [])]


def _rank(row: Row) -> str:
    """Return "2" or, where it is shared, "2="; empty for a row that is not ranked."""
    return f"{row.standing.place}{'=' if row.standing.shared else ''}" if row.standing else ""


def _head(title: str, n: int | None, escape: object) -> str:
    written = escape(title) if callable(escape) else title
    return f"{written} (n={n})" if n is not None else str(written)


def _markdown_cell(cell: Cell, common_n: int | None) -> str:
    if cell.value is None:
        return f"{DASH} [{cell.note}]" if cell.note else DASH
    number = main(cell)
    if cell.place == "best":
        number = f"**{number}**"
    if cell.place == "second":
        number = f"<u>{number}</u>"
    rest = [f"({interval})" if (interval := span(cell)) else "", _own_n(cell, common_n)]
    return " ".join([number + ("†" if cell.trained == "here" else ""), *(part for part in rest if part)])


def _own_n(cell: Cell, common_n: int | None) -> str:
    return f"n={cell.n}" if cell.n is not None and cell.n != common_n else ""


def markdown(text: str) -> str:
    """Escape text for a Markdown table cell; no markup of either Markdown or HTML is left."""
    plain = re.sub(r"\s+", " ", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#!|~:])", r"\\\1", plain)


def table_latex(table: Table) -> str:
    """Return a booktabs table: percent with intervals as ±, best bold, second underlined."""
    columns = "l" * len(_firsts(table)) + "r" * len(table.columns)
    head = [*_firsts(table), *(_head(c.title, c.n, latex) for c in table.columns)]
    lines = ["% needs \\usepackage{booktabs}", "\\begin{table}", "  \\centering", f"  \\begin{{tabular}}{{{columns}}}"]
    lines += ["    \\toprule", "    " + " & ".join(head) + " \\\\", "    \\midrule"]
    lines += [_latex_row(row, table) for row in table.detectors]
    if table.detectors and table.baselines:
        lines.append("    \\midrule")
    lines += [_latex_row(row, table) for row in table.baselines]
    caption = f"{latex(table.dataset)}: {latex(table.title)}, in percent."
    caption += f" {latex(TIES)}" if table.ranked else ""
    notes = " ".join(f"[{number}] {latex(note)}." for number, note in enumerate(table.notes, 1))
    dagger = " $\\dagger$: trained on this generator." if any(c.trained == "here" for c in _all(table)) else ""
    lines += ["    \\bottomrule", "  \\end{tabular}", f"  \\caption{{{caption}{dagger} {notes}".rstrip() + "}"]
    return "\n".join([*lines, "\\end{table}"]) + "\n"


def _all(table: Table) -> Iterable[Cell]:
    return (cell for row in (*table.detectors, *table.baselines) for cell in row.cells)


def _latex_row(row: Row, table: Table) -> str:
    name = f"\\textit{{{latex(row.model.name)}}}" if row.model.baseline else latex(row.model.name)
    cells = [_latex_cell(cell, column.n) for cell, column in zip(row.cells, table.columns, strict=True)]
    first = [_rank(row)] if table.ranked else []
    return "    " + " & ".join([*first, name, *([latex(row.run)] if table.several_runs else []), *cells]) + " \\\\"


def _latex_cell(cell: Cell, common_n: int | None) -> str:
    if cell.value is None:
        return f"--$^{{[{cell.note}]}}$" if cell.note else "--"
    if cell.form == "count":
        return count(cell.value).replace(" ", "\\,")
    number = main(cell).replace(",", "{,}")
    if cell.place == "best":
        number = f"\\mathbf{{{number}}}"
    if cell.place == "second":
        number = f"\\underline{{{number}}}"
    own = f" {{\\scriptsize $n={cell.n}$}}" if _own_n(cell, common_n) else ""
    dagger = "{}^{\\dagger}" if cell.trained == "here" else ""
    return f"${number}{_plus_minus(cell)}{dagger}${own}"


def _plus_minus(cell: Cell) -> str:
    """Return ± where the interval prints alike on both sides, separate distances otherwise."""
    if cell.value is None or cell.low is None or cell.high is None:
        return ""
    up, down = percent(cell.high - cell.value), percent(cell.value - cell.low)
    return f" \\pm {up}" if up == down else f"\\,{{}}^{{+{up}}}_{{-{down}}}"


def latex(text: str) -> str:
    """Escape text for LaTeX: nothing in it can act as a command."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--"}
    special |= {character: "\\" + character for character in "{}$&#%_"}
    return "".join(special.get(character, character) for character in re.sub(r"\s+", " ", text))
