import numpy as np
import pytest

from fdr_bench.errors import UsageError
from fdr_bench.metrics import METRICS
from fdr_bench.metrics.evaluate_metrics import LOADABLE, load

evaluate = pytest.importorskip("evaluate")


@pytest.mark.parametrize("name", LOADABLE)
def test_every_metric_of_scores_and_labels_is_an_evaluate_metric(name):
    draws = np.random.default_rng(0)
    fake, score = draws.random(50) < 0.5, draws.random(50)
    metric = load(name)
    assert isinstance(metric, evaluate.Metric) and metric.name == name
    given = {"fake": fake, "score": score, "called": score > 0.5}
    expected = METRICS[name].function(*(given[need] for need in METRICS[name].needs))
    assert metric.compute(predictions=score, references=fake.astype(int)) == {name: pytest.approx(expected)}


def test_batches_add_up_and_the_threshold_is_the_callers():
    metric = load("fake_acc", threshold=0.65)
    metric.add_batch(predictions=[0.6, 0.7], references=[1, 1])
    metric.add(prediction=0.65, reference=1)
    assert metric.compute() == {"fake_acc": pytest.approx(1 / 3)}  # only 0.7 is above 0.65


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'auroc'"):
        load("aurocc")
