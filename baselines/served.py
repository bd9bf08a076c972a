"""Any vision-language model behind an OpenAI-compatible server, zero-shot: vLLM, SGLang, llama.cpp, a vendor.

Named openai:MODEL, with the server as --base-url. An image is sent as a data URL, a prompt of `fdr_bench.prompts`
beside it; the verdict is read out of the answer, and P(fake) out of the log-probabilities of its word where the server
lists them. The protocol is that of "Create chat completion" (platform.openai.com/docs/api-reference/chat).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from baselines._served_options import HELP, read_options
from fdr_bench.errors import UsageError
from fdr_bench.families import Failure, card_name
from fdr_bench.prompts import Prompt
from fdr_bench.prompts.presets import presets
from fdr_bench.types import DetectorCard, Prediction

if TYPE_CHECKING:
    from PIL.Image import Image

    from baselines._served_options import Options


class Served:
    """The family openai: what stands behind the colon is the model's name as the server knows it."""

    options: ClassVar[Mapping[str, str]] = HELP

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        self.name = name.strip()
        self.said = read_options(options)
        repeats = options.get("repeats", "1")
        if not repeats.isdecimal() or not int(repeats):
            raise UsageError(f"repeats is a whole number above 0, not '{repeats}'")
        settings = {"model": self.name, **self.said.settings()}
        made, self.prompts = presets(options.get("prompt"), settings, repeats=int(repeats))
        self.card = DetectorCard(
            name=card_name("openai", self.name),
            title=self.name,
            paper="zero-shot, through a server; see the model's own card",
            licence="the model's own",
            reasons=True,
            presets=made,
        )

    def __call__(
        self, *, preset: str | None, device: str, weights: Mapping[str, Path], view: str | None
    ) -> ServedDetector:
        """Return the detector; it opens no connection before its first image."""
        name = preset or next(iter(self.card.presets))
        chosen = view or next(iter(self.card.presets[name].views))
        settings = getattr(self.card.presets[name].views[chosen], "settings", {})
        return ServedDetector(self.name, self.said, self.prompts[name, chosen], settings)


class ServedDetector:
    """One model asked one prompt. `predict` may be called from several threads; all share the limit on requests."""

    def __init__(self, model: str, options: Options, prompt: Prompt, settings: Mapping[str, str | float]) -> None:
        from fdr_bench.served.asking import Asking
        from fdr_bench.served.http import Server

        self._model, self._options, self._prompt = model, options, prompt
        self._settings = json.dumps(dict(settings), sort_keys=True)
        self._fixed = _fixed_fields(model, options, prompt, settings)
        self._server = Server(
            options.base_url, key=options.key, key_variable=options.key_variable, timeout=options.timeout
        )
        self._asking = Asking(options, f"openai:{model}")

    def keep_in(self, folder: Path) -> None:
        """Take over the answers that a run's folder holds; each further one is kept there when it comes."""
        from fdr_bench.journal import ANSWERS, Journal

        self._asking.keep(Journal(folder / ANSWERS))

    def close(self) -> None:
        """Ask nothing more."""
        self._asking.close()

    def predict(self, images: Sequence[Image]) -> list[Prediction | Failure]:
        """Return for each image, in order, what the model says, or why there is no answer.

        Raises `RunStopped` where the budget is spent, the key is not accepted or the server is gone; every answer that
        came is kept.
        """
        waiting = [self._asking.ask(self._question(image)) for image in images]
        wait(waiting)  # also where one has stopped the run: what is under way is kept
        return [self._prediction(future.result()) for future in waiting]

    def _question(self, image: Image) -> Any:
        from baselines._served_answers import hear
        from baselines._served_images import data_url, pixel_digest
        from fdr_bench.served.asking import Question

        def encode() -> str:
            return data_url(image, side=self._options.image_side, format=self._options.image_format)

        def ask(url: str) -> Any:
            reply = self._server.post(self._body(url))
            return hear(reply, self._prompt, structured=self._options.structured)

        key = hashlib.sha256(f"{self._settings} {pixel_digest(image)}".encode()).hexdigest()[:32]
        return Question(key, encode, ask)

    def _body(self, url: str) -> dict[str, Any]:
        picture: dict[str, Any] = {"url": url}
        if self._options.detail:
            picture["detail"] = self._options.detail
        asked = [{"type": "image_url", "image_url": picture}, {"type": "text", "text": self._prompt.text}]
        system = [{"role": "system", "content": self._prompt.system}] if self._prompt.system else []
        return {**self._fixed, "messages": [*system, {"role": "user", "content": asked}]}

    def _prediction(self, answer: Any) -> Prediction | Failure:
        from fdr_bench.prompts.reading import read_answer, read_structured
        from fdr_bench.served.http import Trouble

        if isinstance(answer, Trouble):
            if answer.kind == "refused":
                return Prediction(raw=answer.reason, problem="refused")
            return Failure(answer.kind, answer.reason)
        read = read_structured if self._options.structured else read_answer
        text = answer["text"]
        reading = read(text, self._prompt, truncated=answer["truncated"], refused=answer["refused"])
        # A word that is denied ("not fake") or is not what the answer comes to is not the verdict's.
        scored = reading.verdict is not None and reading.verdict == answer.get("word")
        return Prediction(
            score=answer.get("score") if scored else None,
            score_source=answer.get("score_source") if scored else None,
            verdict=reading.verdict,
            reasoning=reading.reasoning,
            raw=text,
            problem=reading.problem,
        )


def _fixed_fields(model: str, options: Options, prompt: Prompt, settings: Mapping[str, str | float]) -> dict[str, Any]:
    """Return the fields that all requests of a detector share."""
    fields: dict[str, Any] = {
        "model": model,
        "temperature": options.temperature,
        "max_tokens": int(settings["max_tokens"]),
    }
    if options.temperature > 0:
        fields["seed"] = int(settings.get("repeat", 1))
    if options.logprobs:
        fields |= {"logprobs": True, "top_logprobs": options.logprobs}
    if options.structured:
        fields["response_format"] = _schema(prompt)
    fields |= options.extra
    if "max_completion_tokens" in fields:  # what newer models of OpenAI's call it
        del fields["max_tokens"]
    # A field that is set to null is left out: some models take no temperature.
    return {key: value for key, value in fields.items() if value is not None}


def _schema(prompt: Prompt) -> dict[str, Any]:
    verdict = {"type": "string", "enum": list(prompt.words.values())}
    reasons = bool(prompt.stages or prompt.verdict_after)
    properties = {**({"reasoning": {"type": "string"}} if reasons else {}), "verdict": verdict}
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
