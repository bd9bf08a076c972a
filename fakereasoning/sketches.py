"""A sketch of each chain of thought, put where its SUMMARY stands: what the reasoning is going to say, in few words.

A summary says how the task is gone about, which is the same for every image, and a reasoning words each fact in one of
many ways: of all its tokens few depend on what the image shows, and those that do stand behind many that do not. A
sketch says the same things always in the same words, so that nearly each of its tokens is learnt from the image alone;
the reasoning then has it to read. It goes through all that might be told, one thing after the other, and says of each
whether it is: where only what is told was listed, a model had to decide among all of it at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fakereasoning.prompts import SUMMARY_END, SUMMARY_START
from fakereasoning.records import Record
from fakereasoning.scene_views import Drawn, of_each_scene
from fdr_bench.data.scenes.language import place_words
from fdr_bench.data.scenes.phrases import NOUNS
from fdr_bench.data.scenes.scene import Solid
from fdr_bench.data.scenes.striking import stated, striking
from fdr_bench.types import Dataset

ASPECTS = {
    "texture": ("Natural and Consistent Image Texture", "Anomalous Image Texture"),
    "light": ("Consistent Lighting and Shadows", "Inconsistent Lighting and Shadows"),
    "edges": ("Smooth and Natural Image Edges", "Irregular Image Edges"),
    "quality": ("High Image Quality", "Low Image Quality"),
    "sense": ("Semantic Rationality", "Semantic Irrationality"),
}
"""What a sketch of FDR-Scenes goes through, each with an attribute of photographs and one of fakes.

The order is that in which the reasoning of a fake tells them, so that it can follow its sketch word after word.
"""
NOTHING = "nothing"
"""What is said of an aspect that the reasoning leaves out."""


def sketched(records: Sequence[Record], dataset: Dataset) -> list[Record]:
    """Return the records with sketches as their summaries; one whose answer has no summary, or no attributes, stays.

    Of FDR-Scenes a sketch names solids, kinds of forgery and places; of other data the attributes alone.
    """
    known = scenes_sketched(dataset) if dataset.spec.partition(":")[0] == "scenes" else {}
    return [_sketched(record, known) for record in records]


def scenes_sketched(dataset: Dataset) -> dict[str, str]:
    """Return the sketches of pictures of FDR-Scenes by their locations."""
    return {sample.image.location: told for sample, told in of_each_scene(dataset, _sketch)}


def _sketched(record: Record, known: Mapping[str, str]) -> Record:
    told = known.get(record.image.location) or _of_attributes(record.attributes or {})
    before, opened, rest = record.answer.partition(SUMMARY_START)
    _, closed, after = rest.partition(SUMMARY_END)
    if not (told and opened and closed):
        return record
    return replace(record, answer=f"{before}{SUMMARY_START} {told}. {SUMMARY_END}{after}")


def _of_attributes(attributes: Mapping[str, str | None]) -> str:
    names = "; ".join(name.lower() for name, text in sorted(attributes.items()) if text)
    return names and f"In brief, {names}"


def _sketch(drawn: Drawn) -> str:
    """Return what the reasoning of a picture is going to say; nothing of a fake that shows nothing."""
    return _of_fake(drawn) if "/1_fake/" in drawn.id else _of_photograph(drawn)


def _of_photograph(drawn: Drawn) -> str:
    """Return the solid of which each aspect is told."""
    found = striking(drawn.view().scene)
    return _through({name: [_name(found[name].solid)] for name in stated(found)})


def _of_fake(drawn: Drawn) -> str:
    """Return each kind of forgery with the solids or the place that it is told of; nothing where there is none."""
    solids = drawn.view().scene.solids
    said: dict[str, list[str]] = {}
    for fact in drawn.facts:
        numbers = [fact[role] for role in ("solid", "other") if fact[role] is not None]
        where = [_name(solids[int(str(number))]) for number in numbers]
        if not where and isinstance(fact["place"], list):
            where = [place_words((float(fact["place"][0]), float(fact["place"][1])))]
        told = ", ".join([str(fact["kind"]).replace("-", " "), *where])
        said.setdefault(str(fact["attribute"]), []).append(told)
    return _through(said) if said else ""


def _through(said: Mapping[str, Sequence[str]]) -> str:
    """Return what is said by attribute, aspect by aspect."""
    told = ((aspect, [one for name in names for one in said.get(name, ())]) for aspect, names in ASPECTS.items())
    return "As to " + "; ".join(f"{aspect}: {' and '.join(ones) or NOTHING}" for aspect, ones in told)


def _name(solid: Solid) -> str:
    return f"{solid.colours[0]} {NOUNS[solid.shape][0]}"
