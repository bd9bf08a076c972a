"""A stranger's package and a scaffolded one, installed by pip into an environment of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from fdr_bench.scaffold import new_detector
from tests.installed import PLUGIN_PACKAGE

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]


class Environment:
    """A virtual environment that also sees this one's packages, so that nothing is fetched."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        self.cache = folder / "cache"
        library = sysconfig.get_paths()["purelib"]
        (site,) = folder.glob("lib/python*/site-packages")
        # addsitedir, as a bare path would not read the .pth file that an editable installation is.
        (site / "outer.pth").write_text(f"import site; site.addsitedir({library!r})\n")

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            [str(self.python), *arguments],
            cwd=cwd or self.python.parent,
            env={
                **os.environ,
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                "FDR_BENCH_CACHE": str(self.cache),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def install(self, folder: Path) -> None:
        self.run("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", str(folder))

    def models(self) -> dict[str, dict[str, object]]:
        rows = json.loads(self.run("-m", "fdr_bench", "list", "models", "--json"))
        return {row["model"]: row for row in rows}


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "environment")


def test_a_third_partys_package_adds_a_model_by_being_installed(environment, tmp_path):
    assert "checkerboard" not in environment.models()
    source = shutil.copytree(PLUGIN_PACKAGE, tmp_path / "stranger")
    environment.install(source)
    shutil.rmtree(source)
    row = environment.models()["checkerboard"]
    assert row["package"] == "checkerboard-detector 0.3.0"
    assert row["note"] is None
    results = json.loads(environment.run("-m", "fdr_bench", "selftest", "checkerboard", "--json"))
    assert all(result["passed"] is not False for result in results), results
    environment.run("-m", "pip", "uninstall", "--quiet", "--yes", "checkerboard-detector")
    assert "checkerboard" not in environment.models()


def test_a_scaffolded_package_installs_passes_its_tests_and_is_listed(environment, tmp_path):
    folder = new_detector("grid-energy", tmp_path / "grid-energy")
    environment.install(folder)
    shutil.rmtree(folder / "src")  # what is tested is what was installed
    environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder), cwd=folder)
    assert environment.models()["grid-energy"]["package"] == "fdr-bench-grid-energy 0.1.0"


def test_the_wheel_brings_the_templates_so_that_an_installed_copy_can_scaffold(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "-w", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("fdr_bench-*.whl")
    shutil.unpack_archive(wheel, tmp_path / "unpacked", "zip")
    packed = tmp_path / "unpacked" / "fdr_bench" / "templates" / "detector"
    kept = ROOT / "fdr_bench" / "templates" / "detector"
    assert sorted(path.name for path in packed.iterdir()) == sorted(path.name for path in kept.iterdir())
