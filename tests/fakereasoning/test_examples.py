"""The page of examples: chosen by hash, right and wrong ones, and a model's words without effect in it."""

from __future__ import annotations

import json

import pytest

from fakereasoning.examples import Example, choose, write_examples
from fdr_bench.data import open_dataset
from fdr_bench.errors import RunError
from fdr_bench.types import Sample

SET = "scenes:test?generator=dct-bottleneck+palette-collapse&fakes=2&reals=2&size=32"


def example(id: str, label: str, generator: str | None, verdict: str | None) -> Example:
    return Example(Sample(id=id, image=None, label=label, generator=generator), {"verdict": verdict})


def test_each_generator_is_shown_once_and_mistakes_beside_them():
    made = [example(f"{number}", "fake", "ab"[number % 2], "fake" if number < 6 else "real") for number in range(8)]
    made.append(example("photo", "real", None, None))
    shown, mistakes = choose(made)
    assert [each.sample.generator for each in shown] == ["a", "b", None]
    assert {each.sample.id for each in mistakes} == {"6", "7"} - {each.sample.id for each in shown}
    assert choose(reversed(made))[0] == shown


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished run's files, whose model wrote markup."""
    monkeypatch.setenv("FDR_BENCH_CACHE", str(tmp_path / "cache"))
    dataset = open_dataset(SET)
    folder = tmp_path / "run"
    rows = folder / "fakereasoning@scenes" / dataset.name / "predictions.jsonl"
    rows.parent.mkdir(parents=True)
    said = "<script>alert(1)</script> [a](javascript:b) | \x1b[31m"
    answers = [
        {"id": sample.id, "verdict": "fake", "score": 0.75, "reasoning": said, "raw": f"<CAPTION> {said} </CAPTION>"}
        for sample in dataset.samples
    ]
    rows.write_text("".join(json.dumps(row) + "\n" for row in answers))
    manifest = {
        "schema": 1,
        "models": {"constant": {"reasons": False}, "fakereasoning@scenes": {"reasons": True}},
        "datasets": {dataset.name: {"spec": SET, "fingerprint": dataset.fingerprint}},
    }
    (folder / "run.json").write_text(json.dumps(manifest))
    return folder


def test_the_page_shows_truth_and_words_and_obeys_none_of_them(run, tmp_path):
    page = write_examples(run, tmp_path / "page", wrong=1)
    text = page.read_text()
    assert text.count("truth: **fake**") == 2 and text.count("truth: **real**") == 2  # one real is a mistake
    assert "## Mistakes: 1 of 1" in text and "P(fake) 0.750" in text
    assert "<script>" not in text and r"\[a\](javascript" in text and "\x1b" not in text
    pictures = [path for path in page.parent.iterdir() if path != page]
    assert len(pictures) == 4 and all(path.read_bytes()[:2] == b"\xff\xd8" for path in pictures)


def test_a_run_without_reasons_is_refused(run, tmp_path):
    manifest = json.loads((run / "run.json").read_text())
    del manifest["models"]["fakereasoning@scenes"]
    (run / "run.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="no model that gives reasons"):
        write_examples(run, tmp_path / "page")


def test_a_run_of_other_images_is_refused(run, tmp_path):
    manifest = json.loads((run / "run.json").read_text())
    next(iter(manifest["datasets"].values()))["fingerprint"] = "other"
    (run / "run.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="run it anew"):
        write_examples(run, tmp_path / "page")
