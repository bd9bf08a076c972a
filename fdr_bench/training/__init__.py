"""The trainer that every trainable detector shares."""

from fdr_bench.training.recipe import Recipe, Trainable

__all__ = ["Recipe", "Trainable"]
