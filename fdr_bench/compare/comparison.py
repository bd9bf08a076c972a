"""Compare two runs on the images that both have: `fdr-bench compare A B`.

Either may name one model ("RUN::MODEL"); otherwise every model that both runs have is compared with itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdr_bench.answered_sets import AnsweredSet, Plan, read_plan
from fdr_bench.answered_texts import read_references
from fdr_bench.answers import Answers, contents, read_answers, read_labels
from fdr_bench.compare.paired import Paired, Sums, paired_detection, paired_reasoning, right_of
from fdr_bench.errors import ComparisonError, RunError, nearest
from fdr_bench.metrics import METRICS
from fdr_bench.metrics.resampling import cells
from fdr_bench.metrics.sliced import cells_of
from fdr_bench.metrics.statistics import holm
from fdr_bench.scored_slices import Settings, View

if TYPE_CHECKING:
    import pyarrow

NO_VALIDATION = "no validation run was given"
BY_GENERATOR = "acc@strict"
USUAL = Settings(1000, 0.95, 0)
METRICS_SHOWN = tuple(name for name in METRICS if name not in ("acc@validation", "forced_score_rate"))


class Side(NamedTuple):
    """One of the two that are compared: a run, and a model of it (None: each that the other has too)."""

    run: Path
    model: str | None = None


class Flip(NamedTuple):
    """A sample that one of two models has right and the other has not (an image without an answer is not right)."""

    id: str
    label: str
    generator: str | None
    first_right: bool
    first_score: float | None
    second_score: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compared:
    """Two models on one dataset. Differences are the second's value less the first's.

    `adjusted` are the p-values of ACC (strict) by generator, corrected by Holm's method for their number. `views` are
    both models' answers to the N common samples, `ids` and `images` (digests of the bytes, null where unknown) theirs;
    `runs` the folders.
    """

    first: str
    second: str
    dataset: str
    n: int
    n_only_first_run: int
    n_only_second_run: int
    rows: tuple[Paired, ...]
    adjusted: dict[str, float]
    flips: tuple[Flip, ...]
    runs: tuple[Path, Path]
    views: tuple[View, View]
    ids: tuple[str, ...]
    images: pyarrow.Array


def compare(first: Side, second: Side, *, settings: Settings = USUAL, threads: int = 1) -> list[Compared]:
    """Compare two runs, or two models, on every dataset that both have.

    Raises `ComparisonError` where they have no dataset, no model or no image in common, where each model in common was
    skipped in one of them, or where they saw other bytes.
    """
    plans = read_plan(first.run), read_plan(second.run)
    sets = [name for name in plans[0].fingerprints if name in plans[1].fingerprints]
    if not sets:
        has = " and ".join(", ".join(plan.fingerprints) or "none" for plan in plans)
        raise ComparisonError(f"the runs have no dataset in common: {has}")
    pairs = _pairs(first, second, plans)
    chosen = [
        (dataset, pair)
        for dataset in sets
        for pair in pairs
        if all(not plan.skipped & {(name, None), (name, dataset)} for plan, name in zip(plans, pair, strict=True))
    ]
    if not chosen:
        names = ", ".join(dict.fromkeys(name for pair in pairs for name in pair))
        raise ComparisonError(
            f"nothing to compare: one of the runs skipped each model in common ({names}) on each dataset in common "
            f"({', '.join(sets)}). Its run.json says why; run it anew."
        )
    return [_compare_pair(first.run, second.run, plans, *each, settings, threads) for each in chosen]


def _pairs(first: Side, second: Side, plans: tuple[Plan, Plan]) -> list[tuple[str, str]]:
    for side, plan in zip((first, second), plans, strict=True):
        if side.model is not None and side.model not in plan.thresholds:
            known = ", ".join(plan.thresholds)
            raise ComparisonError(
                f"{side.run} has no model '{side.model}'.{nearest(side.model, plan.thresholds)} It has {known}"
            )
    if first.model or second.model:
        one, other = first.model or second.model, second.model or first.model
        assert one is not None and other is not None
        for name, side, plan in zip((one, other), (first, second), plans, strict=True):
            if name not in plan.thresholds:
                raise ComparisonError(f"{side.run} has no model '{name}'; name one of it: {side.run}::MODEL")
        pairs = [(one, other)]
    else:
        pairs = [(name, name) for name in plans[0].thresholds if name in plans[1].thresholds]
    if not pairs:
        raise ComparisonError(
            f"the runs have no model in common: {', '.join(plans[0].thresholds)}; {', '.join(plans[1].thresholds)}. "
            "Name one of each: fdr-bench compare A::MODEL B::MODEL"
        )
    return pairs


class _Read(NamedTuple):
    """One side's samples and answers, in the order of its samples.jsonl."""

    path: Path
    keys: list[tuple[str, bool, str | None]]  # id, fake, generator
    answers: Answers
    images: pyarrow.Array


def _read(run: Path, plan: Plan, dataset: str, model: str) -> _Read:
    path = run / "datasets" / dataset / "samples.jsonl"
    if not path.is_file():
        raise RunError(f"{path} is missing; finish the run first: fdr-bench resume {run}")
    labels = read_labels(path)
    names = [*labels.generators, None]  # -1 is the last
    generators = [names[number] for number in labels.generator.tolist()]
    keys = list(zip(map(str, labels.ids.to_pylist()), labels.fake.tolist(), generators, strict=True))
    answers, images = read_answers(run / model / dataset / "predictions.jsonl", labels.ids, finished=plan.finished)
    return _Read(path, keys, answers, images)


def _compare_pair(
    first: Path,
    second: Path,
    plans: tuple[Plan, Plan],
    dataset: str,
    pair: tuple[str, str],
    settings: Settings,
    threads: int,
) -> Compared:
    reads = _read(first, plans[0], dataset, pair[0]), _read(second, plans[1], dataset, pair[1])
    places = _common(reads, dataset)
    views, ids, generators, images = _views(reads, places, plans, dataset, pair)
    this = views[0].this
    parts = cells_of(this.fake, this.generator, this.generators)
    rows = paired_detection(*views, parts, metrics=METRICS_SHOWN, settings=settings, threads=threads)
    rows = [row for row in rows if row.first is not None or row.second is not None]
    rows += _reasoning(views, settings, plans, pair)
    ones = [row for row in rows if row.metric == BY_GENERATOR and row.slice.startswith("generator:")]
    p_values = np.array([np.nan if row.p_value is None else row.p_value for row in ones], dtype=np.float64)
    adjusted = dict(zip((row.slice for row in ones), holm(p_values).tolist(), strict=True))
    return Compared(
        first=pair[0],
        second=pair[1],
        dataset=dataset,
        n=len(ids),
        n_only_first_run=len(reads[0].keys) - len(ids),
        n_only_second_run=len(reads[1].keys) - len(ids),
        rows=tuple(rows),
        adjusted={name: value for name, value in adjusted.items() if not np.isnan(value)},
        flips=tuple(_flips(views, ids, generators)),
        runs=(first, second),
        views=views,
        ids=tuple(ids),
        images=images,
    )


def _common(reads: tuple[_Read, _Read], dataset: str) -> NDArray[np.int64]:
    """Return where the common samples stand in each side, `(2, N)`, sorted by class and generator."""
    where = {key: place for place, key in enumerate(reads[1].keys)}
    pairs = [(place, where[key]) for place, key in enumerate(reads[0].keys) if key in where]
    if not pairs:
        raise ComparisonError(f"the runs have no image of {dataset} in common (by id, label and generator)")
    return np.array(pairs, dtype=np.int64).T


def _views(
    reads: tuple[_Read, _Read],
    places: NDArray[np.int64],
    plans: tuple[Plan, Plan],
    dataset: str,
    pair: tuple[str, str],
) -> tuple[tuple[View, View], list[str], list[str | None], pyarrow.Array]:
    import pyarrow.compute as pc

    keys = [reads[0].keys[place] for place in places[0].tolist()]
    names = sorted({name for _, _, name in keys if name is not None})
    number = {name: place for place, name in enumerate(names)} | {None: -1}
    fake = np.array([key[1] for key in keys], dtype=np.bool_)
    generator = np.array([number[key[2]] for key in keys], dtype=np.int64)
    order = np.argsort(cells(fake, generator), kind="stable")
    places, fake, generator = places[:, order], fake[order], generator[order]
    digests = {f"side {side}": read.images.take(place) for side, read, place in zip("AB", reads, places, strict=True)}
    try:
        content = contents(digests, len(order))
    except RunError:
        raise ComparisonError(
            f"the runs saw other bytes under the same ids of {dataset}: another version of the dataset. Run one of "
            "them anew on the other's files"
        ) from None
    views = []
    for read, place, plan, model in zip(reads, places, plans, pair, strict=True):
        of_set = AnsweredSet(
            dataset=dataset,
            fake=fake,
            generator=generator,
            content=content,
            generators=tuple(names),
            answers={model: _taken(read.answers, place, model in plan.reasoning)},
            samples=read.path,
            order=place,
        )
        views.append(View.of(of_set, model, plan.thresholds[model], NO_VALIDATION))
    ordered = [keys[place] for place in order.tolist()]
    images = pc.coalesce(*digests.values())
    return (views[0], views[1]), [key[0] for key in ordered], [key[2] for key in ordered], images


def _taken(answers: Answers, place: NDArray[np.int64], states_verdicts: bool) -> Answers:
    return Answers(
        answers.reached[place],
        answers.score[place],
        answers.verdict[place],
        answers.forced[place],
        answers.reasoning and answers.reasoning.take(place),
        states_verdicts=states_verdicts,
    )


def _reasoning(
    views: tuple[View, View], settings: Settings, plans: tuple[Plan, Plan], pair: tuple[str, str]
) -> list[Paired]:
    """Compare the texts where both models give some."""
    for view, plan, model in zip(views, plans, pair, strict=True):
        if model not in plan.reasoning and view.this.answers[model].reasoning is None:
            return []
    from fdr_bench.scored_texts import packaged_encoder, written_texts
    from fdr_bench.text_terms import SetTexts

    this = views[0].this
    texts = SetTexts(read_references(this.samples, this.order.tolist()), this.fake, packaged_encoder())
    tables = [texts.terms(written_texts(view)) for view in views]
    sums = [{name: Sums(each.top, each.bottom) for name, each in table.items()} for table in tables]
    parts = cells_of(this.fake, this.generator, this.generators)
    rows = paired_reasoning(sums[0], sums[1], views[0], parts, settings=settings)
    return [row for row in rows if row.first is not None or row.second is not None]


def _flips(views: tuple[View, View], ids: Sequence[str], generators: Sequence[str | None]) -> list[Flip]:
    first, second = right_of(views[0]), right_of(views[1])
    reached = views[0].reached & views[1].reached
    scores = [[None if np.isnan(each) else each for each in view.score.tolist()] for view in views]
    fake = views[0].this.fake
    return [
        Flip(ids[n], "fake" if fake[n] else "real", generators[n], bool(first[n]), scores[0][n], scores[1][n])
        for n in np.flatnonzero((first != second) & reached).tolist()
    ]
