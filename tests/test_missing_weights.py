"""Models whose weights a person has to fetch: one table says how, and only --strict makes it a failure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from fdr_bench.cli import cli


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("FDR_BENCH_CACHE", str(tmp_path / "cache"))
    for name in ("real", "fake"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "photos" / name / "one.png")
    return f"folders:{tmp_path / 'photos'}"


def test_a_table_says_how_to_get_what_is_missing_and_where_it_belongs(photos: str, tmp_path: Path) -> None:
    asked = ["run", "--models", "constant,npr,cnndetection", "--preset", "official", "--data", photos, "--dry-run"]
    done = CliRunner().invoke(cli, asked)
    assert done.exit_code == 0, done.output
    # Each once, in a row of its own with its file.
    rows = {line.split()[0]: line for line in done.output.splitlines() if "@official" in line}
    assert "NPR.pth" in rows["npr@official"] and "blur_jpg_prob0.5.pth" in rows["cnndetection@official"]
    assert "would skip, for want of weights" in done.output
    assert str(tmp_path / "cache" / "weights") in done.output


def test_a_program_reads_file_way_and_place(photos: str, tmp_path: Path) -> None:
    asked = ["run", "--models", "npr", "--preset", "official", "--data", photos, "--dry-run", "--json"]
    (row,) = json.loads(CliRunner().invoke(cli, asked).stdout)["skipped"]
    assert row["weights"]["file"] == "NPR.pth" and "github.com" in row["weights"]["how"]
    assert row["weights"]["place"] == str(tmp_path / "cache" / "weights" / "npr" / "NPR.pth")


@pytest.mark.parametrize(("strict", "code"), [([], 0), (["--strict"], 1)])
def test_only_strict_fails_for_want_of_weights(photos: str, tmp_path: Path, strict: list[str], code: int) -> None:
    asked = ["run", "--models", "constant,npr", "--data", photos, "--out", str(tmp_path / "run"), *strict]
    done = CliRunner().invoke(cli, asked, standalone_mode=False)
    assert done.return_value == code, done.output
    assert "skipped, for want of weights" in done.output and "NPR.pth" in done.output
