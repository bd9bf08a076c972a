"""What pages weigh: a matter of models and generators, whatever the number of samples."""

from __future__ import annotations

from pathlib import Path

import pytest

from fdr_bench.curves import write_curves
from fdr_bench.examples import write_examples
from fdr_bench.scoring import score_run
from leaderboards import site
from tests.runs import MODELS, make_run

SHOWN = 50
GENERATORS = tuple(f"generator-{letter}" for letter in "abcdefghij")


def weights(run: Path) -> dict[str, int]:
    """Report a run as the command does, fifty examples shown, and return the bytes of each page and file, plotly's
    own script left out."""
    score_run(run, resamples=2)
    write_curves(run)
    write_examples(run, most=SHOWN)
    index = site.build([run], run)
    carried = len(index.read_text(encoding="utf-8").partition('id="plotly">')[2].partition("<")[0])
    assert carried > 1_000_000  # the script is in the page: what is subtracted is no other thing
    sizes = {path.name: path.stat().st_size for path in (*run.glob("*.html"), *(run / "exports").iterdir())}
    return sizes | {"index.html": sizes["index.html"] - carried}


@pytest.fixture(scope="module")
def few_and_many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weight")
    return [weights(make_run(folder / "run" / str(n) / "run", n, MODELS[:2])) for n in (1_000, 6_000)]


def test_no_page_and_no_file_grows_with_the_samples(few_and_many):
    few, many = few_and_many
    assert few.keys() == many.keys()
    assert "examples-fdr-scenes-test.html" in few
    for name, size in many.items():
        assert size < 1.1 * few[name] + 500, name  # curves are finer by a little, numbers have more digits


def test_the_overview_of_twelve_models_on_ten_generators_is_light(tmp_path):
    names = [f"detector-{number:02}@official" for number in range(12)]
    found = weights(make_run(tmp_path / "run", 2_000, names, generators=GENERATORS))
    assert found["index.html"] < 1_500_000
