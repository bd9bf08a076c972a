"""The printed numbers on a board: under the right column, of the right weights, with their source, ranking nothing."""

from __future__ import annotations

import csv
import io

from leaderboards import exports, site
from leaderboards.load import load_runs
from leaderboards.quoted import with_quotes
from leaderboards.tables import dataset_boards
from tests.leaderboards.boards import score, write_run

SETS = ["dalle3", "flux"]


def facts(name, **more):
    return {"detector": name.partition("@")[0], "preset": name.partition("@")[2], **more}


def run(tmp_path, *models, dataset="mmfr"):
    rows = [
        score(name, metric, 0.5, slice=part, dataset=dataset)
        for name in models
        for metric in ("acc", "ap")
        for part in ("all", "macro", *(f"generator:{name}" for name in SETS))
    ]
    known = {name: facts(name) for name in models}
    return write_run(tmp_path / "run", rows, models=known, datasets={dataset: {"generators": SETS}})


def board(run):
    (one,) = dataset_boards(load_runs([run]))
    return with_quotes(one)


def printed(table, quote):
    cells = zip(table.columns, quote.cells, strict=True)
    return {column.key: cell.printed for column, cell in cells if cell}


def test_a_papers_numbers_stand_under_the_columns_that_they_answer_to(tmp_path):
    made = board(run(tmp_path, "npr@official"))
    acc, ap = made.generators[0], made.generators[1]
    (quote,) = acc.detectors[0].quotes
    # arXiv 2503.21210v3, Table II: NPR 50.90 on DALLE-3, 49.90 on FLUX, 77.73 in the mean.
    assert printed(acc, quote) == {"macro": 77.73, "generator:dalle3": 50.9, "generator:flux": 49.9}
    assert (quote.source, quote.weights) == ("arXiv:2503.21210v3 Table II", "retrained on MMFR-Dataset")
    assert (ap.metric.key, ap.detectors[0].quotes) == ("ap", ())
    (overall,) = made.overview.detectors[0].quotes
    assert printed(made.overview, overall) == {"acc": 77.73}


def test_a_printed_number_is_never_the_best_of_a_column(tmp_path):
    made = board(run(tmp_path, "npr@official", "univfd@official"))
    assert {cell.place for row in made.overview.detectors for cell in row.cells} == {None}  # ours are equal


def test_numbers_of_the_models_own_preset_stand_alone_and_repeat_nothing(tmp_path):
    made = board(run(tmp_path, "fakereasoning@official"))
    quotes = made.overview.detectors[0].quotes
    assert {quote.weights for quote in quotes} == {"the authors'"}
    # Tables II to V all print 94.06, and III Fail% 0.00 as well; BLEU-1 has no column, for nothing was scored of it.
    assert [quote.source for quote in quotes] == ["arXiv:2503.21210v3 Table III"]
    assert printed(made.overview, quotes[0]) == {"acc": 94.06, "failure_rate": 0}


def test_of_a_source_with_two_preprocessings_ours_is_shown(tmp_path):
    name = "cnndetection@official"
    rows = [score(name, "ap", 0.9, slice=part, dataset="forensynths") for part in ("all", "generator:stylegan")]
    known, sets = {name: facts(name, view="no_crop")}, {"forensynths": {"generators": ["stylegan"]}}
    made = board(write_run(tmp_path / "run", rows, models=known, datasets=sets))
    table = next(table for table in made.generators if table.metric.key == "ap")
    (quote,) = table.detectors[0].quotes
    # cnndetection_readme.csv: Blur+JPEG(0.5), StyleGAN, AP (no crop) 99.3; with the crop 98.5
    assert printed(table, quote) == {"generator:stylegan": 99.3} and quote.view is None


def test_the_view_of_a_readmes_commands_is_known(tmp_path):
    name = "npr@official"
    rows = [score(name, "acc", 0.9, slice=part, dataset="genimage") for part in ("all", "macro", "generator:adm")]
    known, sets = {name: facts(name, view="native")}, {"genimage": {"generators": ["adm"]}}
    made = board(write_run(tmp_path / "run", rows, models=known, datasets=sets))
    told = {each.view for each in made.printed if each.dataset_printed == "GenImage" and each.model == name}
    assert "tile_crop224" in told
    differing = [d for each in made.printed if each.view == "tile_crop224" for d in each.differences]
    assert "preprocessing tile_crop224 there, native here" in differing


def test_a_set_or_baseline_without_printed_numbers_has_no_such_row(tmp_path):
    folder = run(tmp_path, "npr@official", "constant", dataset="holiday")
    made = board(folder)
    assert not any(row.quotes for row in (*made.overview.detectors, *made.overview.baselines))
    page = site.build([folder], tmp_path / "out").read_text(encoding="utf-8")
    assert 'class="quoted"' not in page and "printed: …" not in page


def test_the_page_and_the_csv_carry_them_and_say_of_what_kind_they_are(tmp_path):
    folder = run(tmp_path, "npr@official")
    page = site.build([folder], tmp_path / "out").read_text(encoding="utf-8")
    assert page.count('class="quoted"') == 2 and "arXiv:2503.21210v3 Table II" in page  # overview, ACC by generator
    lines = list(csv.DictReader(io.StringIO(exports.table_csv(board(folder).overview))))
    assert [(line["kind"], line["acc"]) for line in lines] == [("detector", "0.5"), ("printed", "0.7773")]
    assert lines[1]["run"] == "arXiv:2503.21210v3 Table II" and lines[1]["acc n"] == ""
