"""General vision-language models, asked zero-shot: "vlm:NAME", a name of ours, a hub id or a folder.

Any checkpoint that transformers loads by its image-text-to-text classes answers a prompt about each image; P(fake) is
read from the logits of the verdict's word, so that such a model has an average precision too. Their presets are the
prompts, their views the two polarities.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from baselines._vlm_entries import ENTRIES, Entry
from fdr_bench.errors import UsageError, nearest
from fdr_bench.families import card_name, repeats
from fdr_bench.prompts.presets import presets
from fdr_bench.prompts.reading import read_answer
from fdr_bench.types import DetectorCard, Prediction, Weights

if TYPE_CHECKING:
    from PIL.Image import Image

    from baselines._vlm_answering import Answerer
    from fdr_bench.prompts import Prompt

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_ROWS = {"cpu": 4, "gpu": 8}


class VLM:
    """The family of local vision-language models; an instance makes detectors of one of them."""

    options: ClassVar[Mapping[str, str]] = {
        "prompt": "a shipped prompt's name, or a file",
        "max-tokens": "how long an answer may get, in tokens [default: the prompt's]",
        "temperature": "0 takes the likeliest token; above, tokens are drawn, by the image and the repeat [default: 0]",
        "repeats": "how often every image is shown; of use above temperature 0",
        "precision": "fp32, bf16 or fp16 [default: bf16 on a GPU; on a processor fp32 below 2 GiB of weights]",
        "load": "4bit quantises to NF4 while loading; needs bitsandbytes and a GPU",
        "thinking": "on lets models think first whose chat template can turn it off [default: off]",
        "rows": "images a batch; halved where memory is short [default: 8 on a GPU, 4 on a processor]",
        "revision": "the hub's revision [default: main]",
        "trust-code": "the very NAME whose authors' code may run, where you have read it [default: none]",
    }

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        self.name, self.asked = name, _checked(options)
        entry, weights = _find(name, options.get("revision"))
        self.trusted = options.get("trust-code") == name
        settings = {key.replace("-", "_"): value for key, value in self.asked.items() if key not in ("rows", "repeats")}
        if self.trusted:
            settings["code"] = "trusted"
        made, self.prompts = presets(options.get("prompt"), settings, repeats=repeats(options))
        shown = name if entry or (_HUB_ID.fullmatch(name) and not Path(name).is_dir()) else Path(name).resolve().name
        self.card = DetectorCard(
            name=card_name("vlm", shown),
            title=entry.title if entry else shown,
            paper=entry.paper if entry else "not known here: see the model's own card",
            licence=entry.licence if entry else "not known here: see the model's own card",
            repository=entry.hub if entry else None,
            reasons=True,
            presets={
                key: replace(
                    preset, weights=(weights,), note=_note(entry), parameters=entry.parameters if entry else None
                )
                for key, preset in made.items()
            },
        )

    def __call__(self, *, preset: str | None, device: str, weights: Mapping[str, Path], view: str | None) -> LocalVLM:
        """Load the model and return the detector that asks it the prompt of a preset in the polarity of a view."""
        from baselines._vlm_answering import Answerer, Question
        from baselines._vlm_loading import load

        chosen = preset or next(iter(self.card.presets))
        prompt = self.prompts[chosen, view or next(iter(self.card.presets[chosen].views))]
        loaded = load(
            weights.get("model", weights.get("weights", Path())),
            device=device,
            precision=self.asked.get("precision"),
            four_bit=self.asked.get("load") == "4bit",
            trusted=self.trusted,
        )
        answerer = Answerer(
            loaded,
            Question(
                text=prompt.text,
                system=prompt.system,
                words=prompt.words,
                lead=prompt.verdict_after,
                stage=prompt.stages[-1] if prompt.stages else None,
            ),
            max_tokens=self.asked.get("max-tokens", prompt.max_tokens),
            temperature=self.asked.get("temperature", 0.0),
            repeat=int((view or "").rpartition(".")[2]) if "." in (view or "") else 1,
            thinking=self.asked.get("thinking") == "on",
            rows=self.asked.get("rows", _ROWS["cpu" if device == "cpu" else "gpu"]),
        )
        return LocalVLM(answerer, prompt)


class LocalVLM:
    """One loaded model and one prompt."""

    def __init__(self, answerer: Answerer, prompt: Prompt) -> None:
        self.answerer, self.prompt = answerer, prompt

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        """Return for each image, in order, the verdict that its answer states, the reasoning, the text and P(fake).

        A text without a verdict has a score all the same; its source then ends in "-forced" where the text did not
        come to the verdict's word by itself.
        """
        made = []
        for said in self.answerer.answer(images):
            answer = read_answer(said.text, self.prompt, truncated=said.truncated)
            made.append(
                Prediction(
                    score=said.score,
                    verdict=answer.verdict,
                    reasoning=answer.reasoning,
                    raw=said.text,
                    score_source=said.score_source,
                    problem=answer.problem,
                )
            )
        return made


def _find(name: str, revision: str | None) -> tuple[Entry | None, Weights]:
    """Return the entry of a name, if any, and where its weights are: on the hub, or in a folder of the user's."""
    if name in ENTRIES:
        entry = ENTRIES[name]
        if entry.native is None:
            return entry, _on_hub(entry.hub, revision, entry.licence)
        manual = (
            f"{entry.title} runs on its authors' code only. Let a server run it, such as vLLM: openai:{entry.hub} with "
            f"--base-url. Or use the nearest model that needs none: vlm:{entry.native}. Or read that code, download "
            f"the whole folder (hf download {entry.hub} --local-dir FOLDER) and say --option trust-code={name}"
        )
        return entry, Weights(role="model", filename=f"{entry.hub}/", licence=entry.licence, manual=manual)
    if Path(name).expanduser().is_dir():
        return None, Weights(role="model", filename=f"{Path(name).expanduser().resolve()}/")
    if _HUB_ID.fullmatch(name):
        return None, _on_hub(name, revision, None)
    raise UsageError(
        f"'vlm:{name}' is no model: there is no such folder, it is no hub id (ORG/NAME), and none of the names here."
        f"{nearest(name, ENTRIES)} Names: {', '.join(ENTRIES)}."
    )


def _on_hub(hub: str, revision: str | None, licence: str | None) -> Weights:
    return Weights(role="model", hub=hub, revision=revision, filename=f"{hub}/", licence=licence)


def _note(entry: Entry | None) -> str | None:
    if entry is None or not (entry.native or entry.note):
        return None
    native = f", which is not run here: use openai:{entry.hub} with a server, or vlm:{entry.native}"
    return entry.note + (native if entry.native else "")


def _checked(options: Mapping[str, str]) -> dict[str, Any]:
    """Return the options that say how answers are made, as their types. Raises `UsageError` for a wrong value."""
    readers: dict[str, tuple[Callable[[str], Any], str]] = {
        "max-tokens": (_whole, "a whole number above 0"),
        "rows": (_whole, "a whole number above 0"),
        "temperature": (_temperature, "a number from 0 to 2"),
        "precision": (_one_of("fp32", "bf16", "fp16"), "fp32, bf16 or fp16"),
        "load": (_one_of("4bit"), "4bit"),
        "thinking": (_one_of("on", "off"), "on or off"),
    }
    made = {}
    for name, (read, wanted) in readers.items():
        if name in options:
            try:
                made[name] = read(options[name])
            except ValueError:
                raise UsageError(f"the option '{name}' is {wanted}, not '{options[name]}'") from None
    return made


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(text)
    return int(text)


def _temperature(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 2:
        raise ValueError(text)
    return number


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return read
