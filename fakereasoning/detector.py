"""FakeReasoning as a detector: P(fake), a verdict in words, and the reasoning that leads to it.

Gao et al., "FakeReasoning: Towards Generalizable Forgery Detection and Reasoning", arXiv 2503.21210 (2025). Official
code: PRIS-CV/FakeReasoning @ c1aec51; numbers agree with it (tests/goldens/fakereasoning_*.json). The official code
gives no score; here it is CPM's probability at the verdict's word. Decoding is greedy, where the official one samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fdr_bench.errors import UsageError
from fdr_bench.types import CenterCrop, DetectorCard, Prediction, Preset, Resize, TrainedOn, View, Weights
from fdr_bench.weights_card import packaged_card, view_to_json

if TYPE_CHECKING:
    from PIL.Image import Image

    from fakereasoning.config import FakeReasoningConfig

SHIPPED = "fakereasoning/weights/scenes"
_MANUAL = (
    "Train them: make train-fakereasoning, or python -m fakereasoning train --size nano "
    f"--data 'scenes:train?n=6000' --out {SHIPPED}"
)
RELEASED = Weights(
    filename="FakeReasoning/",
    licence="Apache-2.0",
    manual=(
        "Download the whole folder AnnaGao/FakeReasoning from the hub (28 GB): "
        "hf download AnnaGao/FakeReasoning --local-dir FOLDER"
    ),
)


def _scenes() -> Preset:
    """Return the preset whose weights were trained in this repository, with what their card tells."""
    told = packaged_card(SHIPPED)
    trained_on = told.get("trained_on", {"dataset": "fdr-scenes-train", "generators": []})
    return Preset(
        weights=(Weights(packaged=SHIPPED, filename="model.safetensors", licence="Apache-2.0", manual=_MANUAL),),
        trained_on=TrainedOn(dataset=trained_on["dataset"], generators=tuple(trained_on["generators"])),
        parameters=told.get("parameters"),
        note="trained in this repository on one generator of FDR-Scenes, at a size for two cores",
    )


class FakeReasoning:
    """The vision-language model; `official` are the released 14 billion parameters, `scenes` a small one."""

    card: ClassVar[DetectorCard] = DetectorCard(
        name="fakereasoning",
        title="FakeReasoning",
        paper="Gao et al., FakeReasoning: Towards Generalizable Forgery Detection and Reasoning, arXiv 2503.21210",
        licence="Apache-2.0",
        repository="PRIS-CV/FakeReasoning",
        commit="c1aec51",
        reasons=True,
        presets={
            "official": Preset(
                weights=(RELEASED,),
                trained_on=TrainedOn(dataset="MMFR-Dataset (training set)"),
                parameters=14_001_315_888,
                note="LLaVA-1.5-13B with CLIP and DINOv2 towers; greedy decoding, where the paper samples at T = 0.2",
            ),
            "scenes": _scenes(),
        },
    )

    def __init__(
        self, *, preset: str | None = None, device: str = "cpu", weights: Mapping[str, Path], view: str | None = None
    ) -> None:
        from fakereasoning.answering import load

        if view not in (None, "trained"):
            raise UsageError(f"{self.card.name} has one preprocessing and no view '{view}'; leave the view out")
        self.answerer = load(weights["weights"], device=device)

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        """Return for each image, in order, P(fake), the verdict that its CONCLUSION states, and its REASONING.

        `raw` is the whole text. A text without a verdict has a score all the same, whose source is "cpm-forced" where
        the text did not come to the verdict's word by itself.
        """
        return [
            Prediction(
                score=answer.score,
                verdict=answer.stages.verdict,
                reasoning=answer.stages.reasoning,
                raw=answer.text,
                score_source=answer.score_source,
            )
            for answer in self.answerer.answer(images)
        ]


def card_facts(config: FakeReasoningConfig) -> dict[str, Any]:
    """Return what the card.json of a weights folder needs for `--weights fakereasoning=FOLDER`: network and view.

    The view is a record of size and statistics; that images are padded to a square first stands in the network's
    config, which the detector goes by.
    """
    from fakereasoning.config import CLIP_MEAN, CLIP_STD

    side = config.image_size
    view = View(steps=(Resize(side, "bicubic"), CenterCrop(side)), mean=CLIP_MEAN, std=CLIP_STD)
    return {"architecture": config.to_json(), "view": view_to_json(view)}
