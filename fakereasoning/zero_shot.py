"""The base model of FakeReasoning's smallest size, asked zero-shot: it learnt to describe scenes, nothing of forgery.

It is what FACL and tuning start from (`python -m fakereasoning base`), so the distance between it and `fakereasoning`
is what these two stages teach. A folder of any size in this package's format can be asked the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fakereasoning.config import CLIP_MEAN, CLIP_STD
from fakereasoning.sizes import SIZES
from fdr_bench.errors import UsageError, nearest
from fdr_bench.types import AnswerView, CenterCrop, DetectorCard, Prediction, Preset, Resize, TrainedOn, Weights
from fdr_bench.verdicts import read_verdict
from fdr_bench.weights_card import packaged_card

if TYPE_CHECKING:
    from PIL.Image import Image

SHIPPED = "fakereasoning/weights/base"
_MANUAL = (
    "Train them: python -m fakereasoning train --stages words,base --data 'scenes:train?n=30000' --out weights/nano, "
    "and give the folder: --weights vlm-nano=weights/nano/base; make train-fakereasoning leaves the same in "
    "weights/fakereasoning/base"
)
QUESTIONS: Mapping[str, str] = {
    "real-first": "Is this image real or fake?",
    "fake-first": "Is this image fake or real?",
}
MAX_TOKENS = 96


def _scenes() -> Preset:
    told = packaged_card(SHIPPED)
    trained_on = told.get("trained_on", {"dataset": "fdr-scenes-train", "generators": ["transposed-conv-2"]})
    side = SIZES["nano"].image_size
    return Preset(
        weights=(Weights(packaged=SHIPPED, filename="model.safetensors", licence="Apache-2.0", manual=_MANUAL),),
        views={
            name: AnswerView(
                steps=(Resize(side, "bicubic"), CenterCrop(side)),
                mean=CLIP_MEAN,
                std=CLIP_STD,
                settings={"question": question, "max_tokens": MAX_TOKENS},
            )
            for name, question in QUESTIONS.items()
        },
        trained_on=TrainedOn(
            dataset=f"{trained_on['dataset']} (images, captions, questions)", generators=tuple(trained_on["generators"])
        ),
        parameters=told.get("parameters"),
        note="saw images of one generator with captions and questions about the scene, never with labels",
    )


class VLMNano:
    """The base model asked whether an image is real: its own words, and P(fake) behind an appended conclusion."""

    card: ClassVar[DetectorCard] = DetectorCard(
        name="vlm-nano",
        title="VLM nano, zero-shot",
        paper="none: the base stage of FakeReasoning's recipe in this repository",
        licence="Apache-2.0",
        reasons=True,
        presets={"scenes": _scenes()},
    )

    def __init__(
        self, *, preset: str | None = None, device: str = "cpu", weights: Mapping[str, Path], view: str | None = None
    ) -> None:
        from fakereasoning.answering import load

        if view is not None and view not in QUESTIONS:
            known = ", ".join(QUESTIONS)
            raise UsageError(f"{self.card.name} has no view '{view}'.{nearest(view, QUESTIONS)} Views: {known}")
        self.question = QUESTIONS[view or "real-first"]
        self.answerer = load(weights["weights"], device=device)
        self.answerer.max_new_tokens = MAX_TOKENS

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        """Return for each image, in order, P(fake), the verdict that the text states if any, and the text.

        The score is read behind a conclusion that is appended to the text ("cpm-forced"), unless that has one.
        """
        return [
            Prediction(
                score=answer.score,
                verdict=answer.stages.verdict or read_verdict(answer.text),
                reasoning=answer.stages.reasoning or answer.text.strip() or None,
                raw=answer.text,
                score_source=answer.score_source,
            )
            for answer in self.answerer.answer(images, question=self.question)
        ]
