"""Write what a board shows of single samples: truth, every model's answer, what the words claim, a small picture.

    RUN/datasets/<dataset>/examples.jsonl    one row a shown sample, in the order of samples.jsonl
    RUN/datasets/<dataset>/thumbnails/       see `thumbnails`

A row holds id, label, generator, category, caption and
    truth       the annotated attributes, by MMFR's names; of a set without annotation those that its reference claims
    attributes  the annotated sentences by name, whatever the names
    reference   the reference reasoning, in pieces
    picture     the file in thumbnails/, or `no_picture`, the reason; `regions` are files by attribute
    answers     by model: call ("fake", "real" or absent), score, pieces, claims, error, problem
Pieces are [text, attribute or null]: put together they are the text, and a piece with an attribute claims it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fdr_bench.answered_sets import AnsweredSet, Plan, read_plan, read_set
from fdr_bench.data.sampling import sample_evenly
from fdr_bench.metrics.claims import ATTRIBUTES, Claim, annotated, claims
from fdr_bench.store import Row, read_manifest, read_rows, write_rows
from fdr_bench.thumbnails import Picture, write_thumbnails

if TYPE_CHECKING:
    from fdr_bench.metrics.sentences import SentenceEncoder

MOST = 5000
"""Samples that a gallery shows of one set unless another number is asked for."""
LONGEST = 6000
"""Characters of one text that are shown; the rest is cut off, visibly."""
NAMES = {attribute: name for name, attribute in ATTRIBUTES.items()}
Pieces = list[list[str | None]]


class _Labelled(NamedTuple):
    id: str
    label: str
    generator: str | None
    line: int


def write_examples(run: Path, *, most: int = MOST) -> dict[str, int]:
    """Write examples.jsonl and missing thumbnails of every set of a run; return the number of rows by dataset.

    Of a set with more than `most` samples as many are shown, evenly over generators and classes, the same in every
    run of that set. Images that are gone, or not what the run saw, are said to be so in their row. 0 writes nothing.
    Raises `RunError` where the folder is no run or a line of it is damaged.
    """
    if most < 1:
        return {}
    plan, manifest = read_plan(run), read_manifest(run)
    written = {}
    for dataset in plan.fingerprints:
        models = [name for name in plan.thresholds if not plan.skipped & {(name, None), (name, dataset)}]
        if not models:
            continue
        this = read_set(run, plan, dataset, models)
        samples = list(read_rows(this.samples))
        lines = _chosen(samples, most)
        ids = [str(samples[line]["id"]) for line in lines]
        pictures = write_thumbnails(run, dataset, ids, **_source(manifest, dataset))
        rows = _rows(run, plan, this, [samples[line] for line in lines], lines, pictures)
        write_rows(run / "datasets" / dataset / "examples.jsonl", rows)
        written[dataset] = len(lines)
    return written


def _chosen(samples: Sequence[Row], most: int) -> list[int]:
    if len(samples) <= most:
        return list(range(len(samples)))
    labelled = [_Labelled(row["id"], row["label"], row.get("generator"), line) for line, row in enumerate(samples)]
    return sorted(each.line for each in sample_evenly(labelled, most))


def _source(manifest: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    """Return where the images of a set lay when it was run."""
    spec = manifest["datasets"][dataset].get("spec")
    asked = manifest.get("asked") or (manifest.get("spec") or {}).get("asked") or {}
    folder = asked.get("folder") if isinstance(asked, Mapping) else None
    return {"spec": str(spec or ""), "start": folder if isinstance(folder, str) else None}


def _rows(
    run: Path,
    plan: Plan,
    this: AnsweredSet,
    samples: Sequence[Row],
    lines: Sequence[int],
    pictures: Mapping[str, Picture],
) -> Iterable[Row]:
    place = np.argsort(this.order)[list(lines)].tolist()  # where each chosen line stands in the arrays of answers
    answers = {model: _answers(run, plan, this, model, samples, place) for model in this.answers}
    reasons = any("reasoning" in answer for given in answers.values() for answer in given if answer)
    encoder = _encoder() if reasons else None
    for given in answers.values():
        _mark(given, encoder)
    references = [row.get("reasoning") or "" for row in samples]
    claimed = claims(references, encoder)
    for number, row in enumerate(samples):
        truth = [NAMES[attribute] for attribute in annotated(row.get("attributes"))]
        picture = pictures[str(row["id"])]
        yield {
            **{name: row.get(name) for name in ("id", "label", "generator", "category", "caption", "attributes")},
            "truth": truth or _names(claimed[number]),
            "reference": _pieces(references[number], claimed[number]) or None,
            "picture": picture.file,
            "no_picture": picture.reason,
            "regions": dict(picture.regions) or None,
            "size": picture.size and list(picture.size),
            "answers": {model: given[number] for model, given in answers.items() if given[number]},
        }


def _answers(
    run: Path, plan: Plan, this: AnsweredSet, model: str, samples: Sequence[Row], place: Sequence[int]
) -> list[Row]:
    """Return a model's answer to each of the samples; an empty one where it was not reached."""
    given = this.answers[model]
    called, answered = given.called(plan.thresholds[model]), given.answered
    wanted = {row["id"] for row in samples}
    path = run / model / this.dataset / "predictions.jsonl"
    rows = {row["id"]: row for row in read_rows(path) if row["id"] in wanted} if path.is_file() else {}
    found: list[Row] = []
    for sample, at in zip(samples, place, strict=True):
        if not given.reached[at]:
            found.append({})
            continue
        row, score = rows[sample["id"]], float(given.score[at])
        answer = {
            "call": ("fake" if called[at] else "real") if answered[at] else None,
            "score": None if np.isnan(score) else score,
            "forced": True if given.forced[at] else None,
            **{name: row.get(name) for name in ("reasoning", "error", "problem")},
        }
        if not row.get("reasoning"):
            answer["raw"] = row.get("raw")
        found.append({name: value for name, value in answer.items() if value is not None})
    return found


def _mark(given: Sequence[Row], encoder: SentenceEncoder | None) -> None:
    """Put the pieces of each answer's text, and what it claims, in the place of the text."""
    texts = [str(answer.pop("reasoning", "")) for answer in given]
    for answer, text, found in zip(given, texts, claims(texts, encoder), strict=True):
        raw = str(answer.pop("raw", ""))
        if text:
            answer |= {"pieces": _pieces(text, found), "claims": _names(found)}
        elif raw:
            answer["pieces"] = _pieces(raw, [])


def _names(found: Sequence[Claim]) -> list[str]:
    return list(dict.fromkeys(NAMES[claim.attribute] for claim in found))


def _pieces(text: str, found: Sequence[Claim]) -> Pieces:
    """Cut a text where its claims begin and end."""
    pieces: Pieces = []
    end = 0
    for claim in found:
        start = text.find(claim.sentence, end)
        if start < 0 or start + len(claim.sentence) > LONGEST:
            break
        pieces += [[text[end:start], None]] if start > end else []
        pieces.append([claim.sentence, NAMES[claim.attribute]])
        end = start + len(claim.sentence)
    rest = text[end:LONGEST] + (" […]" if len(text) > LONGEST else "")
    return [*pieces, [rest, None]] if rest else pieces


def _encoder() -> SentenceEncoder | None:
    """Return the encoder that scoring uses, or None where it cannot be had: key phrases alone decide then."""
    from fdr_bench.errors import WeightsError
    from fdr_bench.metrics.sentences import minilm

    try:
        return minilm()
    except WeightsError:
        return None
