"""The trainer that every trainable detector shares.

`train` is imported when it is first used: detectors import this package for their recipe alone, and should stay light.
"""

from typing import TYPE_CHECKING

from fdr_bench.training.recipe import Recipe, Trainable

if TYPE_CHECKING:
    from fdr_bench.training.trainer import train

__all__ = ["Recipe", "Trainable", "train"]


def __getattr__(name: str) -> object:
    if name != "train":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fdr_bench.training.trainer import train

    return train
