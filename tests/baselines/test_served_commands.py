"""A served model on the command line, from the run over its scores to its consistency."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from fdr_bench.cli import cli
from fdr_bench.store import read_scores
from tests.served_server import Misbehaving, completion, numbered_folders, numbered_image

WORDS = {True: "Fake", False: "Real"}


def fdr_bench(*words: str):
    return CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False, standalone_mode=False)


def biased(request) -> tuple[int, dict, dict]:
    """Says the class that is named first, but that images 0 to 3 are fake whatever is asked, and nothing of image 9."""
    from tests.served_server import number_of

    number = number_of(request)
    text = request["messages"][-1]["content"][1]["text"]
    first = text.index("fake") < text.index("real")
    if number == 9:
        return 200, {}, completion("I'm sorry, I can't help with that.")
    if request["seed"] == 2 and number < 2:  # another time it says the contrary of two of these
        return 200, {}, completion(WORDS[False])
    return 200, {}, completion(WORDS[number < 4 or first])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    data = numbered_folders(folder / "data", 12)
    server = Misbehaving()
    server.respond = biased
    models = "openai:org/m@verdict:real-first,openai:org/m@verdict:fake-first,constant"
    with server.running() as url:
        words = ["run", "--models", models, "--data", f"folders:{data}", "--out", folder / "run", "--base-url", url]
        said = fdr_bench(
            *words, "--repeats", "2", "--temperature", "0.2", "--max-failures", "50%", "--option", "tries=1"
        )
    return folder / "run", said


def test_a_run_is_scored_and_reported_beside_a_detector(finished):
    run, said = finished
    assert said.return_value == 0
    assert (run / "index.html").exists()
    scores = {(row["model"], row["metric"]): row for row in read_scores(run) if row["slice"] == "all"}
    # fake-first says fake of all eleven that it answers: the reals are 1, 3, 5, 7, 9, 11, and 9 is refused.
    label = "openai-org-m@verdict:fake-first"
    assert scores[label, "fake_acc"]["value"] == 1
    assert scores[label, "real_acc"]["value"] == 0
    assert scores[label, "failure_rate"]["value"] == pytest.approx(1 / 12)
    assert scores[label, "ap"]["value"] is None  # no log-probabilities came: verdicts alone


def test_consistency_between_repeats_and_polarities(finished):
    run, _ = finished
    said = fdr_bench("consistency", run, "--json")
    rows = {(row["model"], row["between"]): row for row in json.loads(said.output)}
    assert len(rows) == 3
    for polarity in ("real-first", "fake-first"):
        # Of eleven images two were called fake once and real once: (2 * 0.5) / 11
        row = rows[f"openai-org-m@verdict:{polarity}", "2 repeats"]
        assert (row["rate"], row["n"], row["n_missing"]) == (pytest.approx(1 / 11), 11, 1)
    # Real-first calls four fake (0 to 3), fake-first all eleven: seven differ.
    row = rows["openai-org-m@verdict", "real-first / fake-first"]
    assert (row["rate"], row["n"]) == (pytest.approx(7 / 11), 11)
    assert (row["fake_first"], row["fake_second"]) == (pytest.approx(4 / 11), 1)


def test_the_table_of_consistency_and_a_run_with_nothing_to_compare(finished, tmp_path):
    run, _ = finished
    assert "63.64" in fdr_bench("consistency", run).output
    with pytest.raises(Exception, match="has nothing to compare: ask with --repeats"):
        data = numbered_folders(tmp_path / "data", 4)
        fdr_bench("run", "--models", "constant", "--data", f"folders:{data}", "--out", tmp_path / "run")
        fdr_bench("consistency", tmp_path / "run")


def test_single_images_are_asked_about_and_a_failure_is_told(tmp_path, capsys):
    numbered_image(4).save(tmp_path / "four.png")
    numbered_image(5).save(tmp_path / "five.png")
    server = Misbehaving(lambda number, attempt: "500" if number == 5 else None)
    with server.running() as url:
        words = ["predict", tmp_path / "four.png", tmp_path / "five.png", "--models", "openai:m", "--base-url", url]
        said = fdr_bench(*words, "--option", "tries=2", "--option", "backoff=0", "--json")
    good, bad = json.loads(said.output)
    assert (good["verdict"], good["score"], good["reasoning"]) == ("fake", pytest.approx(0.9), "Number 4.")
    assert bad["error"].startswith("server error: status 500")
    assert said.return_value == 1


def test_what_a_served_model_is_and_takes_is_shown():
    card = json.loads(fdr_bench("show", "openai:gpt-4o", "--json").output)
    assert card["name"] == "openai-gpt-4o"
    assert {"base-url", "budget", "logprobs"} <= set(card["options"])
    assert "openai:NAME" in fdr_bench("list", "models").output
