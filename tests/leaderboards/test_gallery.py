"""The examples gallery: merged over runs, packed for one page, and deaf to what models and files try to smuggle in."""

from __future__ import annotations

import base64
import gzip
import json
import re

import pytest

from fdr_bench.errors import RunError
from fdr_bench.examples import write_examples
from leaderboards import rendering, side_by_side, site
from leaderboards.gallery import CHUNK
from tests.galleries import ANSWER, EDGES, LIGHTING, write_gallery_run
from tests.leaderboards.boards import SETTINGS, score, write_run
from tests.leaderboards.test_site import HOSTILE, TAGS, Reader
from tests.runs import write_lines

TEXTURE = "Anomalous Image Texture"
GALLERY_TAGS = TAGS | {"a", "noscript", "form", "select", "option", "bdi"}


@pytest.fixture(autouse=True)
def key_phrases_alone(monkeypatch):
    monkeypatch.setattr("fdr_bench.examples._encoder", lambda: None)


@pytest.fixture
def run(tmp_path):
    folder = scored(write_gallery_run(tmp_path / "run", tmp_path / "images"), ("writer", "scorer"))
    write_examples(folder)
    return folder


def scored(run, models):
    """Write a score for each model: a gallery needs scoring to have been there, and nothing of it."""
    rows = [score(model, "acc", 0.5, n=6, dataset="photos") for model in models]
    content = {"schema": 1, "run": run.name, "settings": SETTINGS, "scores": rows}
    (run / "scores.json").write_text(json.dumps(content), encoding="utf-8")
    return run


def opened(page):
    """Return what a gallery page carries: the index, and the texts of all samples."""
    (index,) = re.findall(r'<script type="application/json" id="samples">(.*?)</script>', page, re.DOTALL)
    chunks = re.findall(r'<script type="text/plain" class="texts">(.*?)</script>', page)
    texts = [json.loads(gzip.decompress(base64.b64decode(chunk))) for chunk in chunks]
    return json.loads(index), [told for chunk in texts for told in chunk]


def test_the_page_carries_truth_calls_scores_claims_and_texts(run, tmp_path):
    board = site.build([run], tmp_path / "out")
    assert 'href="examples-photos.html"' in board.read_text()
    index, texts = opened((board.parent / "examples-photos.html").read_text())
    assert index["truth"] == "rrffff"
    assert [index["generators"][n] if n >= 0 else None for n in index["generator"]] == [None] * 2 + ["one"] * 2 + [
        "two"
    ] * 2
    writer, scorer = index["models"]
    assert (writer["name"], writer["calls"]) == ("writer", "fffff-")
    assert (scorer["calls"], scorer["scores"]) == ("-rrrrr", [None, 0.1, 0.2, 0.3, 0.4, 0.5])
    names = index["attributes"]
    assert [names[n] for n in index["annotated"][2]] == [LIGHTING, EDGES]
    assert [names[n] for n in writer["claims"][2]] == [LIGHTING, TEXTURE]
    assert scorer["claims"] is None
    assert "".join(text for text, _ in texts[2]["answers"][0]["pieces"]) == ANSWER
    assert texts[0]["answers"][1]["error"] == "out of memory"
    assert texts[5]["answers"][0]["problem"] == "refused"


def test_pictures_lie_beside_the_page_and_a_missing_one_has_its_reason(run, tmp_path):
    site.build([run], tmp_path / "out")
    index, _ = opened((tmp_path / "out" / "examples-photos.html").read_text())
    assert all((tmp_path / "out" / "thumbnails" / name).is_file() for name in index["pictures"])
    for path in (run / "datasets" / "photos" / "thumbnails").iterdir():
        path.unlink()
    for path in (tmp_path / "images").rglob("*.png"):
        path.unlink()
    write_examples(run)
    site.build([run], tmp_path / "again")
    index, texts = opened((tmp_path / "again" / "examples-photos.html").read_text())
    assert index["pictures"] == [None] * 6
    assert all("can no longer be read" in told["why"] for told in texts)


def test_two_runs_of_one_set_share_a_gallery_and_a_run_without_examples_has_none(run, tmp_path):
    names = ("second", "third")
    other = scored(write_gallery_run(tmp_path / "other", tmp_path / "images", models=names), names)
    assert not (site.build([other], tmp_path / "none").parent / "examples-photos.html").exists()
    write_examples(other)
    site.build([run, other], tmp_path / "both")
    index, texts = opened((tmp_path / "both" / "examples-photos.html").read_text())
    named = [(model["run"], model["name"]) for model in index["models"]]
    assert named == [("run", "writer"), ("run", "scorer"), ("other", "second"), ("other", "third")]
    assert index["models"][0]["calls"] == index["models"][2]["calls"]
    assert len(texts) == 6 and len(texts[0]["answers"]) == 4


def test_equal_input_gives_an_equal_gallery(run, tmp_path):
    one, two = (site.build([run], tmp_path / name).parent / "examples-photos.html" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_texts_are_packed_in_chunks_that_keep_the_order(tmp_path):
    rows = [{"id": f"{n:04}", "label": "real", "caption": str(n), "answers": {}} for n in range(2 * CHUNK + 1)]
    run = write_run(tmp_path / "run", [score("a", "acc", 0.5)])
    write_lines(run / "datasets" / "set" / "examples.jsonl", rows)
    site.build([run], tmp_path / "out")
    page = (tmp_path / "out" / "examples-set.html").read_text()
    assert page.count('class="texts"') == 3
    assert [told["caption"] for told in opened(page)[1]] == [str(n) for n in range(2 * CHUNK + 1)]


def test_a_damaged_file_is_named_with_its_line(run, tmp_path):
    path = run / "datasets" / "photos" / "examples.jsonl"
    path.write_text(path.read_text() + '{"id": 3}\n')
    with pytest.raises(RunError, match=r"examples.jsonl, line 7: not an example"):
        site.build([run], tmp_path / "out")


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_a_model_wrote_becomes_markup_or_a_file(tmp_path, text):
    answer = {"call": text, "score": text, "pieces": [[text, text], text, [3, 4]], "claims": [text], "error": text,
              "problem": text}  # fmt: skip
    row = {"id": text, "label": "fake", "generator": text, "category": text, "caption": text, "truth": [text],
           "attributes": {text: text}, "reference": [[text, text]], "picture": text, "no_picture": text,
           "regions": {text: text, "b": "../../secret"}, "size": [text], "answers": {text: answer}}  # fmt: skip
    run = write_run(tmp_path / "run", [score(text, "acc", 0.5)])
    write_lines(run / "datasets" / "set" / "examples.jsonl", [row])
    site.build([run], tmp_path / "out")
    page = (tmp_path / "out" / "examples-set.html").read_text(encoding="utf-8")
    reader = Reader(page)
    assert {tag for tag, _ in reader.tags} <= GALLERY_TAGS
    assert sum(tag == "script" for tag, _ in reader.tags) == 3  # index, one chunk, the page's own
    assert sum(tag == "style" for tag, _ in reader.tags) == 1
    for _, attributes in reader.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "autofocus", "src")]
    index, (told,) = opened(page)
    shown = text.replace("\u2028", "\u2028")
    assert index["pictures"] == [None] and told["regions"] == []
    assert told["answers"][0]["pieces"] == [[shown, index["attributes"].index(shown)]]
    assert index["models"][0]["calls"] == "-" and index["models"][0]["scores"] == [None]
    assert list((tmp_path / "out" / "thumbnails").iterdir()) == []


def test_the_scripts_of_pages_of_samples_parse_no_markup():
    source = "".join(rendering.source(name) for name in {*site.GALLERY_SCRIPTS, *side_by_side.SCRIPTS})
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "srcdoc",
                "DOMParser", "setAttribute(\"on", ".href ="):  # fmt: skip
        assert way not in source
