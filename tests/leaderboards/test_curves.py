"""The figures of a board: drawn where the runs have the data, never from anything else."""

from __future__ import annotations

import json
import math

import pytest

from fdr_bench.errors import RunError
from leaderboards import site
from leaderboards.curves import figures, read_curves
from leaderboards.load import load_runs
from leaderboards.tables import dataset_boards
from tests.leaderboards.boards import score, write_run

NAME = "<b>a</b>"
ENTRY = {
    "model": NAME, "dataset": "set", "n": 40, "roc": [[0, 0], [0.25, 1], [1, 1]], "pr": [[0.5, 1], [1, 0.8]],
    "bins": [{"score": 0.1, "fake": 0.25, "n": 8, "low": 0.05, "high": 0.6}],
}  # fmt: skip


def board_of(tmp_path, curves=None, speeds=(2.0, 30.0)):
    rows = [score(NAME, "acc", 0.9, interval=(0.8, 0.95)), score("b", "acc", 0.7)]
    models = {name: {"images_per_second": speed} for name, speed in zip((NAME, "b"), speeds, strict=True)}
    run = write_run(tmp_path / "run", rows, models=models, datasets={"set": {"n_real": 60, "n_fake": 20}})
    if curves is not None:
        (run / "curves.json").write_text(json.dumps({"schema": 1, "curves": curves}), encoding="utf-8")
    loaded = load_runs([run])
    (board,) = dataset_boards(loaded)
    return run, figures(board, read_curves(loaded))


def test_figures_hold_the_curves_in_percent_with_their_n(tmp_path):
    _, (speed, roc, pr, reliability) = board_of(tmp_path, [ENTRY])
    assert [each.title for each in (speed, roc, pr, reliability)] == [
        "Accuracy and speed", "ROC", "Precision and recall", "Reliability",
    ]  # fmt: skip
    line, chance = roc.figure["data"]
    assert (line["x"], line["y"]) == ([0, 25, 100], [0, 100, 100])
    assert line["name"] == "&lt;b&gt;a&lt;/b&gt;, n = 40"
    assert chance["y"] == [0, 100]
    assert pr.figure["data"][1]["y"] == [25, 25]  # 20 fakes of 80
    trace = reliability.figure["data"][0]
    assert (trace["x"], trace["y"], trace["text"]) == ([10], [25], ["n = 8"])
    assert (trace["error_y"]["array"], trace["error_y"]["arrayminus"]) == ([35], [20])


def test_accuracy_stands_against_speed_with_its_interval(tmp_path):
    _, (speed,) = board_of(tmp_path)
    first, second = speed.figure["data"]
    assert (first["x"], first["y"], first["error_y"]["array"], first["error_y"]["arrayminus"]) == ([2], [90], [5], [10])
    assert (second["x"], second["error_y"]["array"]) == ([30], [0])


def test_the_axis_of_speeds_is_written_out_from_the_tick_below_to_the_one_above(tmp_path):
    _, (speed,) = board_of(tmp_path, speeds=(0.3, 1000.0))
    axis = speed.figure["layout"]["xaxis"]
    shown = [text for value, text in zip(axis["tickvals"], axis["ticktext"], strict=True) if 0.2 <= value <= 1000]
    assert shown == ["0.2", "0.5", "1", "2", "5", "10", "20", "50", "100", "200", "500", "1,000"]
    assert axis["range"] == pytest.approx([math.log10(0.2) - 0.05, 3.05], abs=1e-3)


def test_without_speeds_or_curves_nothing_is_drawn(tmp_path):
    run, found = board_of(tmp_path, speeds=(2.0, None))
    assert found == ()
    assert "Curves</h3>" not in site.build([run], tmp_path / "out").read_text()


def test_the_page_offers_the_figures(tmp_path):
    run, _ = board_of(tmp_path, [ENTRY])
    page = site.build([run], tmp_path / "out").read_text()
    assert 'data-figure="1"' in page and "Reliability</span>" in page
    assert "<b>a</b>" not in page


@pytest.mark.parametrize("change", [{"roc": [[0, "<script>"]]}, {"n": None}, {"pr": [[0, 2]]}, {"bins": [3]}])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, change):
    with pytest.raises(RunError, match=r"curves\.json is not what 'fdr-bench report' writes"):
        board_of(tmp_path, [ENTRY | change])
