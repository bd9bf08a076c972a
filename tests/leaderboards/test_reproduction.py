"""Printed numbers beside ours: which belong together, the difference, and what is not the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from fdr_bench.cli import cli
from fdr_bench.types import Interval, Score, TrainedOn
from leaderboards.counterparts import slice_of
from leaderboards.load import DatasetFacts, ModelFacts, Run
from leaderboards.reproduction import Beside, reproduction

MODEL = ModelFacts(name="cnndetection@official", detector="cnndetection", preset="official", view="crop224")
FORENSYNTHS = DatasetFacts(name="forensynths-test", generators=("biggan", "progan", "seeingdark"))


def run(model: ModelFacts, dataset: DatasetFacts, values: dict[tuple[str, str], float | None], n: int = 4000) -> Run:
    scores = tuple(
        Score(
            model=model.name,
            dataset=dataset.name,
            slice=slice_,
            metric=metric,
            value=value,
            reason=None if value is not None else "one class alone",
            interval=None if value is None else Interval(value - 0.01, value + 0.01, 0.95, "bootstrap"),
            n=n,
            n_missing=0,
        )
        for (slice_, metric), value in values.items()
    )
    return Run(
        name="a", folder=Path("a"), problems=(), judged=(), unfinished=False, finished=None, facts=(), packages=(),
        spec="{}", models={model.name: model}, datasets={dataset.name: dataset}, skipped=(), failures=(), scores=scores,
    )  # fmt: skip


def found(of: Run, generator: str, metric: str) -> Beside:
    rows = [row for row in reproduction([of]) if (row.generator, row.metric) == (generator, metric)]
    assert rows
    return rows[0]


@pytest.mark.parametrize(
    ("printed", "generators", "slice_"),
    [
        ("AVG(10)", ("a",), "macro"),
        ("Mean", (), "all"),
        ("Mj", ("midjourney",), "generator:midjourney"),
        ("SDv1.4", ("sd14",), "generator:sd14"),
        ("SD V1.5", ("biggan", "sd15"), "generator:sd15"),
        ("StyleGAN2", ("stylegan", "stylegan2"), "generator:stylegan2"),
        ("SITD", ("seeingdark",), "generator:seeingdark"),
        ("DM(8)", ("flux",), None),
    ],
)
def test_a_printed_column_is_a_slice_of_ours_or_none(printed: str, generators: tuple[str, ...], slice_: str) -> None:
    assert slice_of(printed, generators) == slice_


def test_the_difference_is_in_points_and_the_count_is_compared() -> None:
    row = found(run(MODEL, FORENSYNTHS, {("generator:biggan", "acc"): 0.69}), "biggan", "ACC (crop 224)")
    # The authors' log: over 2,000 real and 2,000 fake images.
    assert row.printed == 58.98 and row.ours == pytest.approx(69.0) and row.low == pytest.approx(68.0)
    assert row.difference == pytest.approx(10.02)
    fewer = found(run(MODEL, FORENSYNTHS, {("generator:biggan", "acc"): 0.69}, n=61), "biggan", "ACC (crop 224)")
    assert "4,000 samples there, 61 here" in fewer.differences
    assert not any("samples" in one for one in row.differences)


def test_another_preprocessing_preset_and_training_are_told() -> None:
    model = replace(MODEL, preset="mine", trained_on=TrainedOn(dataset="forensynths", generators=("progan",)))
    rows = reproduction([run(model, FORENSYNTHS, {("generator:progan", "acc"): 0.9})])
    told = {one for row in rows if row.metric == "ACC (no crop)" for one in row.differences}
    assert "preprocessing no_crop there, crop224 here" in told
    assert "our weights were trained on this generator" in told
    # The log names no weights; the README's are those of the preset.
    assert "printed of preset official, ours is mine" in told
    assert any(one.startswith("printed of other weights: the authors', unnamed") for one in told)


def test_a_number_that_we_do_not_have_is_absent_with_its_reason() -> None:
    some = run(MODEL, FORENSYNTHS, {("generator:biggan", "acc"): 0.69, ("generator:biggan", "ap"): None})
    undefined = found(some, "biggan", "AP (crop 224)")
    assert undefined.ours is None and undefined.difference is None and undefined.reason == "one class alone"
    assert found(some, "progan", "ACC (crop 224)").reason == "not computed in this run"


def test_shares_become_percent() -> None:
    model = ModelFacts(name="fakereasoning@official", detector="fakereasoning", preset="official")
    mmfr = DatasetFacts(name="mmfr_mini", generators=("flux",))
    row = found(run(model, mmfr, {("macro", "css@minilm-l6"): 0.5}), "AVG(10)", "CSS")
    assert row.printed == pytest.approx(76) and row.ours == pytest.approx(50)


def test_nothing_is_printed_for_sets_and_models_of_ones_own() -> None:
    own = DatasetFacts(name="my-photos", generators=("biggan",))
    assert reproduction([run(MODEL, own, {("all", "acc"): 0.5})]) == ()
    stranger = replace(MODEL, name="mine", detector="mine")
    assert reproduction([run(stranger, FORENSYNTHS, {("all", "acc"): 0.5})]) == ()


def test_the_command_says_that_nothing_is_printed(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"schema": 1, "run": "r", "models": {}, "datasets": {}}))
    (tmp_path / "scores.json").write_text(json.dumps({"schema": 1, "settings": {}, "scores": []}))
    done = CliRunner().invoke(cli, ["check-published", str(tmp_path)])
    assert done.exit_code == 0 and "nothing is printed" in done.output + (done.stderr if done.stderr_bytes else "")
    as_json = CliRunner().invoke(cli, ["check-published", str(tmp_path), "--json"])
    assert json.loads(as_json.stdout) == []
