"""Calibrating a folder: what it writes, what it measures elsewhere, and what is refused before anything is computed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fakereasoning import calibrating
from fakereasoning.__main__ import main
from fakereasoning.calibrating import calibrate_folder, is_calibrated, remove_outdated
from fakereasoning.calibration import FIGURE, FILE, Margins, fit_temperature, measure
from fdr_bench.data import open_dataset
from fdr_bench.errors import DataError, UsageError
from fdr_bench.types import Dataset
from tests.fakereasoning import small


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def pictures(folder: Path, count: int = 24) -> Dataset:
    """Return a labelled set of pictures, half of them fake."""
    for record in small.records(folder / "all", count):
        assert record.label is not None
        place = folder / "set" / {"real": "0_real", "fake": "1_fake"}[record.label]
        place.mkdir(parents=True, exist_ok=True)
        (folder / "all" / record.id).rename(place / record.id)
    return open_dataset(f"folders:{folder / 'set'}")


def said(dataset: Dataset) -> Margins:
    """Return what the stand-in for a model says: too sure of itself, and wrong on every sixth image."""
    fake = np.array([sample.label == "fake" for sample in dataset.samples])
    wrong = np.arange(len(fake)) % 6 == 0
    size = 5 + np.random.default_rng(len(fake)).random(len(fake))
    return Margins(np.where(fake ^ wrong, size, -size), fake)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Put the stand-in in place of a model; the threads of torch in each of its looks at a set come back."""
    threads: list[int] = []

    def margins(_, dataset, *, advance):
        threads.append(torch.get_num_threads())
        advance(len(dataset.samples))
        return said(dataset)

    monkeypatch.setattr(calibrating, "load", lambda folder, device: None)
    monkeypatch.setattr(calibrating, "margins", margins)
    return threads


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "load", lambda *_, **__: pytest.fail("began to compute"))


def test_another_set_is_measured_at_the_temperature_that_was_not_fitted_on_it(model, weights, tmp_path):
    validation, test = pictures(tmp_path / "val"), pictures(tmp_path / "test", 16)
    found = calibrate_folder(weights, validation, elsewhere=test, quiet=True)
    assert found.temperature == pytest.approx(fit_temperature(said(validation)))
    assert found.elsewhere is not None
    assert found.elsewhere.before == measure(said(test))
    assert found.elsewhere.after == measure(said(test), found.temperature)
    told = json.loads((weights / FILE).read_text())["elsewhere"]
    assert told["measured_on"] == {"dataset": "set", "fingerprint": test.fingerprint, "n": 16, "n_fake": 8}
    assert (told["before"]["ece"], told["after"]["ece"]) == (found.elsewhere.before.ece, found.elsewhere.after.ece)
    assert len(told["after"]["bins"]) == 15


@pytest.mark.usefixtures("no_model")
def test_what_cannot_be_is_refused_firstanything_is_computed(weights, tmp_path):
    validation = pictures(tmp_path / "val")
    with pytest.raises(UsageError, match=r"4 images of .*are those that the temperature is fitted on"):
        calibrate_folder(weights, validation, elsewhere=replace(validation, samples=validation.samples[10:14]))
    fakes = [sample for sample in validation.samples if sample.label == "fake"]
    with pytest.raises(DataError, match="12 fakes and 0 reals"):
        calibrate_folder(weights, replace(validation, samples=fakes))
    with pytest.raises(DataError, match="4 fakes and 0 reals"):
        calibrate_folder(weights, pictures(tmp_path / "test"), elsewhere=replace(validation, samples=fakes[:4]))
    for figure in (tmp_path / "missing" / "x.html", tmp_path):
        with pytest.raises(UsageError, match=r"expected the name of an \.html file in a folder that is there"):
            calibrate_folder(weights, validation, figure=figure)
    with pytest.raises(UsageError, match="expected 'cpu' or 'cuda'"):
        calibrate_folder(weights, validation, device="tpu")


@pytest.mark.usefixtures("model")
def test_a_calibration_holds_for_its_weights_and_data_alone(weights, tmp_path):
    validation, other = pictures(tmp_path / "val"), pictures(tmp_path / "test", 16)
    assert not is_calibrated(weights, validation)
    calibrate_folder(weights, validation, figure=weights / FIGURE, quiet=True)
    remove_outdated(weights)
    assert is_calibrated(weights, validation) and not is_calibrated(weights, other)
    (weights / "model.safetensors").write_bytes(b"others")
    assert not is_calibrated(weights, validation)
    remove_outdated(weights)
    assert [path.name for path in weights.iterdir()] == ["model.safetensors"]


def test_the_command_prints_both_sets_and_uses_the_threads_asked_for(model, weights, tmp_path):
    for name, count in (("val", 24), ("test", 16)):
        pictures(tmp_path / name, count)
    words = ["--data", f"folders:{tmp_path / 'val' / 'set'}", "--measure", f"folders:{tmp_path / 'test' / 'set'}"]
    threads = torch.get_num_threads()
    shown = CliRunner().invoke(main, ["calibrate", str(weights), *words, "--threads", "3", "--quiet"])
    assert shown.exit_code == 0, shown.output
    temperature, fitted, elsewhere = shown.output.splitlines()
    found = json.loads((weights / FILE).read_text())
    assert temperature == f"temperature {found['temperature']:.3f}"
    for line, told in ((fitted, found), (elsewhere, found["elsewhere"])):
        n, first, then = told["before"]["n"], told["before"]["ece"], told["after"]["ece"]
        assert f"n {n}: ECE {first:.4f} before, {then:.4f} after" in line
    assert model == [3, 3] and torch.get_num_threads() == threads


@pytest.mark.usefixtures("model")
def test_equal_calibrations_write_equal_files(weights, tmp_path):
    validation = pictures(tmp_path / "val")
    written = []
    for _ in range(2):
        calibrate_folder(weights, validation, figure=weights / FIGURE, quiet=True)
        written.append([(weights / name).read_bytes() for name in (FILE, FIGURE)])
    assert written[0] == written[1]
