"""What a training begins with: a fresh model of a size, or a folder with one, each with its tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from fakereasoning.checkpoints import read_json
from fakereasoning.config import FakeReasoningConfig, Fusion, Vision
from fakereasoning.fusion import FAFF
from fakereasoning.lora_folder import is_lora_folder
from fakereasoning.model import FakeReasoning
from fakereasoning.official import load_official
from fakereasoning.prompts import OFFICIAL_TRAIN_IDS
from fakereasoning.sizes import size
from fakereasoning.storage import CONFIG
from fakereasoning.tokenizer import (
    FILE,
    SENTENCEPIECE,
    ByteLevelCodec,
    LlamaCodec,
    load_codec,
    load_llama_tokenizer,
    train_tokenizer,
)


class Start(NamedTuple):
    """A model on the processor and the tokenizer that goes with it."""

    model: FakeReasoning
    codec: ByteLevelCodec | LlamaCodec


def fresh(
    name: str, texts: Sequence[str], *, vocabulary: int, vision: Vision | None, fusion: Fusion | None, seed: int
) -> Start:
    """Return a model of a size at its initialisation, and a tokenizer trained on the texts.

    The language model has as many words as the tokenizer found, at most `vocabulary`. Raises `UsageError` for an
    unknown size, and for a vision and fusion that do not go together.
    """
    config = size(name, vision=vision, fusion=fusion)
    codec = train_tokenizer(texts, vocabulary=vocabulary)
    torch.manual_seed(seed)
    config = replace(config, language={**config.language, "vocab_size": codec.vocabulary})
    return Start(FakeReasoning(config), codec)


def read_start(
    folder: Path,
    *,
    clip: Path | None = None,
    dino: Path | None = None,
    base: Path | None = None,
    fusion: Fusion | None = None,
    whole: FakeReasoningConfig | None = None,
    dtype: torch.dtype | None = None,
    seed: int = 0,
) -> Start:
    """Return the model and the tokenizer of a folder that was trained here, or of an official one.

    An official folder may be the released model, a LoRA run on its `base`, or the mixture-of-features model that the
    official training begins with; `clip` and `dino` are towers outside it. A model of CLIP alone gets the DINO and the
    fusion of `whole`. `fusion` gives the model another one, fresh where the folder has none. With Llama's tokenizer the
    prompt is that of the official training. Raises `WeightsError` where files are missing or do not fit.
    """
    if not is_lora_folder(folder) and "format" in read_json(folder / CONFIG):
        codec = load_codec(folder, ids=OFFICIAL_TRAIN_IDS)
        start = Start(FakeReasoning.from_pretrained(folder, dtype=dtype), codec)
    else:
        model = load_official(folder, base=base, clip=clip, dino=dino, dtype=dtype)
        start = Start(model, load_llama_tokenizer(tokenizer_folder(folder, base), ids=OFFICIAL_TRAIN_IDS))
    if whole is not None:
        start = start._replace(model=with_dino(start.model, whole, seed=seed))
    if fusion is None or fusion == start.model.config.fusion:
        return start
    return start._replace(model=with_fusion(start.model, fusion, seed=seed))


def tokenizer_folder(folder: Path, base: Path | None) -> Path:
    """Return which of the two has a tokenizer: a LoRA run's folder, or that of its base model, whose it is."""
    has_one = any((folder / name).is_file() for name in (FILE, SENTENCEPIECE))
    return folder if has_one or base is None else base


def with_fusion(model: FakeReasoning, fusion: Fusion, *, seed: int = 0) -> FakeReasoning:
    """Return the model with another way of fusing its two towers, or, with "none", without DINO; all else stays.

    A fusion block that the model has stays as far as the other one has use for it; what is missing is drawn from the
    seed. Raises `UsageError` where the towers do not go with it.
    """
    alone = fusion == "none"
    config = replace(model.config, fusion=fusion, **({"vision": "clip", "dino": None} if alone else {}))
    gone = ("fusion.", "dino.", "dino_projector.") if alone else ("fusion.",)
    tensors = {name: tensor for name, tensor in model.stored_tensors().items() if not name.startswith(gone)}
    if fusion in ("cross-attention", "faff"):
        torch.manual_seed(seed)
        bias = config.bias_hidden if fusion == "faff" else None
        block = FAFF(config.width, config.fusion_heads, config.fusion_hidden, bias, config.dropout).to(model.dtype)
        own = model.stored_tensors()
        tensors |= {f"fusion.{name}": own.get(f"fusion.{name}", tensor) for name, tensor in block.state_dict().items()}
    changed = FakeReasoning.empty(config)
    changed.load_tensors(tensors, "the model with another fusion")
    return changed


def with_dino(model: FakeReasoning, whole: FakeReasoningConfig, *, seed: int = 0) -> FakeReasoning:
    """Return a model of CLIP alone with the DINO, the projector and the fusion of another config; all else stays.

    They are drawn from the seed, but for the fusion block's branches, which begin at 0: its tokens are then CLIP's,
    normalised, and the language model goes on reading what it knows. A model that has DINO, or for a config without it,
    is returned as it is.
    """
    if model.config.dino is not None or whole.dino is None:
        return model
    names = ("vision", "fusion", "dino", "dino_stem", "fusion_heads", "fusion_hidden", "bias_hidden", "dropout")
    torch.manual_seed(seed)
    grown = FakeReasoning(replace(model.config, **{name: getattr(whole, name) for name in names})).to(model.dtype)
    if grown.fusion is not None:
        for branch in (grown.fusion.merge, grown.fusion.contract):
            nn.init.zeros_(branch.weight)
            nn.init.zeros_(branch.bias)
    grown.load_tensors({**grown.stored_tensors(), **model.stored_tensors()}, "the model with DINO")
    return grown
