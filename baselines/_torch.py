"""What detectors made of one PyTorch network share: weights, preprocessing, batches, sigmoid.

Entry points name classes that derive from `TorchDetector`, so PyTorch is imported inside its methods only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fdr_bench.errors import ImageError, UsageError, WeightsError, nearest
from fdr_bench.images import apply_view
from fdr_bench.types import DetectorCard, Prediction, Preset, TrainedOn, View, Weights
from fdr_bench.weights_card import packaged_card, read_card

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

    from baselines._backbone import Backbone
    from fdr_bench.engines.shared import SharedWork

IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CLIP: dict[str, Any] = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}

SMALL_CLIP = Weights(
    role="backbone", packaged="baselines/weights/clip-scenes", filename="model.safetensors", licence="Apache-2.0"
)
"""The CLIP that `python -m baselines.train_clip` makes: what the `scenes` presets of detectors on CLIP rest on."""


class TorchDetector:
    """A network with one logit or two. A subclass gives its card, sizes, `built_by`, and how its files are laid out."""

    card: ClassVar[DetectorCard]
    built_by: ClassVar[str]
    """Where what makes the network is, "module:name": imported when a network is first needed, PyTorch with it."""
    sized: ClassVar[Mapping[str, Mapping[str, object]]] = {"official": {}}
    """The keywords of `network` for each named size."""
    channels_last: ClassVar[bool] = True
    """Whether convolutions dominate, which are faster with channels last."""
    at_once: ClassVar[int] = 1 << 22
    """Pixels in one forward pass: 83 crops of 224 px. It bounds memory whatever the batch."""
    largest: ClassVar[int] = 1 << 24
    """Pixels of one image above which a view of the image's own size is refused (a ResNet-50 needs about 4 GB)."""
    shared: SharedWork | None = None
    """What other detectors of the run compute of the same images; None outside a run."""
    shared_backbone: Backbone | None = None
    """What makes the features that the logits depend on, where this is known and they may be another detector's too."""

    def __init__(
        self, *, preset: str | None = None, device: str = "cpu", weights: Mapping[str, Path], view: str | None = None
    ) -> None:
        import torch

        self.device = torch.device(device)
        self.preset = preset if preset in self.card.presets else "official"
        folder = weights_folder(weights)
        if folder is None:
            self.view = choose_view(self.card, preset, view)
            network = self.load_files(weights)
        else:
            self.view = read_card(folder).view if view is None else choose_view(self.card, preset, view)
            network = self.load_folder(folder)
        self.network = network.eval().requires_grad_(False).to(self.device)
        if self.prefers_channels_last():
            self.network = self.network.to(memory_format=torch.channels_last)

    @classmethod
    def sizes(cls) -> Mapping[str, Mapping[str, object]]:
        """Return the keywords of `network` for each named size: `sized`."""
        return cls.sized

    @classmethod
    def network(cls, **architecture: Any) -> nn.Module:
        """Return the network of these keywords at its initialisation, as `built_by` makes it.

        It maps normalised images (B, 3, H, W), unless a subclass says otherwise, to logits (B,), high for fake, or to
        logits (B, 2) of the classes real and fake.
        """
        from importlib import import_module

        module, _, name = cls.built_by.partition(":")
        made: nn.Module = getattr(import_module(module), name)(**architecture)
        return made

    def prefers_channels_last(self) -> bool:
        """Tell whether this network's memory has its channels last: `channels_last`."""
        return self.channels_last

    def load_files(self, weights: Mapping[str, Path]) -> nn.Module:
        """Return the paper's network with the authors' file, which is the role "weights"."""
        from baselines._checkpoints import build_from, find_state, read_checkpoint

        path = weights["weights"]
        state = find_state(read_checkpoint(path), path)
        return build_from(lambda: type(self).network(**self.sizes()["official"]), state, str(path))

    def load_folder(self, folder: Path) -> nn.Module:
        """Return the network that a weights folder of `fdr-bench train` describes."""
        from fnmatch import fnmatchcase

        from baselines._checkpoints import find_state, load_strictly, read_checkpoint

        card = read_card(folder)
        if card.detector != self.card.name:
            raise WeightsError(
                f"{folder} was trained for '{card.detector}', not for '{self.card.name}'; "
                f"use it with --models {card.detector}"
            )
        network = type(self).network(**card.architecture)
        path = folder / "model.safetensors"
        state = find_state(read_checkpoint(path), path)
        load_strictly(network, state, str(path), kept=lambda name: any(fnmatchcase(name, kept) for kept in card.save))
        return network

    def preprocess(self, image: Image) -> NDArray[np.float32]:
        """Return the network's input for one image: (3, H, W). Raises `ImageError` where it would be too large."""
        if self.shared is None:
            array = apply_view(self.view, image)
        else:
            array = self.shared.once(("view", self.view), [image], lambda: apply_view(self.view, image))
        height, width = array.shape[1:]
        if height * width > self.largest:
            raise ImageError(
                f"{width}x{height} px is more than this view takes at once ({self.largest} px); "
                "choose a view that crops or resizes"
            )
        return array

    def beside(self, images: Sequence[Image]) -> tuple[Tensor, ...]:
        """Return what the network takes beside the pixels of these images, a row an image: nothing, unless overridden.

        De-Fake, for one, reads a caption of every image.
        """
        return ()

    def logits(self, inputs: Tensor, *beside: Tensor) -> Tensor:
        """Return the logits of preprocessed images (B, 3, H, W): (B,), or (B, 2) of the classes real and fake."""
        import torch

        with torch.inference_mode():
            output: Tensor = self.network(inputs, *beside)
            return output

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        """Return P(fake) of every image, in order."""
        import torch

        found: dict[int, Prediction] = {}
        for positions, inputs in batches(map(self.preprocess, images), self.at_once):
            logits = self.logits_of([images[position] for position in positions], torch.from_numpy(inputs)).double()
            source = "sigmoid" if logits.ndim == 1 else "softmax"
            made = [Prediction(score=score, score_source=source) for score in self.probability(logits).tolist()]
            found |= zip(positions, made, strict=True)
        return [found[position] for position in range(len(images))]

    def share(self, work: SharedWork) -> None:
        """Take preprocessed images from detectors of the same view, and features from those that make the same."""
        from baselines._backbone import OnBackbone

        self.shared = work
        work.expect(("view", self.view))
        # Where a detector prepares its input or its logits in a way of its own, they may depend on more than is told.
        usual = all(getattr(type(self), name) is getattr(TorchDetector, name) for name in ("preprocess", "logits"))
        if usual and isinstance(self.network, OnBackbone):
            self.shared_backbone = self.network.backbone()
            work.expect((self.shared_backbone, self.view))

    def logits_of(self, images: Sequence[Image], inputs: Tensor) -> Tensor:
        """Return the logits of images, preprocessed to `inputs`, from their features where another has made these."""
        import torch

        beside = self.beside(images)
        if self.shared is None or self.shared_backbone is None:
            return self.logits(inputs.to(self.device), *beside)
        with torch.inference_mode():
            key = (self.shared_backbone, self.view)
            features = self.shared.once(key, images, lambda: self._features(inputs))
            logits: Tensor = self.network.judge(features, *beside)
            return logits

    def _features(self, inputs: Tensor) -> Tensor:
        import torch

        features: Tensor = self.network.features(inputs.to(self.device))
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # so that who makes them is seen to take the time
        return features

    def probability(self, logits: Tensor) -> Tensor:
        """Return P(fake), (B,), of logits as `logits` gives them: a sigmoid, or the second class's softmax."""
        return logits.sigmoid() if logits.ndim == 1 else logits.softmax(dim=1)[:, 1]


def batches(
    arrays: Iterable[NDArray[np.float32]], at_once: int = TorchDetector.at_once
) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
    """Group arrays (3, H, W) of one shape and yield their positions with the stack (B, 3, H, W), bounded in pixels."""
    waiting: dict[tuple[int, ...], list[tuple[int, NDArray[np.float32]]]] = {}
    for position, array in enumerate(arrays):
        group = waiting.setdefault(array.shape, [])
        group.append((position, array))
        if (len(group) + 1) * array[0].size > at_once:
            yield _stack(waiting.pop(array.shape))
    for group in waiting.values():
        yield _stack(group)


def _stack(group: Sequence[tuple[int, NDArray[np.float32]]]) -> tuple[list[int], NDArray[np.float32]]:
    return [position for position, _ in group], np.stack([array for _, array in group])


def weights_folder(weights: Mapping[str, Path]) -> Path | None:
    """Return the folder of `fdr-bench train` that the role "weights" names (itself, or by its model.safetensors)."""
    path = weights.get("weights")
    if path is None:
        return None
    folder = path.parent if path.name == "model.safetensors" else path
    return folder if (folder / "card.json").is_file() else None


def choose_view(card: DetectorCard, preset: str | None, name: str | None) -> View:
    """Return the view of a name out of a preset (None: "official"); without a name the preset's first."""
    views = card.presets[preset if preset in card.presets else "official"].views
    if name is None:
        return next(iter(views.values()))
    if name not in views:
        raise UsageError(
            f"{card.name} has no view called '{name}'.{nearest(name, views)} There are: {', '.join(views)}."
        )
    return views[name]


def scenes_preset(detector: str, *, view: View, others: Sequence[Weights] = (), note: str = "") -> Preset:
    """Return the preset whose weights were trained in this repository on FDR-Scenes, with what their card tells.

    `note` says what differs from the paper beside the size.
    """
    place = f"baselines/weights/{detector}-scenes"
    manual = f"Train them: fdr-bench train {detector} --data scenes:train --size scenes --out {place}"
    told = packaged_card(place)
    trained_on = told.get("trained_on", {"dataset": "fdr-scenes-train", "generators": []})
    notes = ["trained in this repository on one generator of FDR-Scenes, at a size for two cores", note]
    if validation := told.get("validation"):
        notes.append(f"{100 * validation['accuracy']:.1f} % of {trained_on['n_held_out']} held-out images right")
    return Preset(
        weights=(Weights(packaged=place, filename="model.safetensors", licence="Apache-2.0", manual=manual), *others),
        views={"crop128": view},
        trained_on=TrainedOn(dataset=trained_on["dataset"], generators=tuple(trained_on["generators"])),
        parameters=told.get("parameters"),
        note="; ".join(filter(None, notes)),
    )


def scenes_presets(detector: str, *, view: View, others: Sequence[Weights] = (), note: str = "") -> dict[str, Preset]:
    """Return {"scenes": `scenes_preset`} where such weights have been trained, and nothing before."""
    trained = packaged_card(f"baselines/weights/{detector}-scenes")
    return {"scenes": scenes_preset(detector, view=view, others=others, note=note)} if trained else {}
