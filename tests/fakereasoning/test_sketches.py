"""Sketches: what a reasoning is going to say, in the same words each time, where its summary stood."""

import json
import re

import pytest

from fakereasoning.material import gather
from fakereasoning.prompts import parse_stages
from fakereasoning.recipe import TuneRecipe
from fakereasoning.records import Record, read_records
from fakereasoning.sketches import ASPECTS, NOTHING, sketched
from fdr_bench.data import open_dataset
from fdr_bench.data.files import FileImage
from fdr_bench.data.scenes import parse, scenes_folder
from fdr_bench.data.scenes.phrases import NOUNS
from fdr_bench.types import Dataset

SCENES = "scenes:train?size=64&n=32"
SHAPE = {noun: shape for shape, nouns in NOUNS.items() for noun in nouns}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Return sketches of pictures by their ids, with their records and the violations of each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FDR_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        dataset = open_dataset(SCENES)
        records = read_records(dataset)
        facts = json.loads((scenes_folder(parse(SCENES.partition(":")[2])) / "facts.json").read_text())
        yield list(zip(sketched(records, dataset), records, strict=True)), facts


def summary(record: Record) -> str:
    said = parse_stages(record.answer).summary
    assert said is not None
    return said


def names(text: str) -> set[tuple[str, str]]:
    """Return the solids that a text names, by colour and shape."""
    found = re.findall(r"(\w+) (conical solid|\w+)", text)
    both = found + re.findall(r"(\w+) (conical solid|\w+)", text.partition(" ")[2])
    return {(colour, SHAPE[noun]) for colour, noun in both if noun in SHAPE}


def slots(record: Record) -> dict[str, str]:
    """Return what a sketch says of each aspect, which it goes through in their order."""
    items = [item.partition(": ") for item in summary(record).removeprefix("As to ").removesuffix(".").split("; ")]
    assert [aspect for aspect, _, _ in items] == list(ASPECTS)
    return {aspect: told for aspect, _, told in items}


def test_a_sketch_of_a_photograph_tells_what_its_reasoning_states_and_of_which_solids(pairs):
    told = 0
    for new, old in pairs[0]:
        if old.label != "real":
            continue
        assert sum(one != NOTHING for one in slots(new).values()) >= 3
        for aspect, said in slots(new).items():
            sentence = old.attributes.get(ASPECTS[aspect][0])
            assert (said == NOTHING) is not bool(sentence)
            assert not sentence or names(said) <= names(sentence) or not names(sentence)
            told += bool(sentence and names(said))
    assert told >= 3 * 16


def test_a_sketch_of_a_fake_tells_its_violations_and_where_they_are(pairs):
    both, facts = pairs
    fakes = [(new, old) for new, old in both if old.label == "fake"]
    assert len(fakes) == 16
    for new, old in fakes:
        kinds = {fact["kind"].replace("-", " "): fact["attribute"] for fact in facts[old.id]}
        for aspect, said in slots(new).items():
            sentence = old.attributes.get(ASPECTS[aspect][1])
            assert (said == NOTHING) is not bool(sentence)
            if not sentence:
                continue
            kind, _, where = said.partition(", ")
            assert kinds[kind] == ASPECTS[aspect][1]
            # Names of solids, or a place; a sentence may leave the second of two solids out.
            assert names(where) >= names(sentence) if names(where) else where in sentence


def test_all_but_the_summary_stays(pairs):
    for new, old in pairs[0]:
        assert new.answer != old.answer
        assert re.sub("<SUMMARY>.*</SUMMARY>", "", new.answer) == re.sub("<SUMMARY>.*</SUMMARY>", "", old.answer)
        assert parse_stages(new.answer).problem is None


def test_a_fake_that_shows_nothing_keeps_its_summary(tmp_path, monkeypatch):
    monkeypatch.setenv("FDR_BENCH_CACHE", str(tmp_path))
    dataset = open_dataset("scenes:train?size=32&n=4&violation=0")
    for new, old in zip(sketched(read_records(dataset), dataset), read_records(dataset), strict=True):
        assert (new.answer == old.answer) is (old.label == "fake")


def test_of_other_data_the_attributes_are_told_and_an_answer_without_summary_stays():
    image = FileImage("a.png", 0)
    asked = {"image": image, "question": None, "label": "fake"}
    texts = {"Low Image Quality": "It is blurred.", "Irregular Image Edges": "They wobble.", "Semantics": None}
    whole = "<SUMMARY> I look at it. </SUMMARY>\n<CAPTION> A cat. </CAPTION>"
    records = [
        Record(id="a", answer=whole, attributes=texts, **asked),
        Record(id="b", answer="This image is fake.", attributes=texts, **asked),
        Record(id="c", answer=whole, attributes=None, **asked),
    ]
    made = sketched(records, Dataset(name="mmfr", spec="mmfr:there", samples=(), fingerprint="0"))
    first = "<SUMMARY> In brief, irregular image edges; low image quality. </SUMMARY>\n<CAPTION> A cat. </CAPTION>"
    assert [record.answer for record in made] == [first, "This image is fake.", whole]


def test_a_tuning_learns_sketches_where_its_recipe_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("FDR_BENCH_CACHE", str(tmp_path))
    for sketch in (False, True):
        material = gather("scenes:train?size=32&n=4", "own", {"tune": TuneRecipe(sketch=sketch)})
        assert all(summary(record).startswith("As to ") is sketch for record in material.told)
        assert not any(summary(record).startswith("As to ") for record in material.records)
