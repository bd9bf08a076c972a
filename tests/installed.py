"""Pretend that packages are installed: write a dist-info folder beside their modules and put it on the path."""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

PLUGIN_PACKAGE = Path(__file__).resolve().parent / "plugin_package"


class Site:
    """A folder on `sys.path` that packages are put into for one test."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        monkeypatch.syspath_prepend(str(folder))

    def add(
        self,
        package: str,
        entry_points: str,
        modules: Mapping[str, str],
        *,
        version: str = "1.0",
        requires: Sequence[str] = (),
    ) -> None:
        """Install `modules` (name -> source) and the text of an entry_points.txt under the name `package`."""
        info = self.folder / f"{package.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {package}", f"Version: {version}"]
        (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {each}" for each in requires), ""]))
        (info / "entry_points.txt").write_text(entry_points)
        for name, source in modules.items():
            (self.folder / f"{name}.py").write_text(source)
            self.forget(name)
        importlib.invalidate_caches()

    def add_detector(self, package: str, name: str, source: str, *, requires: Sequence[str] = ()) -> None:
        """Install one module with a class `It`, declared as detector `name`."""
        module = package.replace("-", "_") + "_module"
        self.add(package, f"[fdr_bench.detectors]\n{name} = {module}:It\n", {module: source}, requires=requires)

    def add_plugin_package(self) -> None:
        """Declare tests/plugin_package as its own pyproject.toml does, and put its sources on the path."""
        project = tomllib.loads((PLUGIN_PACKAGE / "pyproject.toml").read_text())["project"]
        text = "".join(
            f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items())
            for group, points in project["entry-points"].items()
        )
        self.add(project["name"], text, {}, version=project["version"])
        self._monkeypatch.syspath_prepend(str(PLUGIN_PACKAGE / "src"))
        self.forget("checkerboard_detector")

    def forget(self, module: str) -> None:
        """Have `module` imported anew in this test, and dropped after it."""
        self._monkeypatch.delitem(sys.modules, module, raising=False)


def detector_source(name: str, *, body: str = "", before: str = "") -> str:
    """Return the source of a working detector class `It` called `name`; `body` is added to the class."""
    return f"""{before}
from fdr_bench.types import DetectorCard, Prediction

class It:
    card = DetectorCard(name={name!r}, paper="none", licence="MIT")
    def __init__(self, *, preset, device, weights, view):
        pass
    def predict(self, images):
        return [Prediction(score=0.5) for _ in images]
{body}
"""
