"""Perturbations: the same on every machine, what they say they are, and sets and runs made with them."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fdr_bench.cli import cli
from fdr_bench.data import open_dataset
from fdr_bench.data.perturbed import Alignment, parse_alignment, perturbed_set
from fdr_bench.errors import RunError, UsageError
from fdr_bench.perturbations import FAMILIES, Perturbation, _normal, parse, perturb
from fdr_bench.robustness import changed_sets, curve_area, robustness
from fdr_bench.scoring import score_run
from fdr_bench.store import read_json, read_rows
from tests.runs import make_run, read_lines, write_lines
from tests.served_server import numbered_folders

# Pixels are (4 x, 6 y, a checkerboard): each tells its place, and any smoothing shows.
ROWS, COLUMNS = np.indices((40, 60))
PICTURE = Image.fromarray(np.stack([4 * COLUMNS, 6 * ROWS, (ROWS + COLUMNS) % 2 * 255], axis=-1).astype(np.uint8))


def pixels(payload: bytes) -> Image.Image:
    return Image.open(io.BytesIO(payload))


def of(family: str, level: float, id: str = "a") -> Image.Image:
    return pixels(perturb(PICTURE, Perturbation(family, level), id))


def difference(image: Image.Image) -> float:
    return float(np.abs(np.asarray(image.convert("RGB"), float) - np.asarray(PICTURE, float)).mean())


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_perturbation_depends_on_the_id_alone_and_levels_go_from_weak_to_strong(family):
    changes = [Perturbation(family.name, level) for level in family.levels]
    assert [change.strength for change in changes] == sorted(change.strength for change in changes)
    assert all(change.strength > 0 for change in changes)
    for change in changes:
        assert perturb(PICTURE, change, "a") == perturb(PICTURE.copy(), change, "a")
        drawn = perturb(PICTURE, change, "a") != perturb(PICTURE, change, "b")
        assert drawn == (family.name in ("crop", "noise", "social"))
    tiny = Image.new("RGB", (1, 1), (9, 9, 9))
    assert all(min(pixels(perturb(tiny, change, "a")).size) == 1 for change in changes)


def test_what_each_perturbation_does():
    assert (of("jpeg", 30).format, of("webp", 30).format, of("social", 1).format) == ("JPEG", "WEBP", "JPEG")
    assert difference(of("jpeg", 30)) > difference(of("jpeg", 95)) > 0
    assert difference(of("webp", 30)) > difference(of("webp", 95)) > 0
    assert of("resize", 0.5).size == (30, 20)
    assert of("crop", 0.5).size == (30, 20)
    assert of("social", 3).size < of("social", 1).size < PICTURE.size
    assert difference(of("blur", 3)) > difference(of("blur", 0.5)) > 0
    red, green, _ = np.asarray(of("crop", 0.5))[0, 0].tolist()
    left, top = red // 4, green // 6
    assert np.array_equal(np.asarray(of("crop", 0.5)), np.asarray(PICTURE)[top : top + 20, left : left + 30])


def test_noise_has_the_deviation_that_it_says_and_the_same_shape_at_every_level():
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    drawn = [np.asarray(pixels(perturb(grey, Perturbation("noise", d), "a")), float) - 128 for d in (5, 20)]
    # 120,000 values: the standard error of a deviation is d / sqrt(240,000), and rounding adds 1/12 to the variance.
    for noise, deviation in zip(drawn, (5, 20), strict=True):
        assert noise.std() == pytest.approx(np.sqrt(deviation**2 + 1 / 12), rel=0.01)
        assert abs(noise.mean()) < 4 * deviation / np.sqrt(120_000)
    assert np.corrcoef(drawn[0].ravel(), drawn[1].ravel())[0, 1] > 0.99
    assert len(_normal(b"\1" * 32, 7)) == 7


def test_words_for_perturbations():
    assert [change.level for change in parse(["jpeg"])] == [95, 90, 80, 70, 60, 50, 40, 30]
    assert [change.level for change in parse(["jpeg:95..45"])] == [95, 90, 80, 70, 60, 50, 45]
    assert [change.level for change in parse(["jpeg:45..95"])] == [95, 90, 80, 70, 60, 50, 45]
    assert [change.label for change in parse(["blur:2,0.5 crop:0.5", "blur:2"])] == ["blur-0.5", "blur-2", "crop-0.5"]
    assert parse([]) == []


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("jpg", "Did you mean 'jpeg'"),
        ("jpeg:0", "whole number from 1 to 100"),
        ("jpeg:50.5", "whole number"),
        ("jpeg:95..", "not ''"),
        ("blur:nan", "not 'nan'"),
        ("crop:1", "from 0.05 to 0.99"),
    ],
)
def test_wrong_words_say_what_is_right(word, message):
    with pytest.raises(UsageError, match=message):
        parse([word])


def test_one_format_for_all():
    assert parse_alignment("jpeg").label == "aligned-jpeg-95"
    assert parse_alignment("webp:80") == Alignment("webp", 80)
    assert parse_alignment("png").label == "aligned-png"
    for wrong in ("gif", "png:9", "jpeg:0", "jpeg:x"):
        with pytest.raises(UsageError, match="--align-format is"):
            parse_alignment(wrong)


def test_a_perturbed_set_has_the_samples_of_its_own_and_another_fingerprint(tmp_path):
    dataset = open_dataset(f"folders:{numbered_folders(tmp_path, 4)}")
    changed = [perturbed_set(dataset, change) for change in (*parse(["jpeg:50", "noise:5"]), Alignment("jpeg", 95))]
    assert len({dataset.fingerprint, *(each.fingerprint for each in changed)}) == 4
    assert [each.name.rpartition("~")[2] for each in changed] == ["jpeg-50", "noise-5", "aligned-jpeg-95"]
    for each in changed:
        assert [(s.id, s.label, s.generator) for s in each.samples] == [
            (s.id, s.label, s.generator) for s in dataset.samples
        ]
        assert each.samples[0].image.read() == each.samples[0].image.read()


def test_an_area_is_the_mean_height_under_the_lines():
    assert curve_area([0, 10, 20], [0.7, 0.7, 0.7]) == pytest.approx(0.7)
    # Two trapezoids: 10 · (1 + 0.8) / 2 = 9, and 30 · (0.8 + 0.5) / 2 = 19.5; 28.5 / 40
    assert curve_area([0, 10, 40], [1, 0.8, 0.5]) == pytest.approx(28.5 / 40)
    assert curve_area([0], [1]) is None


def test_sets_are_told_by_their_names():
    names = ["a", "a~jpeg-50", "a~aligned-png", "b~jpeg-50", "a~photos", "a~jpeg-x", "a~jpeg-nan", "a~blur-inf"]
    found = changed_sets(names)
    assert [(each.dataset, each.perturbation) for each in found] == [
        ("a~jpeg-50", Perturbation("jpeg", 50)),
        ("a~aligned-png", None),
    ]


def test_a_run_over_perturbed_sets_gives_curves_and_a_paired_comparison(tmp_path):
    data = numbered_folders(tmp_path / "data", 12)

    def fdr_bench(*words: object):
        return CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False, standalone_mode=False)

    run = tmp_path / "run"
    words = ["run", "--models", "constant,file-metadata", "--data", f"folders:{data}", "--out", run, "--workers", "1"]
    said = fdr_bench(*words, "--perturb", "jpeg:90,50 resize:0.5", "--align-format", "jpeg:95")
    assert said.return_value == 0
    name = next(name for name in read_json(run / "run.json")["datasets"] if "~" not in name)
    files = {row["format"] for row in read_rows(run / "datasets" / f"{name}~jpeg-50" / "files.jsonl")}
    assert files == {"JPEG"}
    shrunk = next(read_rows(run / "datasets" / f"{name}~resize-0.5" / "files.jsonl"))
    assert (shrunk["width"], shrunk["height"]) == (8, 6)  # of 16 × 12
    content = json.loads(fdr_bench("robustness", run, "--json").output)
    curves = {(row["model"], row["family"]): row for row in content["curves"]}
    jpeg = curves["constant", "jpeg"]
    assert [(point["level"], point["strength"]) for point in jpeg["points"]] == [(None, 0), (90, 10), (50, 50)]
    assert jpeg["area"] == pytest.approx(0.5)  # six of twelve are fake, and always the same is said
    assert {point["n"] for point in jpeg["points"]} == {12}
    (aligned,) = (row for row in content["aligned"] if row["model"] == "constant")
    assert (aligned["aligned"], aligned["difference"], aligned["p"], aligned["n"]) == ("aligned-jpeg-95", 0, 1, 12)
    assert "area" in fdr_bench("robustness", run, "--metric", "balanced_acc").output
    assert fdr_bench("resume", run).return_value == 0
    kept = read_json(run / "robustness.json")
    assert kept["curves"] == content["curves"] and kept["aligned"] == content["aligned"]
    page = (run / "index.html").read_text(encoding="utf-8")
    assert "Robustness</h3>" in page and page.count('<section class="dataset"') == 2  # the set, and the aligned one
    with pytest.raises(UsageError, match="not of 'f1'"):
        robustness(run, metric="f1")


def test_levels_that_would_be_called_alike_are_one():
    (one,) = parse(["blur:0.50000001,0.5"])
    assert one == Perturbation("blur", 0.5)
    (other,) = parse(["blur:0.123456789"])
    assert float(other.label.partition("-")[2]) == other.level  # so that a curve has the level that was used


def test_a_curve_whose_only_level_does_nothing_says_so(tmp_path):
    run = make_run(tmp_path / "run", 20, models=("constant",), datasets=("a", "a~jpeg-100"))
    score_run(run, resamples=0)
    ((curve,), _) = robustness(run)
    assert curve["area"] is None and "does nothing" in curve["reason"]


def test_an_aligned_set_of_other_samples_is_no_pair(tmp_path):
    run = make_run(tmp_path / "run", 20, models=("constant",), datasets=("a", "a~aligned-png"))
    path = run / "datasets" / "a~aligned-png" / "samples.jsonl"
    write_lines(path, read_lines(path)[:-1])
    for place in run.glob("*/a~aligned-png/predictions.jsonl"):
        write_lines(place, read_lines(place)[:-1])
    score_run(run, resamples=0)
    with pytest.raises(RunError, match="has other samples than a"):
        robustness(run)


def test_a_run_without_perturbed_sets_says_how_to_get_them(tmp_path):
    data = numbered_folders(tmp_path / "data", 4)
    words = ["run", "--models", "constant", "--data", f"folders:{data}", "--out", str(tmp_path / "run")]
    CliRunner().invoke(cli, words, catch_exceptions=False, standalone_mode=False)
    with pytest.raises(RunError, match="run with --perturb"):
        robustness(tmp_path / "run")
