"""A scaffolded plugin package is complete: its tests pass, it is found once installed, and nothing is overwritten."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fdr_bench import scaffold
from fdr_bench.errors import UsageError
from fdr_bench.plugins import load_detector
from fdr_bench.scaffold import new_detector
from tests.installed import Site


def test_a_new_package_has_its_entry_point_sources_tests_and_readme(tmp_path):
    folder = new_detector("grid-energy", tmp_path / "here")
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        ".gitignore",
        "README.md",
        "pyproject.toml",
        "src/fdr_bench_grid_energy/__init__.py",
        "src/fdr_bench_grid_energy/detector.py",
        "tests/test_detector.py",
    ]
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "fdr-bench-grid-energy"
    assert project["entry-points"]["fdr_bench.detectors"] == {
        "grid-energy": "fdr_bench_grid_energy.detector:GridEnergyDetector"
    }
    assert not any("$" in path.read_text() for path in folder.rglob("*") if path.is_file())
    assert list(tmp_path.iterdir()) == [folder]  # nothing unfinished is left beside it


def test_the_new_packages_own_tests_pass_once_it_is_declared(tmp_path):
    folder = new_detector("grid-energy", tmp_path / "package")
    site = tmp_path / "site" / "fdr_bench_grid_energy-0.1.0.dist-info"
    site.mkdir(parents=True)
    (site / "METADATA").write_text("Metadata-Version: 2.1\nName: fdr-bench-grid-energy\nVersion: 0.1.0\n")
    points = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["entry-points"]["fdr_bench.detectors"]
    (site / "entry_points.txt").write_text(f"[fdr_bench.detectors]\ngrid-energy = {points['grid-energy']}\n")
    path = os.pathsep.join([str(folder / "src"), str(site.parent), str(Path(__file__).resolve().parents[1])])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(folder)],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_new_package_is_clean_under_ruff(tmp_path):
    folder = new_detector("grid-energy", tmp_path / "package")
    ruff = [sys.executable, "-m", "ruff"]
    rules = ["--isolated", "--line-length=120"]
    subprocess.run([*ruff, "check", *rules, "--select=E,F,I,UP,B,SIM,RUF", "--no-cache", "."], cwd=folder, check=True)
    subprocess.run([*ruff, "format", *rules, "--check", "--no-cache", "."], cwd=folder, check=True)


@pytest.mark.parametrize(
    ("name", "proposal"),
    [
        ("My Detector", "Try 'my-detector'"),
        ("grid_energy", "Try 'grid-energy'"),
        ("GridEnergy", "Try 'grid-energy'"),
        ("2grid", "Try 'grid'"),
        ("-grid-", "Try 'grid'"),
        ("grid--energy", "Try 'grid-energy'"),
        ("../grid", "Try 'grid'"),
        ("x" * 61, f"Try '{'x' * 60}'"),
        ("", "expected lower-case letters"),
        ("é", "expected lower-case letters"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused_with_a_better_one(tmp_path, name, proposal):
    with pytest.raises(UsageError) as caught:
        new_detector(name, tmp_path / "out")
    assert proposal in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["json", "class", "none", "torch", "test", "a", "x2"])
def test_names_of_modules_and_keywords_make_packages_that_import(tmp_path, name):
    folder = new_detector(name, tmp_path / name)
    source = next((folder / "src").rglob("detector.py")).read_text()
    names: dict[str, object] = {"__name__": "scaffolded"}
    exec(compile(source, "detector.py", "exec"), names)
    assert names[f"{name.capitalize()}Detector"].card.name == name


def test_a_name_that_is_taken_is_refused(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="'npr' is installed already, from fdr-bench"):
        new_detector("npr", tmp_path / "npr")
    Site(tmp_path / "site", monkeypatch).folder.mkdir()
    site = Site(tmp_path / "site", monkeypatch)
    site.add_plugin_package()
    assert load_detector("checkerboard")
    with pytest.raises(UsageError, match=r"from checkerboard-detector 0\.3\.0"):
        new_detector("checkerboard", tmp_path / "checkerboard")


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="exists already"):
        new_detector("mine", tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="exists already"):
        new_detector("mine", tmp_path / "file")


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    assert (new_detector("mine", tmp_path / "empty") / "pyproject.toml").is_file()


def test_a_place_that_cannot_be_written_is_a_usage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        new_detector("mine", tmp_path / "file" / "mine")


def test_a_failure_half_way_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(scaffold, "_layout", lambda module: {"README.md.template": "README.md", "gone": "gone"})
    with pytest.raises(FileNotFoundError):
        new_detector("mine", tmp_path / "mine")
    assert list(tmp_path.iterdir()) == []
