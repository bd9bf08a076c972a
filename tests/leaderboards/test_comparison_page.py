"""The page of two runs, image by image: what it holds, which images it shows, and what cannot be smuggled into it."""

from __future__ import annotations

import base64
import gzip
import json
import re

import pytest
from click.testing import CliRunner

from fdr_bench.cli import cli
from fdr_bench.compare.comparison import Side, compare
from fdr_bench.compare.samples import shown_samples, shown_sets
from fdr_bench.scored_slices import Settings
from leaderboards.side_by_side import write_comparison
from tests.guarded_runs import DATASET, MODEL, changed, flipped, one_model
from tests.leaderboards.comparisons import ATTACK, two_runs
from tests.leaderboards.test_site import LOCAL, TAGS, Reader

QUICK = Settings(100, 0.95, 0)


def read(page):
    """Return the index and the texts of a page, as its script reads them."""
    source = page.read_text(encoding="utf-8")
    (index,) = re.findall(r'<script type="application/json" id="samples">(.*?)</script>', source, re.DOTALL)
    chunks = re.findall(r'<script type="text/plain" class="texts">(.*?)</script>', source, re.DOTALL)
    return json.loads(index), [json.loads(gzip.decompress(base64.b64decode(chunk))) for chunk in chunks]


def test_both_answers_to_every_image_stand_on_the_page(tmp_path):
    runs = two_runs(tmp_path)
    found = compare(Side(runs[0], "writer"), Side(runs[1], "writer"), settings=QUICK)
    page = write_comparison(shown_sets(found), tmp_path / "out" / "page.html", names=("monday", "tuesday"))
    index, (texts,) = read(page)
    (facts,), (samples,) = index["pairs"], index["sets"]
    order = [samples["ids"].index(name) for name in ("0_real/0.png", "0_real/1.png", "one/1_fake/0.png")]
    assert [samples["truth"][n] for n in order] == ["r", "r", "f"]
    assert [[calls[n] for n in order] for calls in facts["calls"]] == [["f", "f", "f"], ["r", "f", "r"]]
    assert [calls[samples["ids"].index("two/1_fake/3.png")] for calls in facts["calls"]] == ["-", "-"]
    # better: the first real; worse: the first fake; neither: the second real, the refused fake; both: two fakes
    assert facts["counts"] == {"worse": 1, "better": 1, "wrong": 2, "right": 2, "unreached": 0}
    assert texts[order[1]][2] == ATTACK and texts[order[2]][0].startswith("From low-level perspective")
    assert all(samples["pictures"])
    assert {path.name for path in (tmp_path / "out" / "thumbnails").iterdir()} == set(samples["pictures"])


def test_what_flipped_is_shown_before_all_else_and_counts_are_of_all(tmp_path):
    run = one_model(tmp_path / "a", n=240)
    other = changed(run, tmp_path / "b", flipped(9, 3))
    found = compare(Side(run), Side(other), settings=QUICK)
    chosen = shown_samples(found, 12)
    assert {found[0].ids[n] for n in chosen} == {flip.id for flip in found[0].flips}
    index, texts = read(write_comparison(shown_sets(found, most=20), tmp_path / "page.html", names=("a", "b")))
    (facts,) = index["pairs"]
    assert len(index["sets"][0]["ids"]) == 20 and facts["n"] == 240 and texts == []
    assert (facts["counts"]["worse"], facts["counts"]["better"], sum(facts["counts"].values())) == (9, 3, 240)
    assert not (tmp_path / "thumbnails").exists()
    wrong = [calls != truth for calls, truth in zip(facts["calls"][0], index["sets"][0]["truth"], strict=True)]
    assert sum(wrong) >= 3  # after the flipped ones come those that neither has right


@pytest.mark.parametrize("hostile", [ATTACK, "javascript:alert(1)", "--><script>x</script>", "\u2028{{ 7*7 }}"])
def test_nothing_in_the_runs_becomes_markup(tmp_path, hostile):
    def smuggled(rows, samples):
        return [row | {"id": hostile + str(row["id"]), "image": "../../" + hostile} for row in rows]

    def renamed(run):
        path = run / "datasets" / DATASET / "samples.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            line |= {"id": hostile + line["id"], "generator": line["generator"] and hostile}
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return run

    run = one_model(tmp_path / "a", n=24)
    one, other = (renamed(changed(run, tmp_path / name, smuggled)) for name in ("b", "c"))
    found = compare(Side(one), Side(other), settings=QUICK)
    page = write_comparison(shown_sets(found), tmp_path / "page.html", names=(hostile, hostile))
    reader = Reader(page.read_text(encoding="utf-8"))
    assert {tag for tag, _ in reader.tags} <= TAGS | {"form", "select", "option", "noscript"}
    kinds = [attributes.get("type") for tag, attributes in reader.tags if tag == "script"]
    assert kinds == ["application/json", None]
    for _, attributes in reader.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "autofocus", "src")]
        assert LOCAL.fullmatch(attributes.get("href") or "#")
    index, _ = read(page)
    assert index["sets"][0]["pictures"] == [None] * 24
    assert index["names"] == [hostile, hostile]


def test_the_command_writes_the_page_and_says_where_it_is(tmp_path):
    run = one_model(tmp_path / "a", n=24)
    words = ["compare", str(run), f"{run}::{MODEL}", "--resamples", "100", "--html", str(tmp_path / "page.html")]
    said = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert said.exit_code == 0
    assert said.stdout.splitlines()[-1] == (tmp_path / "page.html").as_uri()
    index, _ = read(tmp_path / "page.html")
    assert index["pairs"][0]["models"] == [MODEL, MODEL]
    assert index["names"] == [str(run), str(run)]  # alike, so the paths tell which is which
