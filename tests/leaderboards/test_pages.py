"""Pages of models and generators: the cells of the tables, linked both ways, each with its examples."""

from __future__ import annotations

import re

import pytest

from leaderboards import site
from tests.leaderboards.boards import score, write_run
from tests.leaderboards.test_site import Reader
from tests.runs import write_lines

TRAINED = {"dataset": "set-train", "generators": ["one"]}


@pytest.fixture
def out(tmp_path):
    """Return the folder of a board: b is better than a on generator two, a was trained on one; three has no number."""
    rows = []
    for model, one, two in (("a", 0.9, 0.6), ("b", 0.8, 0.7), ("constant", 0.5, 0.5)):
        rows += [
            score(model, "acc", (one + two) / 2),
            score(model, "acc", (one + two) / 2, slice="macro"),
            score(model, "acc", one, slice="generator:one", n=40, interval=(one - 0.05, one + 0.05)),
            score(model, "acc", two, slice="generator:two", n=60),
            score(model, "acc", None, slice="generator:three", n=0, reason="no images in this slice"),
        ]
    run = write_run(tmp_path / "run", rows, models={"a": {"title": "The A", "trained_on": TRAINED, "parameters": 1234}})
    answers = {"a": {"call": "fake", "score": 0.9}, "b": {"call": "real", "score": 0.2}}
    examples = [{"id": "x.png", "label": "fake", "generator": "two", "answers": answers}]
    write_lines(run / "datasets" / "set" / "examples.jsonl", examples)
    site.build([run], tmp_path / "out")
    return tmp_path / "out"


def page(out, name):
    return Reader((out / name).read_text(encoding="utf-8"))


def links(reader):
    return [attributes["href"] for tag, attributes in reader.tags if tag == "a"]


def test_every_model_and_generator_has_a_page_and_every_link_leads_somewhere(out):
    written = {path.name for path in out.glob("*.html")}
    assert written == {
        "index.html", "examples-set.html", "model-a.html", "model-b.html", "model-constant.html",
        "generator-set-one.html", "generator-set-two.html", "generator-set-three.html",
    }  # fmt: skip
    for name in written:
        for link in links(page(out, name)):
            assert link.startswith("#") or link.partition("#")[0] in written
    assert {"model-a.html", "generator-set-two.html", "examples-set.html"} <= set(links(page(out, "index.html")))


def test_a_models_page_has_its_facts_its_numbers_and_its_generators(out):
    reader = page(out, "model-a.html")
    text = " ".join(reader.text.split())
    for expected in ("The A", "1,234", "set-train: one", "n = 100", "By generator"):
        assert expected in text
    cells = [
        attributes for tag, attributes in reader.tags if tag == "td" and "shade" in (attributes.get("class") or "")
    ]
    said = {
        (attributes["title"] or "").partition(",")[0]: attributes
        for attributes in cells
        if ", ACC:" in attributes["title"]
    }
    assert "trained-here" in said["one"]["class"] and "trained-here" not in said["two"]["class"]
    assert "undefined: no images in this slice" in said["three"]["title"]
    assert "examples-set.html#model=0&show=wrong" in links(reader)


def test_a_generators_page_ranks_the_models_on_it_with_baselines_last(out):
    def ranked(name):
        return [attributes["data-value"] for tag, attributes in page(out, name).tags
                if tag == "th" and "data-value" in attributes]  # fmt: skip

    assert ranked("generator-set-one.html") == ["a", "b", "constant"]
    assert ranked("generator-set-two.html") == ["b", "a", "constant"]
    assert "examples-set.html#generator=0&show=split" in links(page(out, "generator-set-two.html"))
    assert not [link for link in links(page(out, "generator-set-one.html")) if link.startswith("examples")]


def test_names_that_would_share_a_file_get_one_each(tmp_path):
    names = ("a b", "a-b", "A.B", "…")
    rows = [
        score(name, "acc", 0.5, slice=slice) for name in names for slice in ("all", "generator:x y", "generator:x-y")
    ]
    site.build([write_run(tmp_path / "run", rows)], tmp_path / "out")
    found = sorted(path.name for path in (tmp_path / "out").glob("model-*.html"))
    assert found == ["model-a-b-2.html", "model-a-b-3.html", "model-a-b.html", "model-dataset.html"]
    assert len(list((tmp_path / "out").glob("generator-*.html"))) == 2
    for name in found:
        assert re.fullmatch(r"[a-z0-9-]+\.html", name)
