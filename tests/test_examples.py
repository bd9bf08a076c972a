"""What a board shows of single samples: answers as scoring reads them, claims in pieces, pictures of those bytes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from fdr_bench.examples import LONGEST, write_examples
from fdr_bench.store import read_rows
from fdr_bench.thumbnails import OUTLINE, _overlay
from tests.galleries import ANSWER, EDGES, LIGHTING, LIT, REFERENCE, TEXTURED, write_gallery_run

TEXTURE = "Anomalous Image Texture"


@pytest.fixture(autouse=True)
def key_phrases_alone(monkeypatch):
    """Every sentence here has key phrases, so that no encoder has to be loaded."""
    monkeypatch.setattr("fdr_bench.examples._encoder", lambda: None)


@pytest.fixture
def run(tmp_path):
    return write_gallery_run(tmp_path / "run", tmp_path / "images")


def rows_of(run):
    return list(read_rows(run / "datasets" / "photos" / "examples.jsonl"))


def test_a_row_holds_truth_answers_and_the_text_cut_where_it_claims_something(run):
    assert write_examples(run) == {"photos": 6}
    rows = rows_of(run)
    assert [row["id"] for row in rows] == [row["id"] for row in read_rows(run / "datasets/photos/samples.jsonl")]
    fake = rows[2]
    assert (fake["label"], fake["generator"], fake["truth"]) == ("fake", "one", [LIGHTING, EDGES])
    writer = fake["answers"]["writer"]
    assert (writer["call"], writer["claims"]) == ("fake", [LIGHTING, TEXTURE])
    assert [piece for piece in writer["pieces"] if piece[1]] == [[LIT, LIGHTING], [TEXTURED, TEXTURE]]
    assert "".join(text for text, _ in writer["pieces"]) == ANSWER
    assert "".join(text for text, _ in fake["reference"]) == REFERENCE
    assert "reference" not in rows[0] and rows[0]["truth"] == []


def test_a_score_is_called_by_the_models_threshold_and_failures_say_why(run):
    write_examples(run)
    rows = rows_of(run)
    assert rows[0]["answers"]["scorer"] == {"error": "out of memory"}  # no call
    assert rows[5]["answers"]["scorer"] == {"call": "real", "score": 0.5}  # its threshold is 0.8
    refused = rows[5]["answers"]["writer"]
    assert refused == {"problem": "refused", "pieces": [["I cannot help.", None]]}


def test_what_was_not_reached_has_no_answer(run):
    path = run / "scorer" / "photos" / "predictions.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    write_examples(run)
    assert ["scorer" in row["answers"] for row in rows_of(run)] == [True, True, False, False, False, False]


def test_pictures_outlive_the_images_and_are_made_once(run, tmp_path):
    write_examples(run)
    folder = run / "datasets" / "photos" / "thumbnails"
    first = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(first) == 6
    with Image.open(folder / rows_of(run)[0]["picture"]) as opened:
        assert opened.size == (64, 48)
    shutil.rmtree(tmp_path / "images")
    write_examples(run)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == first
    assert all(row["picture"] in first for row in rows_of(run))


def test_images_that_are_gone_or_changed_are_said_to_be_so(run, tmp_path):
    changed, gone, *others = (
        tmp_path / "images" / row["id"] for row in read_rows(run / "datasets/photos/samples.jsonl")
    )
    Image.new("RGB", (8, 8)).save(changed)
    gone.unlink()
    write_examples(run)
    rows = rows_of(run)
    assert rows[0]["no_picture"] == "the image has changed since the run saw it"
    assert rows[1]["no_picture"] == "the set no longer has this image"
    assert all("picture" in row for row in rows[2:]) and len(others) == 4


def test_without_any_image_every_row_has_the_reason_and_nothing_is_raised(run, tmp_path):
    shutil.rmtree(tmp_path / "images")
    write_examples(run)
    assert all(row["no_picture"].startswith("the images can no longer be read: ") for row in rows_of(run))
    assert all(row["answers"] for row in rows_of(run))


def test_of_a_large_set_some_are_shown_evenly_and_always_the_same(tmp_path):
    run = write_gallery_run(tmp_path / "run", tmp_path / "images", reals=6, fakes=12)
    assert write_examples(run, most=6) == {"photos": 6}
    first = rows_of(run)
    counts = np.unique([str(row.get("generator")) for row in first], return_counts=True)
    assert dict(zip(*counts, strict=True)) == {"None": 2, "one": 2, "two": 2}
    write_examples(run, most=6)
    assert rows_of(run) == first
    assert write_examples(run, most=0) == {}
    assert rows_of(run) == first


def test_a_text_without_end_is_cut_off_visibly(tmp_path):
    run = write_gallery_run(tmp_path / "run", tmp_path / "images", answer=f"{LIT} " + "x " * LONGEST)
    write_examples(run)
    pieces = rows_of(run)[2]["answers"]["writer"]["pieces"]
    assert pieces[0] == [LIT, LIGHTING]
    assert pieces[-1][0].endswith(" […]") and sum(len(text) for text, _ in pieces) == LONGEST + 4


def test_a_region_becomes_a_transparent_picture_with_an_outline(tmp_path):
    mask = Image.new("1", (100, 100))
    mask.paste(1, (20, 20, 80, 80))
    mask.save(tmp_path / "mask.png")
    (tmp_path / "overlay.png").write_bytes(_overlay(tmp_path / "mask.png", (50, 50)))
    with Image.open(tmp_path / "overlay.png") as opened:
        overlay = opened.convert("RGBA")
    assert overlay.getpixel((2, 2))[3] == 0
    assert overlay.getpixel((10, 25)) == OUTLINE
    assert 0 < overlay.getpixel((25, 25))[3] < 128
