"""The nouns of the harness: frozen dataclasses and protocols, standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from PIL.Image import Image

Label = Literal["real", "fake"]


# ---------------------------------------------------------------- samples


class ImageFile(Protocol):
    """Where one image's encoded bytes lie: a file, an archive member, a row of a shard. Small and picklable."""

    @property
    def location(self) -> str:
        """A name that a person can find it by, such as "shard.tar!a/b.png"."""

    @property
    def size(self) -> int:
        """Bytes as stored; -1 where listing could not tell (a dangling link)."""

    def read(self) -> bytes:
        """Return the encoded bytes. Raises `ImageError` where they cannot be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One labelled image. `id` is the same on every machine; reals that belong to no generator have None there."""

    id: str
    image: ImageFile
    label: Label
    generator: str | None = None
    category: str | None = None
    attributes: Mapping[str, str | None] | None = None
    reasoning: str | None = None
    caption: str | None = None
    regions: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A set of samples sorted by id. `fingerprint` is a sha256 over ids, labels, generators and stored sizes."""

    name: str
    spec: str
    samples: Sequence[Sample]
    fingerprint: str
    notes: tuple[str, ...] = ()


# ---------------------------------------------------------------- images


class FileMetadata(NamedTuple):
    """What a file says of itself apart from its pixels: all that the `file-metadata` baseline may see."""

    format: str
    mode: str
    width: int
    height: int
    bytes: int
    quantisation: tuple[tuple[int, ...], ...] = ()


class DecodedImage(NamedTuple):
    """RGB pixels with the metadata cleared, what the file said of itself, and the sha256 of its bytes (hex)."""

    pixels: Image
    metadata: FileMetadata
    sha256: str


@dataclass(frozen=True, slots=True)
class Resize:
    """An int is the shorter side (ratio kept, other side truncated); a pair is (height, width) exactly."""

    size: int | tuple[int, int]
    filter: Literal["bilinear", "bicubic"] = "bilinear"


@dataclass(frozen=True, slots=True)
class CenterCrop:
    """Cut `size` × `size` from the middle; shorter sides are padded with black first, the odd pixel last.

    What is cut off an odd difference on the left and above is the even half (torchvision), or rounded down.
    """

    size: int
    half: Literal["even", "down"] = "even"


@dataclass(frozen=True, slots=True)
class Tile:
    """Repeat the image until both sides reach `size`; larger images are left alone."""

    size: int


@dataclass(frozen=True, slots=True)
class DropOdd:
    """Drop the last row and column where a side is odd."""


@dataclass(frozen=True, slots=True)
class Reflect:
    """Mirror the image about its outermost pixels until both sides reach `size`, the image staying in the middle."""

    size: int


@dataclass(frozen=True, slots=True)
class OpenCVResize:
    """Resize to (height, width) as OpenCV does on 8 bits: without antialiasing, and to its very levels.

    An int is the longer side (ratio kept, other side rounded, a half to the even integer).
    """

    size: int | tuple[int, int]
    filter: Literal["bilinear", "bicubic"] = "bilinear"


@dataclass(frozen=True, slots=True)
class TensorResize:
    """Resize the values after /255 to (height, width), bilinearly, as torchvision resizes tensors: the last step."""

    size: tuple[int, int]
    antialias: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Preprocessing as data: geometric steps on 8-bit RGB, then over `divisor`, minus mean, over std (per channel).

    `order` is that of the channels which the network gets, and of `mean` and `std`.
    """

    steps: tuple[Resize | CenterCrop | Tile | DropOdd | Reflect | OpenCVResize | TensorResize, ...] = ()
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    order: Literal["rgb", "bgr"] = "rgb"
    divisor: float = 255.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerView(View):
    """A view that also says how a detector that reasons answers; it goes with any weights of that detector."""

    settings: Mapping[str, str | float] = field(default_factory=dict, hash=False)
    """By names of the detector's own; what is not named is as usual."""


# ---------------------------------------------------------------- detectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a detector says of one image.

    `score` is P(fake) in [0, 1]; `verdict` only where the model states one in words. Both None: unparsed.
    `score_source` says how the score was read; it ends in "-forced" where the model's text did not come there itself.
    `problem` says what is wrong with the text, such as "refused", "truncated" or "off-format".
    """

    score: float | None = None
    verdict: Label | None = None
    reasoning: str | None = None
    raw: str | None = None
    score_source: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """One file of weights and how it is found: shipped in a package, on the hub, or brought by the user.

    A `filename` that ends in "/" stands for a whole folder, whose files have no names known here.
    """

    role: str = "weights"
    packaged: str | None = None
    hub: str | None = None
    revision: str | None = None
    filename: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    licence: str | None = None
    manual: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedOn:
    """What a checkpoint was trained on: the contamination flag of every board."""

    dataset: str
    generators: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One set of weights with its preprocessing variants; the first view is the default."""

    weights: tuple[Weights, ...] = ()
    views: Mapping[str, View] = field(default_factory=dict)
    trained_on: TrainedOn | None = None
    parameters: int | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorCard:
    """Facts about a detector, readable without loading it. `version` changes whenever its predictions may.

    `reasons` says that it answers in words: its verdict is what it calls an image, and an answer without one a failure,
    whatever the score.
    """

    name: str
    paper: str
    licence: str
    title: str | None = None
    repository: str | None = None
    commit: str | None = None
    threshold: float = 0.5
    reasons: bool = False
    version: str = "1"
    presets: Mapping[str, Preset] = field(default_factory=dict)


@runtime_checkable
class Detector(Protocol):
    """Scores images. It gets RGB images without file metadata, never a `Sample`: it cannot see labels or paths."""

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        """Return one prediction an image, in order; an image's prediction must not depend on its batch."""


class DetectorFactory(Protocol):
    """What an entry point names: a class (or callable) with a `card`.

    `weights` maps each role of the preset's `Weights` to a verified local path, or "weights" to the user's own path;
    `view` is a name out of the preset's views (None: the first).
    """

    card: ClassVar[DetectorCard]

    def __call__(
        self, *, preset: str | None, device: str, weights: Mapping[str, Path], view: str | None
    ) -> Detector: ...


@runtime_checkable
class SetBaseline(Protocol):
    """A baseline that is fitted on the evaluated set itself, blind to pixels: it measures the set, not a detector."""

    def predict_set(
        self, files: Sequence[FileMetadata], fake: Sequence[bool], groups: Sequence[str]
    ) -> list[Prediction]:
        """Return one prediction a file. `groups` are ids of identical bytes, never split between folds."""


# ---------------------------------------------------------------- results


class Interval(NamedTuple):
    """A confidence interval and how it was made, such as "cluster bootstrap, 1000 resamples, seed 0"."""

    low: float
    high: float
    level: float
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One number with its n, or None with the reason it does not exist."""

    model: str
    dataset: str
    slice: str
    metric: str
    value: float | None
    reason: str | None = None
    interval: Interval | None = None
    n: int
    n_missing: int = 0
