"""What each metric of reasoning adds up: for every sample a part of its numerator and of its denominator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdr_bench.answered_texts import References
from fdr_bench.metrics.blind import BLIND, TEXT_BASELINES, blind_sources, in_layout
from fdr_bench.metrics.claims import Attribute, Claim, annotated, claims
from fdr_bench.metrics.grounding import Grounding, Truth, ground, truth
from fdr_bench.metrics.reasoning import bleu1_scores, cosines, rouge_l_scores
from fdr_bench.metrics.text_metrics import GROUNDED, OVERLAP, TEXT_METRICS, TextMetric

if TYPE_CHECKING:
    from fdr_bench.metrics.sentences import SentenceEncoder

Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]
BLEU, ROUGE, CSS = OVERLAP
NO_GROUNDING = Grounding(*([0] * len(Grounding._fields)))


class Terms(NamedTuple):
    """One metric of one text giver: its value on some samples is the sum of `top` over that of `bottom`."""

    top: Floats  # (N,)
    bottom: Floats  # (N,)
    relevant: Booleans  # (N,) the sample has what the metric compares with
    counted: Booleans  # (N,) and a text, or the lack of one counts
    usable: Booleans  # (N,) there is a text, and an answer beside it
    reason: str = ""  # why the metric does not exist at all


class Part(NamedTuple):
    """The sums of a metric before it is known which samples count; `exists` leaves out more of them (None: none)."""

    top: Floats
    bottom: Floats
    exists: Booleans | None = None


class Texts(NamedTuple):
    """One giver's texts: a model's, or a baseline's."""

    written: Sequence[str]  # N texts, "" where not usable
    usable: Booleans  # (N,) there is a text, and an answer beside it
    reached: Booleans  # (N,) the image was shown
    called: Booleans | None  # (N,) what it calls fake; None for a baseline, which calls nothing


class SetTexts:
    """A set's references with what is computed of them once: attributes, scenes, embeddings, blind baselines.

    `encoder` may be the reason why there is none; metrics that need it are then undefined.
    """

    def __init__(
        self, references: References, fake: Booleans, encoder: SentenceEncoder | str, *, seed: int = 0
    ) -> None:
        self.reasoning = references.reasoning
        self.attributes = references.attributes
        self._encoder = encoder
        self._fake = fake
        self._seed = seed
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self.given = np.array([bool(text.strip()) for text in self.reasoning], dtype=np.bool_)
        self.annotated: list[Mapping[Attribute, str]] = [annotated(each) for each in references.attributes]
        self.scenes: list[Truth | None] = [
            truth(attributes, caption, fake=bool(label))
            for attributes, caption, label in zip(references.attributes, references.captions, fake, strict=True)
        ]

    @cached_property
    def baselines(self) -> dict[str, Texts]:
        """The texts that no image went into, and those of the layout's ceiling."""
        members = np.flatnonzero(self.given)
        sources = blind_sources([self.reasoning[n] for n in members.tolist()], self._fake[members], seed=self._seed)
        found = {}
        for name in TEXT_BASELINES:
            written = [""] * len(self.reasoning)
            for place, n in enumerate(members.tolist()):
                if name in sources:
                    source = int(sources[name][place])
                    written[n] = self.reasoning[members[source]] if source >= 0 else ""
                else:
                    written[n] = in_layout(self.attributes[n] or {})
            usable = np.array([bool(text) for text in written], dtype=np.bool_)
            found[name] = Texts(written, usable, usable, None)
        return found

    @cached_property
    def blind(self) -> dict[str, Floats]:
        """By overlap metric the scores (N,) of the best text that no image went into; NaN where there is none."""
        scores = {name: self.overlap(self.baselines[name]) for name in BLIND}
        best: dict[str, Floats] = {}
        for metric in next(iter(scores.values())):
            each = [np.where(self.baselines[name].usable, scores[name][metric], np.nan) for name in BLIND]
            means = [float(np.nanmean(row)) if (~np.isnan(row)).any() else -np.inf for row in each]
            best[metric] = each[int(np.argmax(means))]
        return best

    def overlap(self, texts: Texts) -> dict[str, Floats]:
        """Return the overlap metrics of each sample, (N,) each; 0 where text or reference is missing."""
        chosen = np.flatnonzero(self.given & texts.usable).tolist()
        references = [self.reasoning[n] for n in chosen]
        written = [texts.written[n] for n in chosen]
        scores = {BLEU: bleu1_scores(references, written), ROUGE: rouge_l_scores(references, written)}
        if not isinstance(self._encoder, str):
            vectors = self._encoded(self._encoder, [*references, *written])
            scores[CSS] = cosines(references, written, vectors[: len(chosen)], vectors[len(chosen) :])
        return {name: self._spread(values, chosen) for name, values in scores.items()}

    def truncated(self, texts: Texts) -> Floats:
        """Return where the encoder does not see all of the reference or of the text, (N,)."""
        if isinstance(self._encoder, str):
            return np.zeros(len(self.given))
        chosen = np.flatnonzero(self.given & texts.usable).tolist()
        long = self._encoder.truncated([*(self.reasoning[n] for n in chosen), *(texts.written[n] for n in chosen)])
        return self._spread((long[: len(chosen)] | long[len(chosen) :]).astype(np.float64), chosen)

    def terms(self, texts: Texts) -> dict[str, Terms]:
        """Return the terms of every metric that the giver of the texts can have, in the order of `TEXT_METRICS`."""
        overlap, placed = self.overlap(texts), self._claims(texts)
        parts = self._overlap_parts(overlap, texts) | self._attribute_parts(placed) | self._grounding_parts(texts)
        if texts.called is not None:
            one = np.ones(len(self.given))
            parts["verdict_agreement"] = _agreement(placed, texts.called)
            parts["truncated@minilm-l6"] = Part(self.truncated(texts), one)
            parts["reasoning_failure_rate"] = Part((~texts.usable).astype(np.float64), one)
        found = {}
        for name, metric in TEXT_METRICS.items():
            if name.removesuffix("@strict") in parts and not (texts.called is None and metric.strict):
                found[name] = self._counted(metric, parts[name.removesuffix("@strict")], texts)
        return found

    def _counted(self, metric: TextMetric, part: Part, texts: Texts) -> Terms:
        relevant = {
            "references": self.given,
            "attributes": np.array([bool(each) for each in self.annotated], dtype=np.bool_),
            "scenes": np.array([scene is not None for scene in self.scenes], dtype=np.bool_),
        }.get(metric.needs, np.ones(len(self.given), dtype=np.bool_))
        counted = relevant & (texts.reached if metric.strict or metric.needs == "shown" else texts.usable)
        if part.exists is not None:
            counted = counted & part.exists
        reason = self._encoder if metric.encoder and isinstance(self._encoder, str) else ""
        top, bottom = (np.where(counted, values, 0.0) for values in (part.top, part.bottom))
        return Terms(top, bottom, relevant, counted, texts.usable, reason)

    def _overlap_parts(self, overlap: Mapping[str, Floats], texts: Texts) -> dict[str, Part]:
        one, nothing = np.ones(len(self.given)), np.zeros(len(self.given))
        parts = {name: Part(overlap.get(name, nothing), one) for name in OVERLAP}
        if texts.called is not None:
            for name in OVERLAP:
                blind = self.blind.get(name, nothing)
                parts[f"{name}@above-blind"] = Part(overlap.get(name, nothing) - blind, one, ~np.isnan(blind))
        return parts

    def _claims(self, texts: Texts) -> list[list[Claim]]:
        return claims(texts.written, None if isinstance(self._encoder, str) else self._encoder)

    def _attribute_parts(self, placed: Sequence[Sequence[Claim]]) -> dict[str, Part]:
        claimed = [{claim.attribute for claim in each} for each in placed]
        right = _column(len(each & set(truth)) for each, truth in zip(claimed, self.annotated, strict=True))
        said, true = _column(map(len, claimed)), _column(map(len, self.annotated))
        names = [name for name in TEXT_METRICS if name.startswith("attribute_") and not name.endswith("@strict")]
        sums = (Part(right, said), Part(right, true), Part(2 * right, said + true))  # precision, recall, F1
        return dict(zip(names, sums, strict=True))

    def _grounding_parts(self, texts: Texts) -> dict[str, Part]:
        # Scenes speak in a closed grammar that key phrases cover: no encoder is needed, nor could it blur a claim.
        placed = claims(texts.written)
        found = [
            ground(said, scene) if scene else NO_GROUNDING for said, scene in zip(placed, self.scenes, strict=True)
        ]
        counts = np.array(found, dtype=np.float64).reshape(-1, len(NO_GROUNDING))
        column = dict(zip(Grounding._fields, counts.T, strict=True))
        kinds = ("solids", "sides", "places")
        parts = {name: Part(column[f"{kind}_right"], column[kind]) for name, kind in zip(GROUNDED, kinds, strict=True)}
        twice = 2 * column["grounded"]
        parts["grounded_f1@scenes"] = Part(twice, twice + column["ungrounded"] + column["missed"])
        parts["hallucination@scenes"] = Part(column["contradicted"], column["claims"])
        return parts

    def _encoded(self, encoder: SentenceEncoder, texts: Sequence[str]) -> NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        self._vectors.update(zip(new, encoder.encode(new), strict=True))
        found = [self._vectors[text] for text in texts]
        return np.stack(found) if found else np.zeros((0, encoder.width), dtype=np.float32)

    def _spread(self, values: Floats, chosen: Sequence[int]) -> Floats:
        spread = np.zeros(len(self.given))
        spread[chosen] = values
        return spread


def _agreement(placed: Sequence[Sequence[Claim]], called: Booleans) -> Part:
    lean = _column(sum(1 if claim.attribute.forged else -1 for claim in each) for each in placed)
    leans = lean != 0
    return Part((((lean > 0) == called) & leans).astype(np.float64), leans.astype(np.float64))


def _column(values: Iterable[int]) -> Floats:
    return np.fromiter(values, dtype=np.float64)
