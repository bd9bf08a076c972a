"""Rank detectors on one set so that those which chance cannot tell apart share a rank.

Every two are held against each other on the images that both reached, by McNemar's exact test of who is right (an
image without an answer is not right; identical bytes count once). The p-values of all pairs are corrected by Holm's
method together, so the chance that any two equal detectors are called different is at most `ALPHA`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdr_bench.answered_sets import Plan, read_plan
from fdr_bench.answers import Answers, Labels, contents, read_answers, read_labels
from fdr_bench.metrics.statistics import holm, mcnemar_p

if TYPE_CHECKING:
    import pyarrow

ALPHA = 0.05
Booleans = NDArray[np.bool_]


class Entrant(NamedTuple):
    """One model of one run."""

    run: Path
    model: str


class Rank(NamedTuple):
    """A detector's place: 1 + the number of detectors of better ranks.

    `shared` are the others of this place, `alike` those of another place that it cannot be told apart from either
    (the relation is not transitive); both are positions in the list that was ranked.
    """

    place: int
    shared: tuple[int, ...]
    alike: tuple[int, ...]


class _Marks(NamedTuple):
    """Which of a set's N images each of K detectors reached and has right."""

    reached: Booleans  # (K, N)
    right: Booleans  # (K, N) implies reached
    content: NDArray[np.int64]  # (N,) identical bytes share a number


def rank(entrants: Sequence[Entrant], dataset: str, *, alpha: float = ALPHA) -> list[Rank | None]:
    """Rank models by ACC strict on a set that all their runs have: the same samples in the same order.

    None for a model without predictions there, or of a run whose samples are others. Raises `RunError` where a run's
    files are damaged.
    """
    ranks: list[Rank | None] = [None] * len(entrants)
    kept, marks = _read(entrants, dataset)
    if marks is None:
        return ranks
    for place, found in zip(kept, ranks_of(marks.reached, marks.right, marks.content, alpha=alpha), strict=True):
        shared, alike = (tuple(kept[other] for other in others) for others in (found.shared, found.alike))
        ranks[place] = Rank(found.place, shared, alike)
    return ranks


def ranks_of(reached: Booleans, right: Booleans, content: NDArray[np.int64], *, alpha: float = ALPHA) -> list[Rank]:
    """Rank K detectors by their share of right answers, `reached, right: (K, N)`, `content: (N,)` numbers the bytes.

    From the best down, a detector joins the rank above it unless it differs significantly from one that has that rank:
    no two of one rank differ significantly. Raises `ValueError` where a detector reached no image.
    """
    if not reached.any(axis=1).all():
        raise ValueError("a detector that reached no image has no rank")
    accuracy = right.sum(axis=1) / reached.sum(axis=1)
    order = np.argsort(-accuracy, kind="stable").tolist()
    differ = pairwise_p(reached, right, content) <= alpha
    groups: list[list[int]] = []
    for each in order:
        if groups and not differ[each, groups[-1]].any():
            groups[-1].append(each)
        else:
            groups.append([each])
    ranks: dict[int, Rank] = {}
    place = 1
    for group in groups:
        for each in group:
            others = (other for other in order if other not in group and not differ[each, other])
            ranks[each] = Rank(place, tuple(other for other in group if other != each), tuple(others))
        place += len(group)
    return [ranks[each] for each in range(len(order))]


def pairwise_p(reached: Booleans, right: Booleans, content: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the p-value of every two detectors being equally often right, `(K, K)`, corrected by Holm; 1 on the
    diagonal. Arguments as of `ranks_of`.
    """
    once = np.unique(content, return_index=True)[1]  # identical bytes are one observation
    hit = right[:, once].astype(np.float32)  # counts up to 2^24 are exact in a product of these
    missed = (reached[:, once] & ~right[:, once]).astype(np.float32)
    only = (hit @ missed.T).astype(np.int64)  # (K, K) images that the first alone has right
    above = np.triu_indices(len(right), k=1)
    p_values = np.ones((len(right), len(right)))
    p_values[above] = holm(mcnemar_p(only[above], only.T[above]))
    return np.asarray(np.minimum(p_values, p_values.T))


def _read(entrants: Sequence[Entrant], dataset: str) -> tuple[list[int], _Marks | None]:
    """Return which entrants can be ranked, and their marks."""
    kept: list[int] = []
    rows: list[tuple[Booleans, Booleans]] = []
    content: NDArray[np.int64] | None = None
    first: Labels | None = None
    for run in dict.fromkeys(each.run for each in entrants):
        places = [place for place, each in enumerate(entrants) if each.run == run and _is_there(each, dataset)]
        labels = read_labels(run / "datasets" / dataset / "samples.jsonl") if places else None
        if labels is None or (first is not None and not _same(first, labels)):
            continue
        plan = read_plan(run)
        places = [place for place in places if entrants[place].model in plan.thresholds]
        answers, images = _answers(run, plan, dataset, labels, [entrants[place].model for place in places])
        if first is None:
            first, content = labels, contents(images, len(labels.fake))
        for place in places:
            model = entrants[place].model
            given = answers[model]
            if given.reached.any():
                right = given.answered & (given.called(plan.thresholds[model]) == labels.fake)
                kept.append(place)
                rows.append((given.reached, right))
    if content is None or not rows:
        return [], None
    reached, right = (np.stack(each) for each in zip(*rows, strict=True))
    return kept, _Marks(reached, right, content)


def _is_there(each: Entrant, dataset: str) -> bool:
    if any(name in ("", ".", "..") or "/" in name or "\\" in name for name in (each.model, dataset)):
        return False  # no name of a folder
    answers = each.run / each.model / dataset / "predictions.jsonl"
    return answers.is_file() and (each.run / "datasets" / dataset / "samples.jsonl").is_file()


def _same(first: Labels, other: Labels) -> bool:
    return first.ids.equals(other.ids) and bool((first.fake == other.fake).all())


def _answers(
    run: Path, plan: Plan, dataset: str, labels: Labels, models: Sequence[str]
) -> tuple[Mapping[str, Answers], Mapping[str, pyarrow.Array]]:
    answers, images = {}, {}
    for model in models:
        path = run / model / dataset / "predictions.jsonl"
        found, images[model] = read_answers(path, labels.ids, finished=plan.finished)
        answers[model] = replace(found, states_verdicts=model in plan.reasoning)
    return answers, images
