"""Which model judges, by which rubric, and with which settings: all that its answers depend on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fdr_bench.errors import UsageError, nearest
from fdr_bench.judge.rubrics import Rubric
from fdr_bench.served import limits
from fdr_bench.served.limits import Limits, Numbers, one_of, read_extra, read_limits

HELP: Mapping[str, str] = {
    **limits.HELP,
    "tries": "requests for one text before it counts as failed [6]",
    "temperature": "of the judge [0]",
    "max-tokens": "longest answer [the rubric's: 1024]",
    "structured": "yes: the answer is a JSON object by a schema, where the server offers it [no]",
    "extra": 'a JSON object of further fields of the request, such as {"reasoning_effort":"low"}',
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """A model that marks texts by a rubric."""

    model: str
    rubric: Rubric
    limits: Limits
    name: str
    temperature: float = 0.0
    max_tokens: int = 1024
    structured: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What stands behind the @ of its metrics, and names its folder in a run: "reference.v1+gpt-4o"."""
        return f"{self.rubric.label}+{self.name}"

    def identity(self) -> dict[str, Any]:
        """Return what must be equal for two sessions' marks to stand in one folder; the server may be another."""
        return {
            "model": self.model,
            "rubric_sha256": self.rubric.sha256,
            "rubric": {**asdict(self.rubric), "criteria": dict(self.rubric.criteria)},
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "structured": self.structured,
            "extra": dict(self.extra),
        }

    def body(self, messages: list[dict[str, str]]) -> dict[str, Any]:
        """Return the JSON of one request. A field that `extra` sets to null is left out."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }
        if self.structured:
            body["response_format"] = self._schema()
        body |= self.extra
        if "max_completion_tokens" in body:  # what newer models of OpenAI's call it
            del body["max_tokens"]
        return {key: value for key, value in body.items() if value is not None}

    def _schema(self) -> dict[str, Any]:
        scale = list(range(self.rubric.lowest, self.rubric.highest + 1))
        properties = {name: {"type": "integer", "enum": scale} for name in self.rubric.criteria}
        schema = {"type": "object", "properties": properties, "required": list(properties)}
        strict = {"name": "marks", "strict": True, "schema": {**schema, "additionalProperties": False}}
        return {"type": "json_schema", "json_schema": strict}


def read_judge(model: str, rubric: Rubric, said: Mapping[str, str], name: str | None = None) -> Judge:
    """Return the judge that a user asked for; `name` is what its metrics are called after [the model's name].

    Raises `UsageError` naming the option that is wrong.
    """
    for option in said:
        if option not in HELP:
            raise UsageError(f"a judge has no option '{option}'.{nearest(option, HELP)} Options: {', '.join(HELP)}")
    if not model.strip():
        raise UsageError("--model is empty: give the judge's name as the server knows it, such as gpt-4o")
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name or model).strip("-.")[:80]
    if not slug:
        raise UsageError(f"'{name or model}' has no letter that could stand in a metric's name; give --name")
    number = Numbers(said)
    extra = read_extra(said["extra"]) if "extra" in said else {}
    return Judge(
        model=model.strip(),
        rubric=rubric,
        limits=read_limits({key: value for key, value in said.items() if key in limits.HELP}),
        name=slug,
        temperature=number("temperature", 0, 0, 2),
        max_tokens=int(number("max-tokens", rubric.max_tokens, 1, 1_000_000, whole=True)),
        structured=one_of(said, "structured", "no", ("yes", "no")) == "yes",
        extra=dict(extra),
    )
