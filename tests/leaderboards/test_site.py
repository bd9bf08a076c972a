"""The page: complete, equal for equal input, and deaf to what the files try to smuggle in."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser

import pytest

from fdr_bench.errors import RunError
from fdr_bench.scoring import score_run
from leaderboards import site
from tests.leaderboards.boards import score, write_run
from tests.runs import make_run

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "--><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x="',
    "' autofocus onfocus='alert(1)",
    "</style><style>*{background:url(//evil.example/x)}",
    "red;background:url(https://evil.example/x)",
    "javascript:alert(1)",
    "{{ 7*7 }}{% raise %}",
    "\u2028alert(1)\u2029<!--<script>",
]
TAGS = set(
    re.findall(
        r"\w+",
        "html head meta title style body a header div h1 span p label input button main nav section h2 h3 h4 table "
        "thead tbody tr th td svg rect circle b strong sup ol ul li bdi wbr fieldset legend i article dl dt dd "
        "figure figcaption details summary code pre script",
    )
)
LOCAL = re.compile(r"#\S*|[a-z0-9-]+\.html(#[a-z]+=\d+(&show=[a-z]+)?)?")
"""Where a link may lead: within a page, or to a page beside it."""
KINDS = ["application/json", "text/plain", "application/json", None]  # only the last one runs


class Reader(HTMLParser):
    """Collect tags, attributes and text as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("board") / "run", 96, verdicts_only=("npr@scenes",))
    score_run(run, resamples=5)
    return run


@pytest.fixture(scope="module")
def page(scored, tmp_path_factory):
    return site.build([scored], tmp_path_factory.mktemp("out")).read_text(encoding="utf-8")


def test_the_page_shows_models_provenance_and_what_was_skipped(page):
    text = Reader(page).text
    for expected in ("univfd", "file-metadata", "constant", "cnndetection@official", "weights are missing: get them"):
        assert expected in text
    for provenance in ("0.1.0", "0" * 40, "cpu", "torch", "2026-01-05T10:00:00+00:00", "95%, 5 resamples, seed 0"):
        assert provenance in text
    assert "no scores: the model states verdicts only" in text
    assert "trained on this generator" in text


def test_every_measured_cell_says_its_n_in_words(page):
    cells = [
        attributes
        for tag, attributes in Reader(page).tags
        if tag == "td" and "percent" in (attributes.get("class") or "")
    ]
    assert len(cells) > 20
    for cell in cells:
        assert re.search(r"n = [\d,]+|undefined: \S", cell["title"] or "")


def test_equal_input_gives_equal_bytes(scored, tmp_path):
    one, two = (site.build([scored], tmp_path / name) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    files = [sorted(path.name for path in (tmp_path / name / "exports").iterdir()) for name in ("one", "two")]
    assert files[0] == files[1]
    assert all(
        (tmp_path / "one/exports" / f).read_bytes() == (tmp_path / "two/exports" / f).read_bytes() for f in files[0]
    )


def test_the_page_carries_the_files_that_lie_beside_it(scored, tmp_path):
    index = site.build([scored], tmp_path)
    (carried,) = re.findall(r'<script type="application/json" id="files">(.*?)</script>', index.read_text(), re.DOTALL)
    written = {path.name: path.read_text() for path in (tmp_path / "exports").iterdir()}
    assert json.loads(carried) == written
    assert {"fdr-scenes-test-overview.csv", "fdr-scenes-test-generators-ap.tex", "scores.csv"} <= written.keys()
    assert {"fdr-scenes-test-overview.json", "model-card-npr-scenes.md"} <= written.keys()
    assert "model-card-constant.md" not in written  # a baseline has no card


def test_the_page_asks_for_nothing_outside_itself(page):
    for tag, attributes in Reader(page).tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert "src" not in attributes
        assert LOCAL.fullmatch(attributes.get("href") or "#")
    (policy,) = [a["content"] for tag, a in Reader(page).tags if "http-equiv" in a]
    assert "default-src 'none'" in (policy or "")


def test_an_unfinished_run_and_a_biased_set_are_said_in_words(tmp_path):
    rows = [score("a", "acc", 0.9), score("file-metadata", "balanced_acc", 0.987, interval=(0.97, 0.99))]
    index = site.build([write_run(tmp_path / "run", rows, finished=False)], tmp_path)
    text = " ".join(Reader(index.read_text()).text.split())
    assert "The files give the answer away." in text
    assert "reaches 98.7 % balanced accuracy on this set (95% interval 97.0–99.0, n = 100; chance is 50 %)" in text
    assert "unfinished" in text


def test_a_run_of_which_nothing_was_scored_still_has_a_page(tmp_path):
    skipped = [{"model": "a@official", "dataset": None, "reason": "get the weights"}]
    index = site.build([write_run(tmp_path / "run", [], skipped=skipped)], tmp_path)
    assert "get the weights" in index.read_text()


def test_a_run_without_scores_writes_no_page(tmp_path):
    run = make_run(tmp_path / "run", 24)
    with pytest.raises(RunError, match="fdr-bench score"):
        site.build([run], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_the_files_becomes_markup(tmp_path, text):
    rows = [
        score(text, metric, 0.9, dataset=text, slice=s)
        for metric in ("acc", "ap")
        for s in ("all", f"generator:{text}")
    ]
    rows += [
        score("b", "acc", None, dataset=text, reason=text),
        score("b", "acc", None, dataset=text, slice=text, reason=text),
    ]
    facts = dict.fromkeys(("title", "paper", "licence", "weights_sha256", "threshold"), text)
    models = {text: {**facts, "trained_on": {"dataset": text, "generators": [text]}}}
    sets = {text: {"spec": text, "fingerprint": text, "generators": [text], "notes": [text]}}
    run = write_run(
        tmp_path / "run", rows, models=models, datasets=sets, run=text, device=text, started=text, finished=text,
        spec={"x": text, "seed": text}, packages={text: text}, code={"version": text, "commit": text},
        skipped=[{"model": text, "dataset": text, "reason": text}], failures={text: 3},
        problems={text: {text: 2}},
    )  # fmt: skip
    page = site.build([run], tmp_path / "out").read_text(encoding="utf-8")
    reader = Reader(page)
    assert {tag for tag, _ in reader.tags} <= TAGS
    assert [attributes.get("type") for tag, attributes in reader.tags if tag == "script"] == KINDS
    assert sum(tag == "style" for tag, _ in reader.tags) == 1
    for _, attributes in reader.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "autofocus", "src")]
        assert LOCAL.fullmatch(attributes.get("href") or "#")
    shown = html.unescape(page)
    assert text in shown
    for leaf in (tmp_path / "out").glob("*-*.html"):
        reader = Reader(leaf.read_text(encoding="utf-8"))
        assert {tag for tag, _ in reader.tags} <= TAGS
        assert [attributes.get("type") for tag, attributes in reader.tags if tag == "script"] == [None]
        for _, attributes in reader.tags:
            assert not [name for name in attributes if name.startswith("on") or name in ("style", "autofocus", "src")]
            assert LOCAL.fullmatch(attributes.get("href") or "#")
        assert text in reader.text
    for path in (tmp_path / "out" / "exports").iterdir():
        assert re.fullmatch(r"[a-z0-9-]+\.(csv|md|tex|json)", path.name)
