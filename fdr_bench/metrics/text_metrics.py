"""The metrics of reasoning texts by name. Each is a ratio of two sums over samples: one weighting serves all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Needs = Literal["references", "attributes", "scenes", "texts", "shown"]
NEEDS: dict[Needs, str] = {
    "references": "reference reasoning",
    "attributes": "annotated attributes",
    "scenes": "captions of scenes, with solids and the side of the light",
    "texts": "reasoning texts",
    "shown": "images shown to the model",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMetric:
    """What a number about reasoning means. `needs` is what a sample must have to be counted."""

    name: str
    title: str
    definition: str
    higher_is_better: bool = True
    needs: Needs
    source: str
    strict: bool = False  # a missing text counts as an empty one
    encoder: bool = False


_OFFICIAL = "PRIS-CV/FakeReasoning at c1aec51, LLaVA/forgery_eval/eval.py; "
_MISSING = " Official reading: samples without a text or without an answer are left out (see n_missing)."
_HERE = "defined in this repository"
PHRASES = "phrase+minilm-l6"
_OVERLAP = {
    "bleu1@nltk-split": (
        "BLEU-1",
        "Mean over samples of BLEU-1 against the reference: whitespace-separated words, case kept, brevity penalty, no "
        "smoothing.",
        _OFFICIAL + "agrees with nltk's sentence_bleu",
    ),
    "rougeL@stem": (
        "ROUGE-L",
        "Mean over samples of ROUGE-L's F measure against the reference, words Porter-stemmed.",
        _OFFICIAL + "agrees with rouge-score's rougeL",
    ),
    "css@minilm-l6": (
        "CSS",
        "Mean over samples of the cosine between sentence embeddings of text and reference by all-MiniLM-L6-v2 (mean "
        "pooling, 256 tokens). The official one uses CLIP's text encoder: not to be compared with it.",
        "after " + _OFFICIAL + "encoder: sentence-transformers/all-MiniLM-L6-v2",
    ),
}
OVERLAP = tuple(_OVERLAP)
GROUNDED = ("solid_grounding@scenes", "side_grounding@scenes", "place_grounding@scenes")


def _overlap() -> list[TextMetric]:
    metrics = []
    for name, (title, definition, source) in _OVERLAP.items():
        encoder = name.startswith("css")
        metrics += [
            TextMetric(name=name, title=title, definition=definition + _MISSING, needs="references", source=source,
                       encoder=encoder),
            TextMetric(name=f"{name}@strict", title=f"{title} (strict)", needs="references", source=source, strict=True,
                       encoder=encoder,
                       definition=f"As {name}, but a missing text, or one without an answer, scores 0."),
            TextMetric(name=f"{name}@above-blind", title=f"{title} above blind", needs="references", source=_HERE,
                       definition=f"{name} less that of the best text that no image went into (a constant, a shuffled "
                       "or a length-matched reference) on the same samples; 0 says that the image added nothing.",
                       encoder=encoder),
        ]  # fmt: skip
    return metrics


def _attributes() -> list[TextMetric]:
    meaning = {
        "precision": ("precision", "Share of the attributes claimed that are annotated, over all samples together"),
        "recall": ("recall", "Share of the annotated attributes that are claimed, over all samples together"),
        "f1": ("F1", "Harmonic mean of attribute precision and recall, over all samples together"),
    }
    how = (
        "; ten attributes (five of forgeries, five counterparts), claimed by a sentence's stage and key phrases, or "
        "where it has none by the nearest description in all-MiniLM-L6-v2."
    )
    metrics = [
        TextMetric(name=f"attribute_{key}@{PHRASES}", title=f"attribute {title}", needs="attributes", encoder=True,
                   definition=definition + how + _MISSING, source=_HERE)
        for key, (title, definition) in meaning.items()
    ]  # fmt: skip
    strict = TextMetric(
        name=f"attribute_f1@{PHRASES}@strict", title="attribute F1 (strict)", needs="attributes", encoder=True,
        definition="As attribute F1, but a missing text, or one without an answer, claims nothing.", strict=True,
        source=_HERE,
    )  # fmt: skip
    return [*metrics, strict]


def _grounding() -> list[TextMetric]:
    share = "Of the claims that hold and name {}, the share that names the right one: {}."
    rows = (
        (GROUNDED[0], "solids right", share.format("a solid", "that of the reference sentence (of an authenticity "
         "attribute: any of the scene), by colour and noun"), True),
        (GROUNDED[1], "sides right", share.format("a side of light or shadow", "left or right as in the scene"), True),
        (GROUNDED[2], "places right", share.format("a place of low quality", "in the reference's words"), True),
        ("grounded_f1@scenes", "grounded F1", "Harmonic mean of precision (attributes claimed rightly, with the right "
         "solid, side and place, over those claimed) and recall (over those annotated), over all samples together.",
         True),
        ("hallucination@scenes", "hallucinations", "Share of the claims that the scene contradicts: an attribute that "
         "the image does not have, another solid, side or place.", False),
    )  # fmt: skip
    return [
        TextMetric(name=name, title=title, definition=definition + _MISSING, higher_is_better=better, needs="scenes",
                   source=_HERE)
        for name, title, definition, better in rows
    ]  # fmt: skip


TEXT_METRICS: dict[str, TextMetric] = {
    metric.name: metric
    for metric in (
        *_overlap(),
        *_attributes(),
        *_grounding(),
        TextMetric(
            name="verdict_agreement",
            title="agrees with verdict",
            definition="Share of the texts whose claims lean to the side that the model calls: more faults than merits "
            "and fake, or the reverse. Texts that lean to neither are left out.",
            needs="texts",
            source=_HERE,
            encoder=True,
        ),
        TextMetric(
            name="truncated@minilm-l6",
            title="truncated",
            definition="Share of the samples whose text or reference is longer than the 256 tokens that CSS's encoder "
            "sees.",
            higher_is_better=False,
            needs="references",
            source=_HERE,
            encoder=True,
        ),
        TextMetric(
            name="reasoning_failure_rate",
            title="no reasoning",
            definition="Share of the images shown to the model without a usable text: an error, no reasoning, or no "
            "answer beside it (the official evaluation's failures).",
            higher_is_better=False,
            needs="shown",
            source=_OFFICIAL + "pre_failure",
        ),
    )
}
