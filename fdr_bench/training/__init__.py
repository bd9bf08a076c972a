"""The trainer that every trainable detector shares."""

from fdr_bench.training.recipe import Recipe, Trainable
from fdr_bench.training.trainer import train

__all__ = ["Recipe", "Trainable", "train"]
