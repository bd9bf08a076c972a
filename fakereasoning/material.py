"""What a training learns from: the data's samples and records, and what FDR-Scenes alone tells of its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from fakereasoning.evidence import Kinds
from fakereasoning.facl_recipe import FaclRecipe
from fakereasoning.places import Shown
from fakereasoning.recipe import Questions, TuneRecipe
from fakereasoning.records import Record, read_records
from fakereasoning.scene_faults import scenes_faults
from fakereasoning.scene_places import scenes_drawn, scenes_shown
from fakereasoning.scene_questions import scene_questions
from fakereasoning.sketches import sketched
from fakereasoning.words import WordsRecipe
from fdr_bench.data import open_dataset
from fdr_bench.types import Dataset

Stage = Literal["words", "base", "evidence", "facl", "tune"]
BEFORE: tuple[Stage, ...] = ("words", "base")
"""Stages that know nothing of forgery, and that a model to begin with stands in for."""
REHEARSED = 5
"""So many questions about an image go on being asked. A chain of thought has its caption."""


class Material(NamedTuple):
    """The samples, the records about them, and of FDR-Scenes questions about what they show, and where it is."""

    dataset: Dataset
    records: list[Record]
    """As the data have them: a tokenizer learns from these, whichever stages follow."""
    told: list[Record]
    """What a tuning learns: the records, with sketches where its recipe says so."""
    questions: list[Record]
    rehearsed: list[Record]
    """Those that go on being asked in tuning."""
    shown: Mapping[str, Shown]
    """What stands where, by an image's location."""
    drawn: Mapping[str, Shown]
    """The same where a recipe weighs places: all that was drawn, violations included."""
    kinds: Kinds | None
    """What is wrong, likewise; None where the data name no kinds."""


def gather(data: str, asked: Questions, recipes: Mapping[Stage, TuneRecipe | FaclRecipe | WordsRecipe]) -> Material:
    """Return what stages by these recipes learn from; what none of them reads is empty.

    `asked` is the question that goes with chains of thought. Raises `UsageError` where words, base, rehearsal or places
    are asked for and `data` is not FDR-Scenes.
    """
    dataset = open_dataset(data)
    before = any(stage in recipes for stage in BEFORE)
    tune = recipes.get("tune")
    share = tune.rehearsal if isinstance(tune, TuneRecipe) else 0.0
    places = any(isinstance(one, TuneRecipe) and one.places_weight for one in recipes.values())
    evidence = any(not isinstance(one, WordsRecipe) and one.evidence_weight for one in recipes.values())
    records = read_records(dataset, questions=asked)
    return Material(
        dataset,
        records,
        sketched(records, dataset) if isinstance(tune, TuneRecipe) and tune.sketch else records,
        scene_questions(dataset) if before else [],
        rehearsed(scene_questions(dataset, questions=REHEARSED, captions=0), share) if share else [],
        scenes_shown(dataset) if before else {},
        scenes_drawn(dataset) if places else {},
        scenes_faults(dataset) if evidence and dataset.spec.startswith("scenes") else None,
    )


def rehearsed(questions: Sequence[Record], share: float) -> list[Record]:
    """Return the questions about a share of their images, taken evenly in the order in which these come first."""
    number: dict[str, int] = {}
    for record in questions:
        number.setdefault(record.image.location, len(number))
    at = [number[record.image.location] for record in questions]
    return [record for record, n in zip(questions, at, strict=True) if int((n + 1) * share) > int(n * share)]
