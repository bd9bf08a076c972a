"""FakeShield: a fine-tuned LLaVA-1.5 that says whether and where a picture was tampered with, and why.

Xu, Zhang et al., "FakeShield: Explainable Image Forgery Detection and Localization via Multi-modal Large Language
Models", ICLR 2025. Official code: zhipeixu/FakeShield @ de40a5f. This is its first stage (DTE-FDM with the domain tag
generator), which detects and explains; the second (MFLM, masks) is left out.

Not verified here, where neither the weights nor the authors' environment could be had: that the released tensors bear
the names of LLaVA's layout, what the tokenizer's files are, and any published number. What is tested: the layout's
tensors against transformers' LLaVA at a tiny size, the prompt, the tags, and the reading of answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from baselines._torch import CLIP
from fdr_bench.errors import UsageError, nearest
from fdr_bench.types import AnswerView, CenterCrop, DetectorCard, Prediction, Preset, Resize, TrainedOn, Weights

if TYPE_CHECKING:
    from PIL.Image import Image

RELEASED = Weights(
    filename="fakeshield-v1-22b/",
    licence="Apache-2.0 (the authors' repository); LLaVA-1.5's Llama 2 Community License",
    manual=(
        "Download the first stage of zhipeixu/fakeshield-v1-22b (26 GB): hf download zhipeixu/fakeshield-v1-22b "
        "--include 'DTE-FDM/*' DTG.pth --local-dir FOLDER; and put the file DTE-FDM/llava/serve/cli.py of the "
        "repository zhipeixu/FakeShield (commit de40a5f), whose wording the weights know, into FOLDER as cli.py"
    ),
)
WAYS: Mapping[str, Mapping[str, Any]] = {"greedy": {}, "sampled": {"temperature": 0.2}, "no-tag": {"tagged": False}}
"""The views by name: what each says to `baselines._fakeshield.load`."""


class FakeShield:
    """The published first stage: domain tag, question, and an answer in two points."""

    card: ClassVar[DetectorCard] = DetectorCard(
        name="fakeshield",
        title="FakeShield",
        paper="Xu et al., FakeShield: Explainable Image Forgery Detection and Localization via Multi-modal Large "
        "Language Models, ICLR 2025",
        licence="Apache-2.0 (the authors' repository); LLaVA-1.5's Llama 2 Community License",
        repository="zhipeixu/FakeShield",
        commit="de40a5f7d77a8e5ac21bd77f00b78fd77a72f0d5",
        reasons=True,
        presets={
            "official": Preset(
                weights=(RELEASED,),
                views={
                    name: AnswerView(steps=(Resize(336, "bicubic"), CenterCrop(336)), **CLIP, settings=settings)
                    for name, settings in WAYS.items()
                },
                trained_on=TrainedOn(
                    dataset="MMTD-Set (CASIA v2, Fantastic Reality, FaceApp of DFFD, SD inpainting of MS COCO)",
                    generators=("faceapp", "stable-diffusion-inpainting"),
                ),
                note=(
                    "Views: greedy; sampled at T = 0.2, as the released code; no-tag, without the sentence that every "
                    "image is suspected of tampering. P(fake) is that of 'been' against 'not' behind 'The picture "
                    "has'. Written after the released code; the released weights were not seen here, nor was any "
                    "published number reproduced. Images are padded to a square first. Masks are left out"
                ),
            ),
        },
    )

    def __init__(
        self, *, preset: str | None = None, device: str = "cpu", weights: Mapping[str, Path], view: str | None = None
    ) -> None:
        from baselines._fakeshield import load

        if view is not None and view not in WAYS:
            raise UsageError(f"{self.card.name} has no view '{view}'.{nearest(view, WAYS)} Views: {', '.join(WAYS)}")
        self.answerer = load(weights["weights"], device=device, **WAYS[view or "greedy"])

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        """Return for each image, in order, P(tampered), what the answer's first point says, and its second point."""
        from baselines._fakeshield import read_answer

        made = []
        for said in self.answerer.answer(images):
            read = read_answer(said.text, truncated=said.truncated)
            made.append(
                Prediction(
                    score=said.score,
                    verdict=read.verdict,
                    reasoning=read.reasoning,
                    raw=said.text,
                    score_source=said.score_source,
                    problem=read.problem,
                )
            )
        return made
