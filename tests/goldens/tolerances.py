"""How far what is computed here may be from a fixture's figures, where it is not what the fixture says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

ONE_LEVEL = 1 / 255 / 0.224
"""One level of 8 bits after ImageNet's normalisation, in the channel with the smallest standard deviation."""


class Tolerances(NamedTuple):
    """Largest differences: of an input's single values and moments, and of logits of images and of noise."""

    images: float
    noise: float
    float64: float = 1e-7
    values: float = 1e-5
    moments: float = 1e-5


def tolerances(figures: Mapping[str, Any]) -> Tolerances:
    """Return the tolerances of a fixture: what it suggests, or ten times the noise of float32, but at least 5e-6."""
    told = float(figures.get("suggested_atol", max(5e-6, 10 * figures["float32_noise_max"])))
    match figures["detector"]:
        case "lgrad":
            # In float32 some hundred gradients on the fence between two levels of 8 bits go to the other side.
            return Tolerances(images=1e-3, noise=1e-3, values=ONE_LEVEL + 1e-5, moments=1e-4)
        case "freqnet":
            return Tolerances(images=2e-6, noise=told)  # its photographs differ from one another by 1e-5 only
        case "c2p_clip":
            return Tolerances(images=min(told, 1e-5), noise=min(told, 1e-5))
    return Tolerances(images=told, noise=told)
