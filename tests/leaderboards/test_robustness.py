"""Robustness on the board: curves with their areas, what formats gave away, and no tables for each perturbed set."""

from __future__ import annotations

import json

import pytest

from fdr_bench.errors import RunError
from leaderboards import site
from leaderboards.load import load_runs
from leaderboards.robustness import read_robustness, section
from leaderboards.tables import dataset_boards
from tests.leaderboards.boards import score, write_run

NAME = "<b>a</b>"


def point(level, strength, value, interval=None, reason=None):
    ends = {"low": interval[0], "high": interval[1]} if interval else None
    return {"level": level, "strength": strength, "value": value, "interval": ends, "n": 40, "n_missing": 0,
            "reason": reason}  # fmt: skip


POINTS = [point(None, 0, 0.9, (0.85, 0.95)), point(80, 20, 0.8), point(50, 50, 0.5)]
CURVES = [
    {"model": NAME, "dataset": "set", "family": "jpeg", "metric": "acc", "points": POINTS, "area": 0.73,
     "reason": None},
    {"model": "b", "dataset": "set", "family": "jpeg", "metric": "acc", "area": None, "reason": "acc at jpeg 50: lost",
     "points": [POINTS[0], point(50, 50, None, reason="lost")]},
    {"model": NAME, "dataset": "set", "family": "blur", "metric": "acc", "points": POINTS[:2], "area": 0.85,
     "reason": None},
]  # fmt: skip
ALIGNED = {"model": NAME, "dataset": "set", "aligned": "aligned-jpeg-95", "original": 0.9, "in_one_format": 0.515,
           "difference": -0.385, "p": 0.001, "n": 38, "n_missing": 2}  # fmt: skip
KNOWN = {"schema": 1, "curves": CURVES, "aligned": [ALIGNED], "sets": ["set~jpeg-50", "set~jpeg-80", "set~blur-1"]}


def run_with(tmp_path, known):
    sets = ["set", *KNOWN["sets"]]
    rows = [score(model, "acc", 0.9 - place / 10, dataset=name) for place, model in enumerate((NAME, "b"))
            for name in sets]  # fmt: skip
    run = write_run(tmp_path / "run", rows, datasets={name: {"fingerprint": name} for name in sets})
    if known is not None:
        (run / "robustness.json").write_text(json.dumps(known), encoding="utf-8")
    return run


def shown(run):
    loaded = load_runs([run])
    known = read_robustness(loaded)
    (board,) = dataset_boards(loaded, known.aside)
    return section(board, known)


def test_a_figure_a_family_holds_the_curves_with_their_areas(tmp_path):
    found = shown(run_with(tmp_path, KNOWN))
    assert [figure.title for figure in found.figures] == ["JPEG", "Blur"]
    first, second = found.figures[0].figure["data"]
    assert (first["x"], first["y"]) == ([0, 20, 50], [90, 80, 50])
    assert (first["error_y"]["array"], first["error_y"]["arrayminus"]) == ([5, 0, 0], [5, 0, 0])
    assert (first["name"], second["name"]) == ("&lt;b&gt;a&lt;/b&gt;, area 73.0", "b")
    assert (second["x"], second["y"]) == ([0], [90])  # the point without a value is not drawn
    assert "100 less the quality" in found.figures[0].figure["layout"]["xaxis"]["title"]["text"]


def test_the_table_gives_each_area_or_why_there_is_none(tmp_path):
    found = shown(run_with(tmp_path, KNOWN))
    assert found.families == ("JPEG", "Blur")
    (model, _, whole, (jpeg, blur)), (other, _, _, (lost, absent)) = found.rows
    assert (model, whole, jpeg.main, jpeg.under) == (NAME, "90.0", "73.0", "at 50: 50.0")
    assert "unchanged 90.0 (85.0–95.0), n = 40" in jpeg.said
    assert (blur.main, blur.under) == ("85.0", "at 80: 80.0")
    assert (other, lost.main, absent.main) == ("b", "–", "–")
    assert "acc at jpeg 50: lost" in lost.said and "not run under it" in absent.said


def test_perturbed_sets_stand_in_curves_and_have_no_tables_of_their_own(tmp_path):
    page = site.build([run_with(tmp_path, KNOWN)], tmp_path / "out").read_text(encoding="utf-8")
    assert page.count('<section class="dataset"') == 1
    assert "Robustness</h3>" in page and "The same images in one format" in page
    assert "-38.5" in page and ">jpeg 95<" in page
    assert "<b>a</b>" not in page.partition('id="figures"')[0]
    (figures,) = [json.loads(page.partition('id="figures">')[2].partition("</script>")[0])]
    place = 2 * 1 + 1 - 1
    assert f'data-figure="{place}"' in page and len(figures[place]) == 2
    without = site.build([run_with(tmp_path / "other", None)], tmp_path / "old").read_text(encoding="utf-8")
    assert without.count('<section class="dataset"') == 4  # a run from before knows no curves


@pytest.mark.parametrize("known", [{}, {**KNOWN, "curves": [{}]}, {**KNOWN, "aligned": [3]}, {**KNOWN, "sets": None}])
def test_a_damaged_file_is_named(tmp_path, known):
    with pytest.raises(RunError, match=r"robustness\.json is not what"):
        site.build([run_with(tmp_path, known)], tmp_path / "out")
