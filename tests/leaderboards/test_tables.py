"""The tables behind a board: who stands where, what is marked, and when the set itself is called biased."""

from __future__ import annotations

import json

import pytest

from fdr_bench.types import TrainedOn
from leaderboards.contamination import family, seen_in_training
from leaderboards.formats import count, main, percent, sentence, under
from leaderboards.load import ModelFacts, load_runs
from leaderboards.site import build
from leaderboards.tables import Cell, dataset_boards
from tests.leaderboards.boards import score, write_run


def boards(tmp_path, rows, **manifest):
    return dataset_boards(load_runs([write_run(tmp_path / "run", rows, **manifest)]))


def column(table, key):
    return next(index for index, column in enumerate(table.columns) if column.key == key)


def test_detectors_stand_best_first_and_baselines_apart(tmp_path):
    rows = [score(name, "acc", value) for name, value in (("low", 0.6), ("constant", 0.99), ("high", 0.9))]
    rows.append(score("none", "ap", 0.5))
    (board,) = boards(tmp_path, rows)
    assert [row.model.name for row in board.overview.detectors] == ["high", "low", "none"]
    assert [row.model.name for row in board.overview.baselines] == ["constant"]


def test_best_and_second_are_marked_as_printed_and_baselines_never(tmp_path):
    # 0.9001 and 0.9004 both print as 90.0: both are best, and then none is second.
    rows = [score("a", "acc", 0.9001), score("b", "acc", 0.9004), score("c", "acc", 0.8), score("constant", "acc", 1.0)]
    rows += [score("a", "ap", 0.9), score("b", "ap", 0.8), score("c", "ap", 0.7)]
    (board,) = boards(tmp_path, rows)
    places = {row.model.name: row.cells[0].place for row in (*board.overview.detectors, *board.overview.baselines)}
    assert places == {"a": "best", "b": "best", "c": None, "constant": None}
    ap = column(board.overview, "ap")
    assert {row.model.name: row.cells[ap].place for row in board.overview.detectors} == {
        "a": "best", "b": "second", "c": None,
    }  # fmt: skip


def test_where_all_are_equal_none_is_best(tmp_path):
    (board,) = boards(tmp_path, [score("a", "acc", 0.9), score("b", "acc", 0.9)])
    assert [row.cells[0].place for row in board.overview.detectors] == [None, None]


def test_an_undefined_number_is_a_dash_with_a_numbered_reason(tmp_path):
    rows = [score("a", "acc", 0.9), score("a", "ap", None, reason="verdicts only")]
    (board,) = boards(tmp_path, rows)
    cell = board.overview.detectors[0].cells[column(board.overview, "ap")]
    assert main(cell) == "–"
    assert board.overview.notes[cell.note - 1] == "verdicts only"
    assert sentence(cell) == "undefined: verdicts only"


def test_the_strict_reading_is_shown_where_an_answer_is_missing_and_only_there(tmp_path):
    rows = [score("a", "acc", 0.9), score("a", "acc@strict", 0.9), score("a", "failure_rate", 0.0)]
    (board,) = boards(tmp_path / "none", rows)
    assert "acc@strict" not in [column.key for column in board.overview.columns]
    rows[2] = score("a", "failure_rate", 0.05)
    (board,) = boards(tmp_path / "some", rows)
    assert "acc@strict" in [column.key for column in board.overview.columns]


def test_forced_scores_are_shown_where_there_are_any_and_only_there(tmp_path):
    for value in (0.0, 0.25):
        rows = [score("a", "acc", 0.9), score("a", "forced_score_rate", value), score("b", "acc", 0.8)]
        (board,) = boards(tmp_path / str(value), rows)
        assert ("forced_score_rate" in [column.key for column in board.overview.columns]) == (value > 0)


@pytest.mark.parametrize(
    ("value", "interval", "kind"),
    [
        (0.95, (0.93, 0.97), "biased"),
        (0.65, (0.601, 0.70), "biased"),
        (0.65, (0.60, 0.70), "slight"),  # the low end is not above 0.6
        (0.53, (0.51, 0.55), "slight"),
        (0.53, (0.49, 0.57), "none"),
        (0.30, (0.20, 0.40), "none"),
        (0.70, None, "biased"),
        (None, None, "unknown"),
    ],
)
def test_a_set_is_called_biased_by_what_the_files_alone_give(tmp_path, value, interval, kind):
    rows = [score("a", "acc", 0.9), score("file-metadata", "balanced_acc", value, interval=interval)]
    (board,) = boards(tmp_path, rows)
    assert board.bias.kind == kind


def test_without_file_metadata_the_bias_is_unknown(tmp_path):
    (board,) = boards(tmp_path, [score("a", "acc", 0.9)])
    assert board.bias.kind == "unknown"


def test_the_generator_table_flags_training_and_averages_the_unseen(tmp_path):
    values = {"gan": 0.99, "diffusion": 0.60, "warp": 0.70}
    rows = [score("a@x", "acc", value, slice=f"generator:{name}") for name, value in values.items()]
    rows += [score("a@x", "acc", 0.76, slice="macro"), score("a@x", "acc", 0.7)]
    models = {"a@x": {"trained_on": {"dataset": "set-train", "generators": ["GAN"]}}}
    (board,) = boards(tmp_path, rows, models=models, datasets={"set": {"generators": ["warp", "gan", "diffusion"]}})
    (table,) = [table for table in board.generators if table.metric.key == "acc"]
    assert [c.key for c in table.columns][2:] == ["generator:warp", "generator:gan", "generator:diffusion"]
    macro, unseen, *each = table.detectors[0].cells
    assert macro.value == 0.76
    assert unseen.value == pytest.approx(0.65)  # (0.60 + 0.70) / 2
    assert under(unseen, None) == ["2 generators"]
    assert [cell.trained for cell in each] == [None, "here", None]


def test_without_a_familiar_generator_there_is_no_unseen_column(tmp_path):
    (board,) = boards(tmp_path, [score("a", "acc", 0.5, slice="generator:gan"), score("a", "acc", 0.5)])
    assert [c.key for c in board.generators[0].columns] == ["macro", "generator:gan"]


def test_chance_is_what_always_giving_one_answer_gets(tmp_path):
    # 100 real and 50 fake: always "real" has ACC 2/3; random scores have AP 1/3; balanced ACC is 1/2 whatever the mix.
    rows = [score("a", metric, 0.9, slice="generator:g", n=150) for metric in ("acc", "ap", "balanced_acc")]
    rows += [score("a", f"{label}_acc", 0.9, slice="generator:g", n=n) for label, n in (("real", 100), ("fake", 50))]
    (board,) = boards(tmp_path, rows)
    chance = {table.metric.key: table.detectors[0].cells[-1].chance for table in board.generators}
    assert chance == pytest.approx({"acc": 2 / 3, "ap": 1 / 3, "balanced_acc": 1 / 2})


@pytest.mark.parametrize(
    ("dataset", "trained", "generators", "expected"),
    [
        ("fdr-scenes-test", "fdr-scenes-train", ("gan",), "here"),
        ("fdr-scenes-test", "scenes", ("gan",), "here"),
        ("mmfr_mini", "MMFR", ("GAN",), "here"),
        ("genimage", "ForenSynths", ("gan",), "elsewhere"),
        ("genimage", "", ("gan",), "elsewhere"),
        ("genimage", "genimage", ("biggan",), None),
        ("genimage", "genimage", (), None),
    ],
)
def test_a_generator_is_familiar_by_its_name_and_its_datasets_family(dataset, trained, generators, expected):
    model = ModelFacts(name="a", trained_on=TrainedOn(dataset=trained, generators=generators))
    assert seen_in_training(model, dataset, "gan") == expected


def test_a_family_leaves_out_splits_and_sizes():
    assert family("FDR-Scenes_test") == {"fdr", "scenes"}


def test_sets_of_one_name_with_other_content_are_kept_apart(tmp_path):
    runs = [
        write_run(tmp_path / name, [score("a", "acc", 0.5)], datasets={"set": {"fingerprint": name * 64}})
        for name in ("b", "c")
    ]
    first, second = dataset_boards(load_runs(runs))
    assert (first.title, second.title) == ("set · content bbbbbbbb", "set · content cccccccc")
    assert first.overview.slug != second.overview.slug


def test_one_model_in_two_runs_stands_there_twice(tmp_path):
    runs = [write_run(tmp_path / name, [score("a", "acc", value)]) for name, value in (("x", 0.5), ("y", 0.6))]
    (board,) = dataset_boards(load_runs(runs))
    assert [(row.run, row.cells[0].value) for row in board.overview.detectors] == [("y", 0.6), ("x", 0.5)]


def test_n_stands_in_the_head_and_beside_the_number_that_differs(tmp_path):
    rows = [score("a", "acc", 0.9, n=600), score("b", "acc", 0.8, n=600), score("c", "acc", 0.7, n=586, n_missing=14)]
    (board,) = boards(tmp_path, rows)
    assert board.overview.columns[0].n == 600
    assert [under(row.cells[0], 600) for row in board.overview.detectors] == [[], [], ["n 586"]]
    assert sentence(board.overview.detectors[2].cells[0]) == "70.0 %, n = 586, 14 without an answer"


def test_where_every_n_differs_the_head_has_the_largest(tmp_path):
    (board,) = boards(tmp_path, [score("a", "acc", 0.9, n=590), score("b", "acc", 0.8, n=600)])
    assert board.overview.columns[0].n == 600


def test_numbers_are_written_short():
    assert [percent(value) for value in (0, 0.98765, 1)] == ["0.0", "98.8", "100.0"]
    assert [count(value) for value in (512, 412_345, 23_510_081, 7.06e9)] == ["512", "412 k", "23.5 M", "7.1 B"]
    assert main(Cell(value=14 / 600, form="failures", n=600)) == "14"


# ---------------------------------------------------------------- reasoning

REASONED = {"bleu1@nltk-split": 0.5, "rougeL@stem": 0.4, "css@minilm-l6": -0.1, "attribute_f1@phrase+minilm-l6": 0.6}


def reasoning_board(tmp_path):
    rows = [score(name, "acc", 0.9) for name in ("reasoner", "silent")]
    rows += [score("silent", "acc", 0.8, slice="generator:g"), score("reasoner", "acc", 0.8, slice="generator:g")]
    rows += [score("reasoner", metric, value) for metric, value in REASONED.items()]
    run = write_run(tmp_path / "run", rows)
    written = json.loads((run / "scores.json").read_text())
    # Scoring puts texts that no image went into beside the models, though they are no models of the run.
    for part in ("all", "generator:g"):
        written["scores"] += [score("blind:constant", "bleu1@nltk-split", 0.6, slice=part)]
    (run / "scores.json").write_text(json.dumps(written))
    (board,) = dataset_boards(load_runs([run]))
    return board


def test_reasoning_has_its_columns_where_a_model_reasons_and_only_there(tmp_path):
    titles = [column.title for column in reasoning_board(tmp_path).overview.columns]
    assert [title for title in titles if title in ("BLEU-1", "ROUGE-L", "CSS", "Attribute F1")] == [
        "BLEU-1", "ROUGE-L", "CSS", "Attribute F1",
    ]  # fmt: skip
    (plain,) = boards(tmp_path / "plain", [score("a", "acc", 0.9)])
    assert "BLEU-1" not in [column.title for column in plain.overview.columns]


def test_a_model_without_reasoning_has_a_dash_that_says_so(tmp_path):
    table = reasoning_board(tmp_path).overview
    cells = {row.model.name: row.cells[column(table, "bleu1@nltk-split")] for row in table.detectors}
    assert main(cells["reasoner"]) == "50.0" and sentence(cells["silent"]) == "undefined: gives no reasoning"


def test_texts_that_no_image_went_into_stand_with_the_baselines_and_in_no_generator_table(tmp_path):
    board = reasoning_board(tmp_path)
    (blind,) = board.overview.baselines
    assert (blind.model.name, blind.model.title) == ("blind:constant", "no model: one reference for every image")
    cell = blind.cells[column(board.overview, "bleu1@nltk-split")]
    assert (cell.value, cell.place) == (0.6, None)
    assert sentence(blind.cells[0]) == "undefined: texts alone, without verdicts"
    for table in board.generators:
        assert [row.model.name for row in (*table.detectors, *table.baselines)] == ["reasoner", "silent"]


def test_the_guide_explains_reasoning_where_it_is_shown(tmp_path):
    reasoning_board(tmp_path)
    assert "blind:…" in build([tmp_path / "run"], tmp_path / "site").read_text()
    write_run(tmp_path / "plain", [score("a", "acc", 0.9)])
    assert "blind:…" not in build([tmp_path / "plain"], tmp_path / "other").read_text()


def test_runs_of_different_sets_are_told_by_the_set_and_not_by_every_row(tmp_path):
    runs = [write_run(tmp_path / name, [score("a", "acc", 0.5, dataset=f"set-{name}")]) for name in ("x", "y")]
    boards = dataset_boards(load_runs(runs))
    assert [board.overview.several_runs for board in boards] == [False, False]
    page = build(runs, tmp_path / "out").read_text(encoding="utf-8")
    assert "<span>run <bdi>x</bdi></span>" in page and "<span>run <bdi>y</bdi></span>" in page
    assert 'class="run"' not in page
