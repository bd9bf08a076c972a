"""The detection metrics as `evaluate.Metric` objects, made locally: `evaluate.load` would fetch code when it runs.

`load("ap").compute(predictions=scores, references=labels)`, also batch by batch with `add_batch`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fdr_bench.errors import UsageError, nearest
from fdr_bench.metrics import METRICS, NEEDS
from fdr_bench.metrics.detection import call

if TYPE_CHECKING:
    import evaluate

LOADABLE = tuple(name for name, metric in METRICS.items() if {"fake", "score", "called"}.issuperset(metric.needs))


def load(name: str, *, threshold: float = 0.5) -> evaluate.Metric:
    """Return the metric `name` (one of `LOADABLE`) as an `evaluate.Metric` that needs no network and no cache folder.

    Its `predictions` are P(fake), its `references` 1 for fake and 0 for real; `compute` returns {name: value}, NaN
    where a class is absent. A score strictly above `threshold` is called fake. Raises `UsageError` for another name.
    """
    import datasets  # type: ignore[import-untyped]
    import evaluate

    if name not in LOADABLE:
        raise UsageError(f"{name!r} is no metric of scores and labels.{nearest(name, LOADABLE)} Known: {LOADABLE}.")
    metric = METRICS[name]

    class DetectionMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate is untyped
        def _info(self) -> evaluate.MetricInfo:
            return evaluate.MetricInfo(
                description=metric.definition,
                citation=metric.source,
                inputs_description=f"predictions: {NEEDS['score']}; references: 1 fake, 0 real",
                features=datasets.Features(
                    {"predictions": datasets.Value("float64"), "references": datasets.Value("int64")}
                ),
            )

        def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
            score = np.asarray(predictions, dtype=np.float64)
            arrays = {"fake": np.asarray(references) == 1, "score": score, "called": call(score, threshold)}
            return {name: metric.function(*(arrays[need] for need in metric.needs))}

    DetectionMetric.__name__ = DetectionMetric.__qualname__ = name
    return DetectionMetric(keep_in_memory=True, experiment_id=name)
