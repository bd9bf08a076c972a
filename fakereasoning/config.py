"""What a FakeReasoning model is made of: towers, fusion and language model, as numbers; imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fdr_bench.errors import UsageError, nearest

Vision = Literal["clip", "clip+dino"]
Fusion = Literal["none", "interleave", "cross-attention", "faff"]
Stem = Literal["patch", "convolutions", "residual", "split"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
PAD_COLOUR = (122, 116, 104)
"""CLIP's mean as a colour, rounded down: what an image is padded with to a square."""

_FORMAT = "fakereasoning-config-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeReasoningConfig:
    """The numbers of one model. Two equal configs have tensors of equal names and shapes.

    Raises `UsageError` where parts do not fit together, such as a fusion without a second tower.
    """

    vision: Vision
    fusion: Fusion
    clip: Mapping[str, Any]
    """Keywords of `transformers.CLIPVisionConfig`; its `image_size` is the side of the images of both towers, in px."""
    dino: Mapping[str, Any] | None
    """Keywords of `transformers.Dinov2Config`; its `image_size` only says how many positions the tower has learned."""
    language: Mapping[str, Any]
    """Keywords of `transformers.LlamaConfig`."""
    fusion_heads: int = 16
    fusion_hidden: int
    """Width of the feed-forward layer in the fusion block."""
    bias_hidden: int = 32
    """Width of the layer between the attention map's heads and the fusion's, in the network that makes the bias."""
    dropout: float = 0.1
    """Of the fusion block, in training."""
    stem: Stem = "patch"
    """How CLIP turns pixels into patches: one linear layer, or convolutions of three kinds (`fakereasoning.stems`)."""
    dino_stem: Stem = "patch"
    """The same of DINO."""
    projector_depth: int = 2
    """Linear layers in each projector, with GELU between them."""
    select_layer: int = -2
    """Which of CLIP's hidden states (the embeddings, then a block's output each) is read; blocks after it never run."""
    kinds: tuple[str, ...] = ()
    """Concepts that are read off the image's tokens and told back to them (`fakereasoning.concepts`): what is wrong."""
    words: tuple[str, ...] = ()
    """Likewise, what stands where."""
    max_length: int = 2048
    """Positions of a row after its image has taken its place; longer rows are cut."""
    pad_to_square: bool = True

    def __post_init__(self) -> None:
        for name, kind in (("vision", Vision), ("fusion", Fusion), ("stem", Stem), ("dino_stem", Stem)):
            _check_choice(name, getattr(self, name), get_args(kind))
        _check_keys("clip", self.clip, ("hidden_size", "num_hidden_layers", "image_size", "patch_size"))
        _check_keys("language", self.language, ("vocab_size", "hidden_size"))
        if self.dino is not None:
            _check_keys("dino", self.dino, ("hidden_size", "num_attention_heads", "image_size", "patch_size"))
        self._check_towers()
        self._check_fusion()
        for name in ("kinds", "words"):
            _check_names(name, getattr(self, name))
        for name in ("fusion_heads", "fusion_hidden", "bias_hidden", "projector_depth", "max_length"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; expected at least 1")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is {self.dropout}; expected a share from 0 up to, but not including, 1")
        states = int(self.clip["num_hidden_layers"]) + 1
        if not -states <= self.select_layer < states:
            raise UsageError(f"select_layer is {self.select_layer}; the CLIP tower has {states} hidden states")

    def _check_towers(self) -> None:
        if (self.dino is None) != (self.vision == "clip"):
            has = "no DINO tower" if self.dino is None else "a DINO tower"
            raise UsageError(f"vision is '{self.vision}' but the config has {has}; give `dino` with 'clip+dino' alone")
        if (self.fusion == "none") != (self.dino is None):
            towers = "one tower needs" if self.dino is None else "two towers cannot have"
            raise UsageError(f"{towers} fusion 'none', not '{self.fusion}'; with DINO: {_rest(Fusion)}")
        for tower in filter(None, (self.clip, self.dino)):
            if self.image_size % int(tower["patch_size"]):
                raise UsageError(f"an image of {self.image_size} px has no whole patches of {tower['patch_size']} px")
        if self.dino is None:
            return
        if self.dino["patch_size"] != self.clip["patch_size"]:
            raise UsageError(
                f"the towers' patches are {self.clip['patch_size']} px and {self.dino['patch_size']} px; expected one "
                "size, since every CLIP token meets the DINO token of its place"
            )
        if self.dino["image_size"] % self.dino["patch_size"]:
            raise UsageError(f"dino: {self.dino['image_size']} px has no whole patches of {self.dino['patch_size']} px")

    def _check_fusion(self) -> None:
        if self.fusion not in ("cross-attention", "faff"):
            return
        if self.width % self.fusion_heads:
            raise UsageError(f"{self.fusion_heads} fusion heads do not divide the language model's width {self.width}")
        if self.fusion == "faff" and self.dino is not None and self.dino["num_attention_heads"] != self.fusion_heads:
            raise UsageError(
                f"the fusion has {self.fusion_heads} heads and DINO {self.dino['num_attention_heads']}; 'faff' needs "
                "as many, since DINO's attention maps become the bias of the fusion's heads"
            )

    @property
    def image_size(self) -> int:
        """Side of the square image that both towers see, in px."""
        return int(self.clip["image_size"])

    @property
    def width(self) -> int:
        """Width of the language model, and of an image token in it."""
        return int(self.language["hidden_size"])

    @property
    def patches(self) -> int:
        """Patches of an image, N."""
        return self.grid**2

    @property
    def grid(self) -> int:
        """Patches along a side of the image."""
        return self.image_size // int(self.clip["patch_size"])

    @property
    def image_tokens(self) -> int:
        """Tokens that take the place of an image: N, or 2 N interleaved."""
        return self.patches * (2 if self.fusion == "interleave" else 1)

    def to_json(self) -> dict[str, Any]:
        """Return the config as what `json` can write; `from_json` gives an equal one."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {"format": _FORMAT} | {name: _plain(value) for name, value in fields.items()}

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> FakeReasoningConfig:
        """Return the config that `to_json` wrote. Raises `UsageError` where it did not write this."""
        if written.get("format") != _FORMAT:
            raise UsageError(f"the config's format is {written.get('format')!r}; expected '{_FORMAT}'")
        given = {name: value for name, value in written.items() if name != "format"}
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for name in given:
            if name not in fields:
                raise UsageError(f"the config has an unknown field '{name}'.{nearest(name, fields)}")
        required = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
        if missing := sorted(required - set(given)):
            raise UsageError(f"the config lacks {', '.join(missing)}")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value


def _check_names(name: str, names: object) -> None:
    if not isinstance(names, tuple) or not all(isinstance(one, str) for one in names) or len(set(names)) < len(names):
        raise UsageError(f"{name} is {names!r:.200}; expected different names")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name} is {value!r}; expected one of {', '.join(choices)}.{nearest(str(value), choices)}")


def _check_keys(part: str, keywords: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys:
        # Spelled out also where transformers has a default: a config says what the model is without that library.
        value = keywords.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"{part} has {key} = {value!r}; expected a whole number of at least 1")


def _rest(kind: Any) -> str:
    return ", ".join(f"'{choice}'" for choice in get_args(kind) if choice != "none")
