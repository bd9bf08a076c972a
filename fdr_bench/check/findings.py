"""What a check against a reference found: one `Finding` a comparison, and the exit code of them all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from fdr_bench.scored_slices import Settings
from fdr_bench.types import Interval

Kind = Literal["exact", "statistical"]
Status = Literal["holds", "improved", "regressed", "incomparable"]
STATUSES: tuple[Status, ...] = ("regressed", "incomparable", "improved", "holds")  # the worst first
EVERYTHING = "every metric"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One comparison and how it came out. `p_value` is adjusted for all comparisons of the check."""

    model: str
    dataset: str
    slice: str
    metric: str
    status: Status
    kind: Kind | None = None
    before: float | None = None
    now: float | None = None
    difference: float | None = None
    interval: Interval | None = None
    p_value: float | None = None
    tolerance: float | None = None
    n: int = 0
    note: str = ""


class Flips(NamedTuple):
    """The samples whose answer turned, by id: right before and wrong (or missing) now, and the reverse."""

    model: str
    dataset: str
    now_wrong: tuple[str, ...]
    now_right: tuple[str, ...]


class Tolerances(NamedTuple):
    """By how much a metric may worsen, in its own unit (a share: 0.01 is one point)."""

    usual: float = 0.01
    by_metric: Mapping[str, float] = {}

    def of(self, metric: str) -> float:
        """Return the tolerance of one metric."""
        return self.by_metric.get(metric, self.usual)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a check found, the worst first."""

    run: str
    reference: str
    settings: Settings
    findings: tuple[Finding, ...]
    flips: tuple[Flips, ...] = ()
    notes: tuple[str, ...] = ()

    def count(self, status: Status) -> int:
        """Return how many comparisons came out so."""
        return sum(finding.status == status for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """1 where anything regressed, else 2 where anything (or everything) could not be compared, else 0."""
        if self.count("regressed"):
            return 1
        return 0 if self.findings and not self.count("incomparable") else 2

    @property
    def verdict(self) -> str:
        """The exit code in one word."""
        return ("holds", "regressed", "cannot be compared")[self.exit_code]
