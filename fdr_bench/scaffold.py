"""Make a new plugin package: a working detector, its tests and its entry point, ready to install."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import tempfile
from pathlib import Path
from string import Template

from fdr_bench.errors import UsageError
from fdr_bench.plugins import DETECTORS, discover

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TEMPLATES = Path(__file__).parent / "templates" / "detector"
_LONGEST = 60


def new_detector(name: str, out: Path) -> Path:
    """Write a plugin package for detector `name` into the folder `out` and return it; all of it, or nothing.

    Names are lower-case words joined by "-". Raises `UsageError` for another name, one that an installed detector
    has, and a folder that exists and is not empty.
    """
    _check_name(name)
    out = out.expanduser().absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists already. Choose another place with --out, or remove it first.")
    words = _words(name)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise UsageError(
            f"{out.parent} cannot be written: {error.strerror}. Choose another place with --out."
        ) from None
    try:
        for template, place in _layout(words["module"]).items():
            path = unfinished / place
            path.parent.mkdir(parents=True, exist_ok=True)
            text = (_TEMPLATES / template).read_text(encoding="utf-8")
            path.write_text(Template(text).substitute(words), encoding="utf-8")
        unfinished.chmod(0o755)  # mkdtemp keeps others out, which a package does not want
        unfinished.replace(out)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return out


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower())
        proposal = "-".join(words).lstrip("0123456789-")[:_LONGEST].rstrip("-")
        hint = f" Try '{proposal}'." if proposal else ""
        raise UsageError(
            f"'{name}' cannot name a detector: expected lower-case letters, digits and single '-' between them, "
            f"a letter first, at most {_LONGEST}.{hint}"
        )
    for found in discover(DETECTORS):
        if found.name == name:
            raise UsageError(
                f"a detector called '{name}' is installed already, from {found.distribution} {found.version}. "
                "Choose another name: two of one name cannot be told apart on a board."
            )


def _words(name: str) -> dict[str, str]:
    parts = name.split("-")
    return {
        "name": name,
        "title": " ".join(parts).capitalize(),
        "distribution": f"fdr-bench-{name}",
        # Prefixed, so that no name, such as 'json' or 'class', can hide a module or be a keyword.
        "module": f"fdr_bench_{name.replace('-', '_')}",
        "class_name": "".join(part.capitalize() for part in parts) + "Detector",
        "version": importlib.metadata.version("fdr-bench"),
    }


def _layout(module: str) -> dict[str, str]:
    return {
        "pyproject.toml.template": "pyproject.toml",
        "README.md.template": "README.md",
        "gitignore.template": ".gitignore",
        "init.template": f"src/{module}/__init__.py",
        "detector.py.template": f"src/{module}/detector.py",
        "test_detector.py.template": "tests/test_detector.py",
    }
