"""Write down what a check found: a table for people, JSON, JUnit XML for a CI server, Markdown for a pull request.

Names come from runs and references that others made: each output escapes them in its own way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from fdr_bench.check.findings import STATUSES, Finding, Flips, Report

MANY = 20  # rows of one kind that a table or a summary for people holds
FLIPPED = 10  # samples that a summary names
SIGNS = {"regressed": "✗", "incomparable": "?", "improved": "↑", "holds": "✓"}
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def as_json(report: Report) -> dict[str, Any]:
    """Return a report as plain values; `exit_code` is the command's."""
    return {
        "verdict": report.verdict,
        "exit_code": report.exit_code,
        "run": report.run,
        "reference": report.reference,
        "settings": report.settings._asdict(),
        "counts": {status: report.count(status) for status in STATUSES},
        "findings": [
            asdict(finding) | {"interval": finding.interval._asdict() if finding.interval else None}
            for finding in report.findings
        ],
        "flips": [each._asdict() for each in report.flips],
        "notes": list(report.notes),
    }


def headline(report: Report) -> str:
    """Return the verdict in one line: "regressed: 2 regressed, 14 hold (against reference.json)"."""
    words = {"regressed": "regressed", "incomparable": "not comparable", "improved": "improved", "holds": "hold"}
    counts = [f"{report.count(status)} {words[status]}" for status in STATUSES if report.count(status)]
    return f"{report.verdict}: {', '.join(counts) or 'nothing was compared'} (against {report.reference})"


COLUMNS = ("", "model", "metric", "before", "now", "difference", "tolerance", "p", "n", "note")


def rows(report: Report) -> list[list[str]]:
    """Return the cells of a table for people, in points, the worst first; a hundred things that hold are not listed."""
    shown: list[list[str]] = []
    for status in STATUSES:
        mine = [finding for finding in report.findings if finding.status == status]
        shown += [_row(finding) for finding in mine[: len(mine) if status == "regressed" else MANY]]
        if len(mine) > MANY and status != "regressed":
            shown.append(["", "", "", "", "", "", "", "", "", f"and {len(mine) - MANY} more: see --json"])
    return shown


def _row(finding: Finding) -> list[str]:
    part = "" if finding.slice in ("all", "–") else f", {finding.slice}"
    where = finding.model if finding.dataset == "–" else f"{finding.model} on {finding.dataset}"
    difference = _points(finding.difference, signed=True)
    if finding.interval:
        low, high = finding.interval.low, finding.interval.high
        difference += f" [{_points(low, signed=True)}, {_points(high, signed=True)}]"
    return [
        f"{SIGNS[finding.status]} {finding.status}",
        where,
        f"{finding.metric}{part}",
        _points(finding.before),
        _points(finding.now),
        difference,
        _points(finding.tolerance),
        "–" if finding.p_value is None else f"{finding.p_value:.2g}",
        str(finding.n) if finding.n else "–",
        finding.note,
    ]


def _points(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return "–"
    return f"{100 * value:+.2f}" if signed else f"{100 * value:.2f}"


def turned(flips: Flips) -> str:
    """Return in one line how many answers turned, and the first samples that are wrong now."""
    first = ", ".join(flips.now_wrong[:FLIPPED])
    more = f" and {len(flips.now_wrong) - FLIPPED} more" if len(flips.now_wrong) > FLIPPED else ""
    wrong, right = len(flips.now_wrong), len(flips.now_right)
    return f"{flips.model} on {flips.dataset}: {wrong} now wrong, {right} now right" + (
        f"; now wrong: {first}{more}" if wrong else ""
    )


# ---------------------------------------------------------------- Markdown


def markdown(report: Report) -> str:
    """Return a summary for a pull request. What ran says nothing that the page would obey."""
    lines = [f"### fdr-bench check: {_plain(report.verdict)}", "", _plain(headline(report)), ""]
    mine = [finding for finding in report.findings if finding.status != "holds"]
    if mine:
        lines += [*_table([_row(finding) for finding in mine[: 5 * MANY]]), ""]
        if len(mine) > 5 * MANY:
            lines += [f"{len(mine) - 5 * MANY} more are in the JSON.", ""]
    held = [finding for finding in report.findings if finding.status == "holds"]
    if held:
        lines += [f"<details><summary>{len(held)} hold</summary>", ""]
        lines += [*_table([_row(finding) for finding in held[: 5 * MANY]]), "", "</details>", ""]
    lines += [f"- {_plain(turned(each))}" for each in report.flips if each.now_wrong or each.now_right]
    lines += [f"- {_plain(note)}" for note in report.notes]
    level, resamples = report.settings.level, report.settings.resamples
    lines += ["", f"Numbers in points. Intervals {level:.0%}, {resamples} paired resamples; p by Holm's method."]
    return "\n".join(lines) + "\n"


def _table(cells: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "| " + " | ".join("---" for _ in COLUMNS) + " |"
    for row in cells:
        yield "| " + " | ".join(_plain(cell) for cell in row) + " |"


def _plain(text: str) -> str:
    """Escape text for a Markdown page: no tag, link, mention, image, table cell or emphasis comes of it."""
    text = _OBEYED.sub("\ufffd", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_{}\[\]#|~$])", r"\\\1", text)
    return re.sub("[@:](?=\\w|/)|www(?=[.])", lambda found: f"{found.group()}<!-- -->", text, flags=re.IGNORECASE)


# ---------------------------------------------------------------- JUnit XML


def junit(report: Report) -> bytes:
    """Return JUnit XML: a suite a model and set, a case a comparison. Regressions fail, the incomparable are errors."""
    root = ElementTree.Element("testsuites", name="fdr-bench check")
    for model, dataset in dict.fromkeys((finding.model, finding.dataset) for finding in report.findings):
        mine = [each for each in report.findings if (each.model, each.dataset) == (model, dataset)]
        _count(ElementTree.SubElement(root, "testsuite", name=_xml(f"{model} on {dataset}")), mine, dataset)
    root.set("tests", str(len(report.findings)))
    root.set("failures", str(report.count("regressed")))
    root.set("errors", str(report.count("incomparable")))
    ElementTree.indent(root, " ")
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _count(suite: ElementTree.Element, findings: Sequence[Finding], dataset: str) -> None:
    suite.set("tests", str(len(findings)))
    suite.set("failures", str(sum(finding.status == "regressed" for finding in findings)))
    suite.set("errors", str(sum(finding.status == "incomparable" for finding in findings)))
    for finding in findings:
        name = _xml(f"{finding.metric} ({finding.slice})")
        case = ElementTree.SubElement(suite, "testcase", name=name, classname=_xml(f"{dataset}.{finding.model}"))
        text = _xml("  ".join(f"{column}: {cell}" for column, cell in zip(COLUMNS[3:], _row(finding)[3:], strict=True)))
        if finding.status in ("regressed", "incomparable"):
            kind = "failure" if finding.status == "regressed" else "error"
            message = _xml(finding.note or f"{finding.metric} is worse than the reference")
            ElementTree.SubElement(case, kind, message=message, type=finding.status).text = text
        else:
            ElementTree.SubElement(case, "system-out").text = text


def _xml(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
