"""The exceptions that a user may meet; only `cli.main` catches them.

    FDRBenchError        exit 1
    ├── UsageError       exit 2: the command's words are off
    ├── PluginError      a detector, dataset or metric could not be found or loaded
    │   └── MissingExtra   it needs a package that is not installed
    ├── DataError        a dataset cannot be read as described
    │   └── ImageError     one image cannot be decoded (becomes a stored row, never ends a run)
    ├── WeightsError     weights are missing, damaged or do not fit
    │   └── MissingWeights only a person can fetch them
    ├── RunError         a run folder is held by another process, damaged, or of another plan
    ├── RunStopped       a model cannot go on for now; what is done is kept and the run can be resumed
    └── ComparisonError  two results are not of the same images or metrics, or a reference is damaged

Every message says what happened, what was expected and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FDRBenchError(Exception):
    """The base of all errors with a message for the user."""

    exit_code = 1


class UsageError(FDRBenchError):
    """The command or its options are wrong."""

    exit_code = 2


class PluginError(FDRBenchError):
    """A plugin could not be found or loaded."""


class MissingExtra(PluginError):
    """A plugin needs a package that is not installed."""


class DataError(FDRBenchError):
    """A dataset cannot be read."""


class ImageError(DataError):
    """One image cannot be decoded; the runner records it as that sample's failure."""


class WeightsError(FDRBenchError):
    """Weights are missing, damaged or do not fit the network."""


class MissingWeights(WeightsError):
    """Weights that only a person can fetch: which file, how to get it, and where it then belongs."""

    def __init__(self, message: str, *, file: str, how: str, place: str) -> None:
        super().__init__(message)
        self.file, self.how, self.place = file, how, place


class RunError(FDRBenchError):
    """A run folder cannot be used as asked."""


class RunStopped(FDRBenchError):
    """A model cannot go on for now: its budget is spent, its key is refused. What is done is kept."""


class ComparisonError(FDRBenchError):
    """Two results cannot be compared; 'fdr-bench check' answers it with exit code 2."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest known name, or an empty string."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{match[0]}'?" if match else ""
