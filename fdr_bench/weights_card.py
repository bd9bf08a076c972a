"""The card.json of a weights folder: what a checkpoint trained here is, and how it is to be used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from fdr_bench.errors import WeightsError
from fdr_bench.types import CenterCrop, DropOdd, OpenCVResize, Reflect, Resize, TensorResize, Tile, View
from fdr_bench.weights import packaged_path

FORMAT = 1
STEPS: dict[str, type[Any]] = {
    "resize": Resize,
    "center_crop": CenterCrop,
    "tile": Tile,
    "drop_odd": DropOdd,
    "reflect": Reflect,
    "opencv_resize": OpenCVResize,
    "tensor_resize": TensorResize,
}
_NAMES = {kind: name for name, kind in STEPS.items()}


class WeightsCard(NamedTuple):
    """What is needed of a card: whose network it is, its keywords, its view, and which tensors the file keeps."""

    detector: str
    size: str
    architecture: Mapping[str, Any]
    view: View
    save: tuple[str, ...]
    trained_on: Mapping[str, Any] | None
    parameters: int | None


def read_card(folder: Path) -> WeightsCard:
    """Read FOLDER/card.json. Raises `WeightsError` where it is missing, damaged or of another format."""
    path = folder / "card.json"
    try:
        told = json.loads(path.read_bytes())
        if told["format"] != FORMAT:
            raise WeightsError(f"{path} has format {told['format']}; this version reads {FORMAT}. Update fdr-bench.")
        return WeightsCard(
            detector=str(told["detector"]),
            size=str(told["size"]),
            architecture=dict(told["architecture"]),
            view=view_from_json(told["view"]),
            save=tuple(told.get("recipe", {}).get("save", ("*",))),
            trained_on=told.get("trained_on"),
            parameters=told.get("parameters"),
        )
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read ({error.strerror}); expected a folder of 'fdr-bench train'"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path} is damaged ({type(error).__name__}: {error}); expected the card that 'fdr-bench train' writes"
        ) from error


def packaged_card(place: str) -> Mapping[str, Any]:
    """Return the card of a folder inside a package, such as "baselines/weights/npr-scenes"; empty where not shipped."""
    try:
        path = packaged_path(place) / "card.json"
    except WeightsError:
        return {}
    told: Mapping[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    return told


def view_to_json(view: View) -> dict[str, Any]:
    """Return a view as JSON data: {"steps": [{"step": "center_crop", "size": 224}, …], "mean": […], "std": […]}."""
    steps = [{"step": _NAMES[type(step)], **asdict(step)} for step in view.steps]
    return {**asdict(view), "steps": steps, "mean": list(view.mean), "std": list(view.std)}


def view_from_json(told: Mapping[str, Any]) -> View:
    """Return the view that `view_to_json` wrote. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""
    steps = []
    for step in told["steps"]:
        keywords = {name: tuple(value) if isinstance(value, list) else value for name, value in step.items()}
        kind = STEPS[str(keywords.pop("step"))]
        steps.append(kind(**keywords))
    (m0, m1, m2), (s0, s1, s2) = told["mean"], told["std"]
    # Older cards have neither: their networks get RGB over 255.
    order, divisor = told.get("order", "rgb"), float(told.get("divisor", 255))
    if order not in ("rgb", "bgr"):
        raise ValueError(f"the order of the channels is {order!r}; expected 'rgb' or 'bgr'")
    return View(steps=tuple(steps), mean=(m0, m1, m2), std=(s0, s1, s2), order=order, divisor=divisor)
