"""What a FakeReasoning model is made of: towers, fusion and language model, as numbers; imports no torch.

The sizes are Gao et al., "FakeReasoning" (arXiv 2503.21210 v3), on the language models of Liu et al., "Improved
Baselines with Visual Instruction Tuning" (CVPR 2024), and `nano`, which trains on two processor cores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
        return {"format": _FORMAT} | {
            name: dict(value) if isinstance(value, Mapping) else value for name, value in fields.items()
        }

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
        return cls(**given)


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


CLIP_L_336: Mapping[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
DINO_L: Mapping[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "mlp_ratio": 4,
    "image_size": 518,
    "patch_size": 14,
    "layer_norm_eps": 1e-6,
}


def _llava(width: int, hidden: int, depth: int) -> FakeReasoningConfig:
    """Return the published architecture on a language model of the given width, depth and heads (width / 128)."""
    return FakeReasoningConfig(
        vision="clip+dino",
        fusion="faff",
        clip=CLIP_L_336,
        dino=DINO_L,
        language={
            "vocab_size": 32000,
            "hidden_size": width,
            "intermediate_size": hidden,
            "num_hidden_layers": depth,
            "num_attention_heads": width // 128,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        },
        fusion_hidden=4 * width,
    )


_NANO = FakeReasoningConfig(
    vision="clip+dino",
    fusion="faff",
    stem="split",
    # What is wrong with an image is finer than what is in it.
    dino_stem="residual",
    clip={
        "hidden_size": 192,
        "intermediate_size": 768,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "image_size": 128,
        "patch_size": 16,
        "projection_dim": 192,
        "hidden_act": "gelu",
    },
    dino={
        "hidden_size": 192,
        "num_hidden_layers": 3,
        "num_attention_heads": 8,
        "mlp_ratio": 4,
        "image_size": 128,
        "patch_size": 16,
        "use_mask_token": False,
    },
    language={
        "vocab_size": 1024,
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        # What each head keeps of a position is most of what is read for a token (`fakereasoning.sharing`).
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    },
    fusion_heads=8,
    fusion_hidden=768,
    bias_hidden=16,
    # A tower trained here has no reason to end in a block that nothing reads.
    select_layer=-1,
    max_length=512,
)

SIZES: Mapping[str, FakeReasoningConfig] = {
    "nano": _NANO,
    "llava-1.5-7b": _llava(4096, 11008, 32),
    "llava-1.5-13b": _llava(5120, 13824, 40),
}


def size(
    name: str, *, vision: Vision | None = None, fusion: Fusion | None = None, vocabulary: int | None = None
) -> FakeReasoningConfig:
    """Return the config of a size, with another vision, fusion or vocabulary where they are given.

    Of vision and fusion one follows from the other where it can: 'clip' has the fusion 'none', and the other way round.
    Raises `UsageError` for an unknown name and for parts that do not fit together.
    """
    if name not in SIZES:
        raise UsageError(f"there is no size '{name}'.{nearest(name, SIZES)} Sizes: {', '.join(SIZES)}")
    whole = SIZES[name]
    vision = vision or ("clip" if fusion == "none" else whole.vision)
    fusion = fusion or ("none" if vision == "clip" else whole.fusion)
    language = dict(whole.language) | ({} if vocabulary is None else {"vocab_size": vocabulary})
    dino = None if vision == "clip" else whole.dino
    return replace(whole, vision=vision, fusion=fusion, dino=dino, language=language)
