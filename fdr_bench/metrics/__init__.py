"""The metrics by name: `METRICS[name].function` is a pure function on arrays, its arguments named in `needs`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fdr_bench.metrics import calibration, detection

Need = Literal["fake", "called", "score", "answered", "forced", "threshold"]
NEEDS: dict[Need, str] = {
    "fake": "bool (N,), True where the image is fake",
    "called": "bool (N,), True where the model calls it fake: its stated verdict, else, of a model whose card does not "
    "say that it states any, score > the card's threshold",
    "score": "float64 (N,), P(fake) in [0, 1]",
    "answered": "bool (N,), False where the model failed, could not be parsed, or stated no verdict though its card "
    "says that it does",
    "forced": "bool (N,), True where the score was read behind a conclusion that was appended to the model's text",
    "threshold": "float, chosen on a separate validation run",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What a number on the board means. `classes` are those that must be there for it to exist."""

    name: str
    title: str
    definition: str
    higher_is_better: bool
    needs: tuple[Need, ...]
    classes: Literal["any", "real", "fake", "both"]
    source: str
    function: Callable[..., float]


_SCIKIT = "agrees with scikit-learn's {}"
_COUNT = "a share of counts"

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="acc",
            title="ACC",
            definition="Share of images called rightly at the card's threshold; a score strictly above it is fake. A "
            "model that states verdicts is judged by these alone. "
            "Official reading: images without an answer are left out (see n_missing).",
            higher_is_better=True,
            needs=("fake", "called"),
            classes="any",
            source="Wang et al., CVPR 2020 (score > 0.5); " + _SCIKIT.format("accuracy_score"),
            function=detection.accuracy,
        ),
        Metric(
            name="acc@strict",
            title="ACC (strict)",
            definition="As acc, but an image that the model was shown and did not answer counts as wrong.",
            higher_is_better=True,
            needs=("fake", "called", "answered"),
            classes="any",
            source=_COUNT,
            function=detection.strict_accuracy,
        ),
        Metric(
            name="real_acc",
            title="real ACC",
            definition="Share of real images called real (true negative rate) at the card's threshold.",
            higher_is_better=True,
            needs=("fake", "called"),
            classes="real",
            source=_SCIKIT.format("recall_score of the real class"),
            function=detection.real_accuracy,
        ),
        Metric(
            name="fake_acc",
            title="fake ACC",
            definition="Share of fake images called fake (true positive rate) at the card's threshold.",
            higher_is_better=True,
            needs=("fake", "called"),
            classes="fake",
            source=_SCIKIT.format("recall_score of the fake class"),
            function=detection.fake_accuracy,
        ),
        Metric(
            name="balanced_acc",
            title="balanced ACC",
            definition="Mean of real and fake ACC: one half for any constant answer, whatever the mixture.",
            higher_is_better=True,
            needs=("fake", "called"),
            classes="both",
            source=_SCIKIT.format("balanced_accuracy_score"),
            function=detection.balanced_accuracy,
        ),
        Metric(
            name="ap",
            title="AP",
            definition="Average precision with fake as the positive class: the step-wise sum over distinct scores of "
            "precision times the rise in recall, without interpolation.",
            higher_is_better=True,
            needs=("fake", "score"),
            classes="both",
            source=_SCIKIT.format("average_precision_score"),
            function=detection.average_precision,
        ),
        Metric(
            name="auroc",
            title="AUROC",
            definition="Chance that a fake image outscores a real one; equal scores count one half.",
            higher_is_better=True,
            needs=("fake", "score"),
            classes="both",
            source=_SCIKIT.format("roc_auc_score"),
            function=detection.auroc,
        ),
        Metric(
            name="eer",
            title="EER",
            definition="Equal error rate: where false alarms and misses are equally frequent on the ROC curve joined "
            "by straight lines.",
            higher_is_better=False,
            needs=("fake", "score"),
            classes="both",
            source=_SCIKIT.format("roc_curve, intersected with the line of equal errors"),
            function=detection.equal_error_rate,
        ),
        Metric(
            name="tpr@fpr1",
            title="TPR at 1 % FPR",
            definition="Largest share of fakes found by a threshold that calls at most 1 % of the reals fake.",
            higher_is_better=True,
            needs=("fake", "score"),
            classes="both",
            source=_SCIKIT.format("roc_curve, highest point at or left of 1 %"),
            function=detection.tpr_at_fpr_1,
        ),
        Metric(
            name="tpr@fpr5",
            title="TPR at 5 % FPR",
            definition="Largest share of fakes found by a threshold that calls at most 5 % of the reals fake.",
            higher_is_better=True,
            needs=("fake", "score"),
            classes="both",
            source=_SCIKIT.format("roc_curve, highest point at or left of 5 %"),
            function=detection.tpr_at_fpr_5,
        ),
        Metric(
            name="acc@validation",
            title="ACC (tuned)",
            definition="ACC at the threshold that had the highest ACC on a separate validation run of the same model; "
            "never tuned on the evaluated set.",
            higher_is_better=True,
            needs=("fake", "score", "threshold"),
            classes="any",
            source=_COUNT,
            function=detection.accuracy_at,
        ),
        Metric(
            name="ece",
            title="ECE",
            definition="Expected calibration error of P(fake): mean over 15 equal-width bins, weighted by their "
            "images, of the gap between mean score and share of fakes.",
            higher_is_better=False,
            needs=("fake", "score"),
            classes="any",
            source="Guo et al., ICML 2017; " + _SCIKIT.format("calibration_curve"),
            function=calibration.expected_calibration_error,
        ),
        Metric(
            name="brier",
            title="Brier",
            definition="Mean squared difference between P(fake) and the truth; 0.25 for always one half.",
            higher_is_better=False,
            needs=("fake", "score"),
            classes="any",
            source="Brier, 1950; " + _SCIKIT.format("brier_score_loss"),
            function=calibration.brier,
        ),
        Metric(
            name="failure_rate",
            title="failures",
            definition="Share of the images shown to the model that it did not answer: not decodable, an error, or a "
            "text without a verdict.",
            higher_is_better=False,
            needs=("answered",),
            classes="any",
            source=_COUNT,
            function=detection.failure_rate,
        ),
        Metric(
            name="forced_score_rate",
            title="forced scores",
            definition="Share of the scores that the model's text did not come to by itself: its conclusion was "
            "appended and the score read behind it (score_source ends in -forced).",
            higher_is_better=False,
            needs=("forced",),
            classes="any",
            source=_COUNT,
            function=detection.forced_score_rate,
        ),
    )
}
