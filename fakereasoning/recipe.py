"""How a language-model stage is trained, as data: read from and written to JSON, checked when made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from fakereasoning.prompts import STAGES, StageName
from fakereasoning.recipe_fields import checked_fields
from fdr_bench.errors import UsageError, nearest

Part = Literal["clip", "dino", "projectors", "fusion", "concepts", "language"]
Precision = Literal["fp32", "bf16", "fp16"]
Semantics = Literal["labels", "official"]
Questions = Literal["own", "recorded"]

PARTS: tuple[Part, ...] = get_args(Part)
TOWERS: tuple[Part, ...] = ("clip", "dino")
FOLDER = Path(__file__).parent / "recipes"
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a Llama block, to which the official training attaches its adapters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """Low-rank adapters on the language model's linear layers (Hu et al., ICLR 2022); the official numbers."""

    rank: int = 128
    alpha: int = 256
    dropout: float = 0.05
    targets: tuple[str, ...] = LINEAR

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise UsageError(
                f"adapters of rank {self.rank}, alpha {self.alpha} and dropout {self.dropout}: "
                "expected a rank and an alpha above 0 and a dropout in [0, 1)"
            )
        if not self.targets:
            raise UsageError(f"adapters without targets train nothing; name linear layers, such as {', '.join(LINEAR)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneRecipe:
    """One stage of training on records: which parts, which losses, how long and how fast."""

    trainable: tuple[Part, ...] = ("projectors", "fusion", "language")
    """Parts that learn; the others are frozen and in evaluation mode. With "concepts" the heads of what
    `evidence_weight` and `places_weight` teach stay in the model (see `fakereasoning.concepts`)."""
    lora: Lora | None = None
    """Adapters in place of the language model's own weights; needs "language" among `trainable`."""

    direct: float = 0.0
    """Share of the labelled records that are also asked for their verdict alone, by a question of its own.

    Behind its reasoning a verdict is known from the text, and teaches nothing about the image.
    """
    contrary: float = 0.0
    """Share of the labelled records whose verdict is also learnt behind the words that belong to an image of the other
    class; of these words nothing is learnt.

    So the verdict is read off the image, whatever has been said before it, and its probability tells one image from
    another even where their texts agree.
    """
    evidence_weight: float = 0.0
    """Weight of what is wrong, at the places that show it, by a head as FACL has it, a term's mean (0 in validation).

    What is wrong with an image is a small part of its text. Towers that learn by the text alone forget it again.
    """
    places_weight: float = 0.0
    """Weight of what stands where, by a head likewise, a word's mean (0 in validation), of FDR-Scenes alone."""
    glances: int = 0
    """Images a forward pass besides, of which evidence and places alone are learnt: a look is cheaper than a text."""
    mirror: bool = False
    """Half of the glances are mirrored, and left is told as right: what is seen is not to hang on where it stood."""
    rehearsal: float = 0.0
    """Share of the images of which the base stage's questions go on being asked, of FDR-Scenes alone.

    A chain of thought names few of a picture's things. Towers that learn by it, or by evidence, forget the others.
    """
    sketch: bool = False
    """The SUMMARY of a chain of thought is a sketch of its reasoning (see `fakereasoning.sketches`)."""
    brief: float = 0.0
    """Share of the labelled records of whose answers the SUMMARY alone is read and learnt: of a sketch that is most of
    what an image decides, for a small part of the work."""
    questions: Questions = "own"
    """Of chains of thought: the codec's own question with each, or the one that the data record."""
    stages: tuple[StageName, ...] | None = None
    """The stages that are learnt of an answer, in their order; None: the answer as it is."""
    cpm_weight: float = 1.0
    """Weight of the verdict's loss beside that of the language; 0 leaves it out."""
    cpm_temperature: float = 10.0
    cpm_semantics: Semantics = "labels"

    epochs: float = 10.0
    """Passes over the records; below 1 for a part of one."""
    steps: int | None = None
    """Steps of the optimizer in all, in place of `epochs`."""
    batch: int = 32
    """Records in a forward pass of one process."""
    accumulation: int = 1
    """Forward passes a step of the optimizer."""
    group_by_length: bool = True
    """Batches of records of about equal length, so that little is padded."""
    pack: bool = False
    """Records about an image in one row, none of which sees another: the image is read once. A row has one verdict at
    the most."""
    shift: int = 0
    """Images are moved by up to so many px, what comes in being reflected, so that a tower that learns cannot rely on
    where a generator's grid lies. 0 where both towers are frozen."""
    max_length: int | None = None
    """Tokens a record may have after its image is put in (None: the model's own limit)."""

    lr: float = 1e-3
    rates: Mapping[Part, float] = field(default_factory=dict)
    """Learning rates of single parts in place of `lr`."""
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    """Decoupled; not applied to biases, norms and other vectors."""
    warmup: float = 0.03
    """Share of the training in which the learning rate rises from 0; from there it falls along half a cosine to 0."""
    clip: float | None = 1.0
    """Largest L2 norm of the gradient."""
    muon: float | None = None
    """The linear layers' matrices learn by Muon, at so many times their rates, in place of AdamW
    (see `fakereasoning.muon`)."""

    precision: Precision = "fp32"
    """Type of the matrix products (autocast); weights and optimizer stay in the model's own type."""
    gradient_checkpointing: bool = False
    """Compute the language model's activations again in the backward pass instead of keeping them."""
    cache_features: bool = True
    """Where both towers are frozen, compute their features once and keep them in a memory-mapped file (float16)."""
    held_out: float = 0.02
    """Share of the images kept from training; their loss is told after every epoch."""

    def __post_init__(self) -> None:
        """Raise `UsageError` naming the first field that cannot be."""
        _among("trainable", self.trainable, PARTS)
        _among("rates", self.rates, PARTS)
        _among("cpm_semantics", (self.cpm_semantics,), get_args(Semantics))
        _among("precision", (self.precision,), get_args(Precision))
        _among("questions", (self.questions,), get_args(Questions))
        _among("stages", self.stages or (), STAGES)
        if not self.trainable:
            raise UsageError(f"a recipe that trains no part; expected some of {', '.join(PARTS)} in 'trainable'")
        if self.lora is not None and "language" not in self.trainable:
            raise UsageError("a recipe with adapters but without 'language' in 'trainable'; add it, or drop 'lora'")
        if self.lora is not None and "concepts" in self.trainable:
            raise UsageError("a recipe with adapters, whose folder has no place for concepts; drop one of the two")
        for name in ("epochs", "steps", "batch", "accumulation", "max_length", "clip", "muon", "cpm_temperature"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise UsageError(f"the recipe's {name} is {getattr(self, name)}; it must be above 0")
        for name in ("lr", "cpm_weight", "evidence_weight", "places_weight", "weight_decay", "shift", "glances"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"the recipe's {name} is {getattr(self, name)}; it must not be below 0")
        if self.shift and self.frozen_towers:
            raise UsageError("a recipe with 'shift' whose towers are frozen; train one, or set shift to 0")
        if self.glances and (self.frozen_towers or not (self.evidence_weight or self.places_weight)):
            raise UsageError(
                "a recipe with 'glances' from which nothing is learnt: train a tower, and give evidence_weight or "
                "places_weight; or set glances to 0"
            )
        if self.mirror and not self.glances:
            raise UsageError("a recipe with 'mirror' but without glances, which are what is mirrored; give some")
        if self.pack and self.cpm_weight and self.cpm_semantics == "official":
            raise UsageError("a recipe with 'pack' and the official verdict's loss; set pack to false")
        for name in ("direct", "contrary", "brief", "rehearsal"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"the recipe's {name} is {getattr(self, name)}; expected a share from 0 to 1")
        if not 0 <= self.warmup <= 1 or not 0 <= self.held_out < 1:
            raise UsageError(
                f"the recipe's warmup is {self.warmup} and held_out {self.held_out}; "
                "both are shares: warmup from 0 to 1, held_out from 0 to below 1"
            )

    @property
    def frozen_towers(self) -> bool:
        """True where no tower learns, so that their features stay the same all along."""
        return not set(TOWERS) & set(self.trainable)

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as JSON data that `from_json` reads."""
        made = asdict(self)
        made["rates"] = dict(self.rates)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in made.items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TuneRecipe:
        """Return the recipe that a JSON object states; fields left out have their defaults.

        Raises `UsageError` for a field that there is not, or a value that cannot be.
        """
        given = checked_fields(cls, content)
        if given.get("lora") is not None:
            given["lora"] = Lora(**checked_fields(Lora, given["lora"]))
        return cls(**given)


def read_recipe(name: str) -> dict[str, Any]:
    """Return a recipe file's JSON object: one that is shipped, by name, or any, by a path ending in .json.

    It holds the stages by name ("words", "base", "evidence", "facl", "tune"), each with its fields, and a "size". With
    "base_vision": "clip", the stages before FACL have CLIP alone, and DINO and the fusion join there. Raises
    `UsageError`.
    """
    path = Path(name) if name.endswith(".json") else FOLDER / f"{name}.json"
    if not path.is_file():
        known = shipped()
        raise UsageError(
            f"there is no recipe '{name}'; expected {', '.join(known)} or the path of a .json file."
            f"{nearest(name, known)}"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"the recipe {path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"the recipe {path} is no JSON object; expected stages by name")
    if content.get("base_vision", "clip") != "clip":
        raise UsageError(
            f"the recipe {path} has {content['base_vision']!r} as 'base_vision'; expected 'clip' or nothing"
        )
    for stage in ("words", "base", "evidence", "facl", "tune"):
        if not isinstance(content.get(stage, {}), dict):
            raise UsageError(f"the recipe {path} has {content[stage]!r} as '{stage}'; expected an object of its fields")
    return content


def shipped() -> list[str]:
    """Return the names of the recipes in this package."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def _among(name: str, values: object, known: tuple[str, ...]) -> None:
    for value in values:  # type: ignore[attr-defined]
        if value not in known:
            raise UsageError(
                f"the recipe's {name} has '{value}'; expected {', '.join(known)}.{nearest(str(value), known)}"
            )
