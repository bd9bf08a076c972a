"""How far P(fake) is a probability, and the one number that makes it one: a temperature fitted on validation data.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. For a margin m, logit of "fake" - logit of "real",

    P(fake) = sigmoid(m / T)        T minimises the mean of -log P(the true class)

T > 0 changes no ranking and no verdict at 0.5: accuracy, AP and AUROC stay as they are. The "after" figures are of
images that the temperature was not fitted on: of halves of the validation data, and of any other set.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdr_bench.errors import DataError, WeightsError
from fdr_bench.metrics.calibration import BINS, brier, calibration_bin, expected_calibration_error

if TYPE_CHECKING:
    import plotly.graph_objects as go

FILE, FIGURE = "calibration.json", "reliability.html"
_FORMAT = "fakereasoning-calibration-1"
LOWEST, HIGHEST = 0.1, 100.0
"""Bounds of the temperature. A set without an error has no finite best one: any lower one is better there."""

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]


class Margins(NamedTuple):
    """What a model said of N labelled images: logit of "fake" minus logit of "real", (N,), and the truth, (N,)."""

    margin: Floats
    fake: Booleans


class Bin(NamedTuple):
    """One column of a reliability diagram: n images whose scores are in (low, high], and the means of both."""

    low: float
    high: float
    n: int
    score: float | None
    fakes: float | None
    """Share of fakes; None, as `score`, where the bin is empty."""


class Measured(NamedTuple):
    """How well scores are calibrated on n images."""

    n: int
    ece: float
    """Expected calibration error over 15 bins, as the harness reports it."""
    nll: float
    """Mean negative log likelihood, in nats."""
    brier: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """Figures before and after a temperature on a set that had no part in fitting it."""

    before: Measured
    after: Measured
    measured_on: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A fitted temperature, and figures before and after it."""

    temperature: float
    before: Measured
    after: Measured
    """Cross-fitted: each half at the temperature of the other."""
    fitted_on: Mapping[str, Any] = field(default_factory=dict)
    """The dataset's name and fingerprint, and the weights; paths of a machine do not belong here."""
    elsewhere: Elsewhere | None = None


def fit_temperature(margins: Margins) -> float:
    """Return the temperature with the least negative log likelihood, within `LOWEST` and `HIGHEST`.

    The likelihood is convex in 1 / T, so bisection of its slope finds the one minimum. Scores that are no better than
    chance give `HIGHEST`, errorless ones `LOWEST`. Raises `DataError` where a class is absent or a margin not finite.
    """
    _check(margins)
    low, high = math.log(1 / HIGHEST), math.log(1 / LOWEST)
    for _ in range(60):
        middle = (low + high) / 2
        if _slope(margins, math.exp(middle)) > 0:
            high = middle
        else:
            low = middle
    return math.exp(-(low + high) / 2)


def measure(margins: Margins, temperature: float = 1.0) -> Measured:
    """Return how well scores at a temperature are calibrated. Raises `DataError` as `fit_temperature` does."""
    _check(margins)
    return _measured(margins.margin / temperature, margins.fake)


def calibrate(margins: Margins, *, fitted_on: Mapping[str, Any] | None = None) -> Calibration:
    """Fit the temperature on all images, and measure before and after.

    For the "after" figures the images are dealt out to two halves, class by class in their order, and each half is
    measured at the other's temperature. Raises `DataError` where a class has fewer than two images.
    """
    _check(margins, least=2)
    half = np.zeros(len(margins.fake), dtype=np.bool_)
    for of_class in (margins.fake, ~margins.fake):
        half[np.flatnonzero(of_class)[1::2]] = True
    scaled = margins.margin.copy()
    for mine in (half, ~half):
        scaled[mine] /= fit_temperature(Margins(margins.margin[~mine], margins.fake[~mine]))
    return Calibration(
        temperature=fit_temperature(margins),
        before=measure(margins),
        after=_measured(scaled, margins.fake),
        fitted_on=_counted(fitted_on or {}, margins),
    )


def measure_elsewhere(margins: Margins, temperature: float, *, measured_on: Mapping[str, Any]) -> Elsewhere:
    """Return the figures of a set before and after a temperature of another. Raises `DataError` as `measure` does."""
    return Elsewhere(
        before=measure(margins), after=measure(margins, temperature), measured_on=_counted(measured_on, margins)
    )


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Write calibration.json into a weights folder, where the detector finds it."""
    content = {
        "format": _FORMAT,
        "temperature": calibration.temperature,
        "before": _told(calibration.before),
        "after": _told(calibration.after),
        "fitted_on": dict(calibration.fitted_on),
    }
    if (other := calibration.elsewhere) is not None:
        told = {"before": _told(other.before), "after": _told(other.after), "measured_on": dict(other.measured_on)}
        content["elsewhere"] = told
    (folder / FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_fitted_on(folder: Path) -> dict[str, Any]:
    """Return what the calibration in a weights folder was fitted on; empty where there is none that can be read."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))["fitted_on"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def read_temperature(folder: Path) -> float:
    """Return the temperature of a weights folder; 1 where it has no calibration.json. Raises `WeightsError`."""
    path = folder / FILE
    if not path.is_file():
        return 1.0
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        temperature = float(content["temperature"]) if content["format"] == _FORMAT else math.nan
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path} cannot be read ({type(error).__name__}: {error}); calibrate the model anew"
        ) from error
    if not 0 < temperature < math.inf:
        raise WeightsError(f"{path} holds no temperature above 0 in the format '{_FORMAT}'; calibrate the model anew")
    return temperature


def reliability_diagram(calibration: Calibration, *, title: str = "Reliability") -> go.Figure:
    """Return the share of fakes against the mean score of each bin, before and after; bubbles grow with the images."""
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dot", "color": "grey"}, name="calibrated", hoverinfo="skip"
    )
    for name, colour, measured in (
        ("before", "#b35806", calibration.before),
        ("after", "#2166ac", calibration.after),
    ):
        filled = [each for each in measured.bins if each.n]
        figure.add_scatter(
            x=[each.score for each in filled],
            y=[each.fakes for each in filled],
            mode="lines+markers",
            line={"color": colour},
            marker={"size": [6 + 30 * math.sqrt(each.n / measured.n) for each in filled], "opacity": 0.6},
            text=[f"{each.n} images" for each in filled],
            name=f"{name}: ECE {100 * measured.ece:.1f} %",
        )
    figure.update_layout(
        title=f"{title} (T = {calibration.temperature:.2f}, n = {calibration.before.n})",
        xaxis={"title": "mean P(fake)", "range": [-0.05, 1.05]},
        yaxis={"title": "share of fakes", "range": [-0.05, 1.05]},
        width=640,
        height=560,
    )
    return figure


def check_classes(fake: Booleans, *, least: int = 1) -> None:
    """Raise `DataError` where a class has fewer images than a calibration needs."""
    n_fake = int(fake.sum())
    if min(n_fake, len(fake) - n_fake) < least:
        raise DataError(
            f"{n_fake} fakes and {len(fake) - n_fake} reals: expected at least {least} of each. "
            "Calibrate on validation data of both classes"
        )


def _counted(told: Mapping[str, Any], margins: Margins) -> dict[str, Any]:
    return dict(told) | {"n": len(margins.fake), "n_fake": int(margins.fake.sum())}


def _told(measured: Measured) -> dict[str, Any]:
    return measured._asdict() | {"bins": [each._asdict() for each in measured.bins]}


def _slope(margins: Margins, inverse: float) -> float:
    """Return the derivative of the mean negative log likelihood by 1 / T."""
    return float(np.mean(margins.margin * (_sigmoid(inverse * margins.margin) - margins.fake)))


def _sigmoid(margin: Floats) -> Floats:
    # exp(-log(1 + exp(-m))) overflows nowhere.
    return np.exp(-np.logaddexp(0.0, -margin))


def _measured(scaled: Floats, fake: Booleans) -> Measured:
    score = _sigmoid(scaled)
    index = calibration_bin(score)
    bins = []
    for number in range(BINS):
        inside = index == number
        n = int(inside.sum())
        means = (float(score[inside].mean()), float(fake[inside].mean())) if n else (None, None)
        bins.append(Bin(number / BINS, (number + 1) / BINS, n, *means))
    nll = float(np.mean(np.logaddexp(0.0, np.where(fake, -scaled, scaled))))
    return Measured(len(fake), expected_calibration_error(fake, score), nll, brier(fake, score), tuple(bins))


def _check(margins: Margins, *, least: int = 1) -> None:
    margin, fake = margins
    if margin.shape != fake.shape or margin.ndim != 1:
        raise DataError(f"margins are {margin.shape} and labels {fake.shape}: expected one each, (N,)")
    if not np.isfinite(margin).all():
        raise DataError(f"{int((~np.isfinite(margin)).sum())} margins are not finite: the model is damaged")
    check_classes(fake, least=least)
