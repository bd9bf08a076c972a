"""The heatmap's colours can be read by everyone, and bars lie where their numbers are."""

from __future__ import annotations

import itertools
import json

import plotly.graph_objects
import pytest

from leaderboards.load import load_runs
from leaderboards.plots import (
    BAR_WIDTH,
    INKS,
    STEPS,
    contrast,
    generator_figure,
    heat_class,
    heat_step,
    interval_bar,
    legible,
    shade,
)  # fmt: skip
from leaderboards.tables import dataset_boards
from tests.leaderboards.boards import score, write_run

SHADES = range(-STEPS, STEPS + 1)
# Machado, Oliveira, Fernandes (2009), severity 1.0, on linear RGB.
BLINDNESS = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


@pytest.mark.parametrize(
    ("value", "chance", "step"),
    [(0.5, 0.5, 0), (1, 0.5, 10), (0, 0.5, -10), (0.75, 0.5, 5), (2 / 3, 2 / 3, 0), (0.8, 0.6, 5), (0.3, 0.6, -5),
     (1, 1, 0), (0, 0, 0)],
)  # fmt: skip
def test_a_shade_is_the_share_of_the_way_from_chance_to_the_end(value, chance, step):
    assert heat_step(value, chance) == step


def test_shades_have_names_for_the_style_sheet():
    assert [heat_class(value, 0.5) for value in (0.0, 0.5, 1.0)] == ["heat-m10", "heat-p0", "heat-p10"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_shade_has_an_ink_of_aa_contrast(theme):
    assert min(contrast(legible(shade(theme, step)), shade(theme, step)) for step in SHADES) >= 4.5


def test_contrast_agrees_with_the_numbers_of_wcag():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)  # the well-known near miss, #777
    assert set(INKS) == {(0, 0, 0), (255, 255, 255)}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_lightness_alone_orders_each_arm(theme):
    luminance = [contrast(shade(theme, step), (0, 0, 0)) for step in SHADES]
    away = luminance if theme == "light" else [-value for value in luminance]
    assert all(one < other for one, other in itertools.pairwise(away[: STEPS + 1]))
    assert all(one > other for one, other in itertools.pairwise(away[STEPS:]))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", BLINDNESS)
def test_the_two_arms_differ_for_colour_blind_readers(theme, kind):
    # Blue minus red as seen has opposite signs on the two arms from the third step on, so the hues never fall together.
    def blue_minus_red(step):
        linear = [(channel / 255) ** 2.2 for channel in shade(theme, step)]
        seen = [sum(weight * channel for weight, channel in zip(row, linear, strict=True)) for row in BLINDNESS[kind]]
        return seen[2] - seen[0] if kind != "tritan" else seen[1] - seen[0]

    assert all(blue_minus_red(step) > 0 > blue_minus_red(-step) for step in range(3, STEPS + 1))


def test_a_bar_spans_its_interval():
    assert interval_bar(0.75, 0.5, 1.0, 0.25) == (BAR_WIDTH / 2, BAR_WIDTH / 2, BAR_WIDTH * 0.75, BAR_WIDTH / 4)


def test_a_bar_without_interval_is_its_mark_and_none_leaves_the_track():
    assert interval_bar(0.5, None, None, None) == (BAR_WIDTH / 2, 2.0, BAR_WIDTH / 2, None)
    assert interval_bar(1.2, -1.0, 3.0, 7.0) == (0.0, BAR_WIDTH, BAR_WIDTH, BAR_WIDTH)


def generator_table(tmp_path, names=("gan", "warp")):
    values = dict(zip(names, (0.9, 0.6), strict=True))
    rows = [score("a@x", "acc", value, slice=f"generator:{g}", interval=(0.5, 0.95)) for g, value in values.items()]
    rows += [score("file-metadata", "acc", 0.5, slice=f"generator:{name}") for name in names]
    models = {"a@x": {"trained_on": {"dataset": "set", "generators": [names[0]]}}}
    (board,) = dataset_boards(load_runs([write_run(tmp_path / "run", rows, models=models)]))
    return board.generators[0]


def test_the_plot_holds_the_tables_numbers_and_plotly_knows_its_words(tmp_path):
    figure = generator_figure(generator_table(tmp_path))
    plotly.graph_objects.Figure(figure)  # raises on an unknown property or a value of the wrong kind
    detector, files = figure["data"]
    bars = detector["error_y"]
    points = zip(
        detector["x"], detector["y"], bars["array"], bars["arrayminus"], detector["marker"]["symbol"], strict=True
    )
    assert set(points) == {("gan", 90.0, 5.0, 40.0, "circle-open"), ("warp", 60.0, 35.0, 10.0, "circle")}
    assert files["name"] == "file-metadata"


def test_names_in_the_plot_carry_no_tags_for_plotly(tmp_path):
    figure = generator_figure(generator_table(tmp_path, ('<a href="javascript:x">g</a>', "<b>&</b>")))
    assert "<" not in json.dumps(figure).replace("<br>", "").replace("<extra></extra>", "")
