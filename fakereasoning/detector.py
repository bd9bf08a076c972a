"""FakeReasoning as a detector: P(fake), a verdict in words, and the reasoning that leads to it.

Gao et al., "FakeReasoning: Towards Generalizable Forgery Detection and Reasoning", arXiv 2503.21210 (2025). Official
code: PRIS-CV/FakeReasoning @ c1aec51; numbers agree with it (tests/goldens/fakereasoning_*.json). The official code
gives no score; here it is CPM's probability at the verdict's word. Decoding is greedy, where the official one
samples; that and other ways of answering are the detector's views.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fakereasoning.config import CLIP_MEAN, CLIP_STD, FakeReasoningConfig
from fakereasoning.released import CLIP_TOWER, DINO_TOWER, OFFICIAL_TEMPERATURE
from fakereasoning.sizes import SIZES
from fdr_bench.errors import UsageError, nearest
from fdr_bench.types import AnswerView, CenterCrop, DetectorCard, Prediction, Preset, Resize, TrainedOn, View, Weights
from fdr_bench.weights_card import packaged_card, view_to_json

if TYPE_CHECKING:
    from PIL.Image import Image

SHIPPED = "fakereasoning/weights/scenes"
_MANUAL = (
    "Train them: make train-fakereasoning (about 95 minutes on two cores), which is "
    "python -m fakereasoning train --data 'scenes:train?n=30000' --validation scenes:val "
    "--max-minutes base=18,facl=17,tune=35, and copies the result there"
)
RELEASED = Weights(
    filename="FakeReasoning/",
    licence="Apache-2.0",
    manual=(
        "Download the whole folder AnnaGao/FakeReasoning from the hub (28 GB): "
        "hf download AnnaGao/FakeReasoning --local-dir FOLDER"
    ),
)

WAYS: Mapping[str, Mapping[str, Any]] = {
    "greedy": {},
    "sampled": {"sampling_temperature": OFFICIAL_TEMPERATURE},
    "no-bias": {"bias": False},
    "one-way": {"both_ways": False},
    "matched-prompt": {"matched_prompt": True},
    "fp32": {"precision": "fp32"},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16"},
}
"""The views by name, the usual one first: what each says to `fakereasoning.answering.load`."""


def _views(side: int, *names: str) -> dict[str, View]:
    return {name: AnswerView(**_preprocessing(side), settings=WAYS[name]) for name in names}


def _preprocessing(side: int) -> dict[str, Any]:
    """Return a view's fields, a record of size and statistics.

    That images are padded to a square first stands in the network's config, which the detector goes by.
    """
    return {"steps": (Resize(side, "bicubic"), CenterCrop(side)), "mean": CLIP_MEAN, "std": CLIP_STD}


def _scenes() -> Preset:
    """Return the preset whose weights were trained in this repository, with what their card tells."""
    told = packaged_card(SHIPPED)
    trained_on = told.get("trained_on", {"dataset": "fdr-scenes-train", "generators": []})
    return Preset(
        weights=(Weights(packaged=SHIPPED, filename="model.safetensors", licence="Apache-2.0", manual=_MANUAL),),
        views=_views(SIZES["nano"].image_size, *(name for name in WAYS if name != "matched-prompt")),
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
                views=_views(SIZES["llava-1.5-13b"].image_size, *WAYS),
                trained_on=TrainedOn(dataset="MMFR-Dataset (training set)"),
                parameters=14_001_315_888,
                note=(
                    "LLaVA-1.5-13B with CLIP and DINOv2 towers. Views: greedy decoding; sampled at T = "
                    f"{OFFICIAL_TEMPERATURE}, as the released code does; no-bias, without DINO's attention map in the "
                    "fusion; one-way, for weights with concepts, which are else read off mirror images too; "
                    "matched-prompt, in the training's words; a precision in place of the device's usual one. "
                    f"Towers that the folder lacks come from {CLIP_TOWER.hub} and {DINO_TOWER.hub}, no revision pinned"
                ),
            ),
            "scenes": _scenes(),
        },
    )

    def __init__(
        self, *, preset: str | None = None, device: str = "cpu", weights: Mapping[str, Path], view: str | None = None
    ) -> None:
        from fakereasoning.answering import load

        if view is not None and view not in WAYS:
            raise UsageError(f"{self.card.name} has no view '{view}'.{nearest(view, WAYS)} Views: {', '.join(WAYS)}")
        self.answerer = load(weights["weights"], device=device, **({} if view is None else WAYS[view]))

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
    """Return what the card.json of a weights folder needs for `--weights fakereasoning=FOLDER`: network and view."""
    return {"architecture": config.to_json(), "view": view_to_json(View(**_preprocessing(config.image_size)))}
