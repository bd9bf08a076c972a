"""The columns of a board's tables: what each is called, what it means, how its numbers are written."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Form = Literal["percent", "failures", "count", "rate"]


class Column(NamedTuple):
    """A column: `key` in files, `title` as head, `n` the number of samples that most of its cells stand on."""

    key: str
    title: str
    definition: str
    form: Form = "percent"
    higher_is_better: bool = True
    n: int | None = None


OVERVIEW = (
    Column("acc", "ACC", "Share of right answers at the model's own threshold; images without an answer are left out."),
    Column("acc@strict", "ACC strict", "The same, an image without an answer counting as a wrong one."),
    Column("ap", "AP", "Average precision: how well the scores rank fake above real, whatever the threshold."),
    Column("balanced_acc", "Balanced ACC", "Mean of real ACC and fake ACC; always giving one answer gets 50."),
    Column("real_acc", "Real ACC", "Share of the real images that are called real."),
    Column("fake_acc", "Fake ACC", "Share of the fake images that are called fake."),
    Column("failure_rate", "No answer", "Images that the model gave no usable answer for.", "failures", False),
    Column("forced_score_rate", "Forced scores", "Share of the scores that the model's text did not come to by itself: "
           "its conclusion was appended, and the score read behind it.", higher_is_better=False),
)  # fmt: skip
ONLY_WHERE = {"acc@strict": "failure_rate", "forced_score_rate": "forced_score_rate"}
"""Columns that are shown only where another metric, or they themselves, are above 0 for any model."""
REASONING = (
    Column("bleu1@nltk-split", "BLEU-1", "Words of the reasoning that its reference has too; images without a usable "
           "text are left out. Read it against the texts that no image went into, below the models."),
    Column("rougeL@stem", "ROUGE-L", "Longest common sequence of word stems of the reasoning and its reference."),
    Column("css@minilm-l6", "CSS", "Cosine of the sentence embeddings of the reasoning and its reference, by "
           "all-MiniLM-L6-v2. Papers use CLIP's encoder: not comparable with theirs."),
    Column("attribute_f1@phrase+minilm-l6", "Attribute F1", "How well the attributes that the reasoning claims are "
           "those that are annotated."),
    Column("reasoning_failure_rate", "No reasoning", "Share of images that the model gave no usable reasoning for.",
           higher_is_better=False),
)  # fmt: skip
"""Shown where any model of the board reasons."""
_JUDGED = re.compile(r"judge_([a-z0-9_]+)@([^@]+)")


def judge_column(key: str) -> Column | None:
    """Return the column of a judge's metric in the official reading; None for any other metric."""
    if (found := _JUDGED.fullmatch(key)) is None:
        return None
    criterion, judge = found[1].replace("_", " "), found[2]
    return Column(
        key,
        f"{criterion.capitalize()} (judge)",
        f"Mean mark for {criterion} of the reasoning by the judge {judge}: 0 is the lowest on its scale, 100 the "
        "highest. Marks are a model's opinion, comparable under the same judge alone; texts that it failed at are "
        "left out. The rubric and every answer are in the run's folder.",
    )


CAPACITY = (
    Column("parameters", "Parameters", "Numbers in the network.", "count", False),
    Column("images_per_second", "Images/s", "Speed in this run, decoding apart; compare it within a run only.", "rate"),
)
BY_GENERATOR = ("acc", "ap", "balanced_acc")
UNSEEN = Column("unseen", "Unseen", "Plain mean over the generators that the model was not trained on.")
MACRO = Column("macro", "Mean", "Plain mean over the generators, each counting alike.")
