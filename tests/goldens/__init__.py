"""Figures that official code gave: those in this folder, and those in the one that FDR_BENCH_GOLDENS names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent
VARIABLE = "FDR_BENCH_GOLDENS"


def folders() -> list[Path]:
    """Return this folder, and behind it the one that the variable names.

    Raises `pytest.UsageError` where that holds no figures, so that a mistyped path does not look like agreement.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return [HERE]
    other = Path(named)
    if not any(other.glob("*.json")):
        there = "no .json in it" if other.is_dir() else "no such folder"
        raise pytest.UsageError(
            f"{VARIABLE} is '{named}': there is {there} (from {Path.cwd()}); correct it or unset it"
        )
    return [HERE, other]


def images_of(fixture: Path) -> Path:
    """Return the folder of the images that a fixture is about: beside it, or where it has none, this folder's."""
    own = fixture.parent / "images"
    return own if own.is_dir() else HERE / "images"
