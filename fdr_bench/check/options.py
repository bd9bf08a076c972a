"""How a run is held against a reference: exactly or by chance, how much worse it may be, and what is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from fdr_bench.check.findings import Tolerances
from fdr_bench.scored_slices import Settings

Mode = Literal["auto", "exact", "statistical"]


class Options(NamedTuple):
    """How to check. Empty `models` or `metrics`: all of the reference's models, all that it guards.

    Mode "auto" is exact where the predictions are the reference's own, and statistical where they are not.
    """

    mode: Mode = "auto"
    tolerances: Tolerances = Tolerances()
    settings: Settings = Settings(1000, 0.99, 0)
    models: Sequence[str] = ()
    metrics: Sequence[str] = ()
    threads: int = 1


USUAL = Options()
