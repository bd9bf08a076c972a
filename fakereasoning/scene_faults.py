"""Which kinds of forgery pictures of FDR-Scenes show, as their facts name them."""

from __future__ import annotations

from fakereasoning.scene_views import Drawn, of_each_scene
from fdr_bench.types import Dataset


def scenes_faults(dataset: Dataset) -> dict[str, dict[str, str]]:
    """Return the kind of each violation by its picture's location and its attribute."""
    return {sample.image.location: kinds for sample, kinds in of_each_scene(dataset, _kinds)}


def _kinds(drawn: Drawn) -> dict[str, str]:
    return {str(fact["attribute"]): str(fact["kind"]) for fact in drawn.facts}
