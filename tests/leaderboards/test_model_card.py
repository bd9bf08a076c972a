"""The snippet for a model's card: a hub reads its metadata, people its tables, and no name breaks out of either."""

from __future__ import annotations

import re

import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard

from leaderboards import pages
from leaderboards.load import load_runs
from leaderboards.model_card import model_card
from leaderboards.tables import dataset_boards
from tests.leaderboards.boards import score, write_run

HOSTILE = [
    'x"\n---\n# owned',
    "a: [b, *c]",
    "<script>alert(1)</script>|`x`",
    "\u2028- y",
    "\U0001f600 & \\",
]


def cards(run):
    runs = load_runs([run])
    boards = dataset_boards(runs)
    return {page.name: model_card(page, runs) for page in pages.model_pages(boards, pages.links(boards), {})}


def test_a_hub_reads_every_defined_metric_and_people_read_the_rest(tmp_path):
    rows = [
        score("npr@x", "acc", 0.9, interval=(0.88, 0.92), n=600),
        score("npr@x", "acc", 0.75, slice="generator:gan"),
        score("npr@x", "acc", 0.8, slice="generator:warp"),
        score("npr@x", "ap", None, n=0, n_missing=600, reason="verdicts only"),
    ]
    models = {"npr@x": {"trained_on": {"dataset": "set", "generators": ["gan"]}, "parameters": 1000}}
    sets = {"set": {"fingerprint": "f" * 64, "n_real": 100, "n_fake": 500}}
    code = {"version": "0.1.0", "commit": "c" * 40}
    card = cards(write_run(tmp_path / "run", rows, models=models, datasets=sets, code=code))["npr@x"]
    known = ModelCard(card, ignore_metadata_errors=False).data
    (result,) = known.eval_results
    assert isinstance(result, EvalResult) and known.model_name == "npr@x"
    assert (result.dataset_type, result.metric_type, result.metric_name, result.metric_value) == (
        "set", "accuracy", "ACC", 0.9,
    )  # fmt: skip
    assert (result.task_type, result.dataset_revision) == ("image-classification", "f" * 64)
    assert "Measured with FDR-Bench 0.1.0, commit cccccccccccc, on 100 real and 500 fake images" in card
    assert "| ACC | 90.0 | 88.0–92.0 | 600 | 0 |" in card
    assert "| AP | – (verdicts only) | | | |" in card
    assert "| gan | 75.0† |" in card and "| warp | 80.0 |" in card and "† trained on this generator." in card
    assert "Parameters" not in card


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_breaks_out_of_the_metadata_or_of_a_table(tmp_path, name):
    rows = [score(name, "acc", 0.5, dataset=name), score(name, "acc", 0.5, dataset=name, slice=f"generator:{name}")]
    (card,) = cards(write_run(tmp_path / "run", rows)).values()
    metadata, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", card, re.DOTALL).groups()
    (entry,) = yaml.safe_load(metadata)["model-index"]
    (result,) = entry["results"]
    assert entry["name"] == name and result["dataset"]["type"] == name
    assert "<script" not in body and "\n# owned" not in body
    assert all(len(re.findall(r"(?<!\\)\|", line)) in (0, 4, 5, 6) for line in body.splitlines())
