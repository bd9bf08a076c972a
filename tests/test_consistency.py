"""Consistency of a run's models: what its plan must say of them."""

from __future__ import annotations

import json

import pytest

from fdr_bench.consistency import consistency
from fdr_bench.errors import RunError
from tests.runs import make_run, read_lines, write_lines

SET = "fdr-scenes-test"


def asked(tmp_path, **facts):
    """Write a run of two models asked the same prompt, the second a repeat that turns three of ten answers."""
    run = make_run(tmp_path / "run", 10, models=("m.1", "m.2"), failures=0.0, reasons=("m.1", "m.2"))
    rows = [{**row, "verdict": "fake"} for row in read_lines(run / "m.1" / SET / "predictions.jsonl")]
    write_lines(run / "m.1" / SET / "predictions.jsonl", rows)
    turned = [row | {"verdict": "real"} if number < 3 else row for number, row in enumerate(rows)]
    write_lines(run / "m.2" / SET / "predictions.jsonl", turned)
    manifest = json.loads((run / "run.json").read_text())
    for number, entry in enumerate(manifest["models"].values(), 1):
        entry |= {"detector": "m", "preset": "verdict", "view": f"real-first.{number}"}
        entry |= {"settings": {"prompt_sha256": "0"}, **facts}
    (run / "run.json").write_text(json.dumps(manifest))
    return run


def test_repeats_are_known_by_detector_prompt_and_view(tmp_path):
    (row,) = consistency(asked(tmp_path))
    assert (row["model"], row["between"]) == ("m@verdict:real-first", "2 repeats")
    assert (row["rate"], row["n"], row["n_missing"]) == (pytest.approx(3 / 2 / 10), 10, 0)  # a minority of one half


@pytest.mark.parametrize("view", [None, 3])
def test_a_plan_that_does_not_say_how_it_was_asked_is_told(tmp_path, view):
    with pytest.raises(RunError, match=r"does not say which detector, prompt and view m\.1 is"):
        consistency(asked(tmp_path, view=view))


def test_models_without_settings_were_asked_nothing(tmp_path):
    with pytest.raises(RunError, match="has nothing to compare"):
        consistency(asked(tmp_path, settings=None))
