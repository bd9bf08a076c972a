"""Fewer heads of keys and values: each group of the language model's heads shares one, the mean of what they had.

Ainslie et al., "GQA: training generalized multi-query transformer models from multi-head checkpoints", EMNLP 2023. What
is kept of each position, and read again for each token written, shrinks with the heads; a tuning behind it lets the
model find its way in what is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from fakereasoning.averaging import CARD
from fakereasoning.calibrating import weights_digest
from fakereasoning.model import FakeReasoning
from fakereasoning.storage import CONFIG, WEIGHTS
from fakereasoning.tokenizer import load_codec
from fdr_bench.errors import UsageError
from fdr_bench.store import read_json, write_json


def share(folder: Path, heads: int, out: Path) -> Path:
    """Write the model of `folder` with so many heads of keys and values to `out`, and return that.

    Heads that stand beside each other form a group; all else stays, tokenizer and card too, and the card names the
    weights by their sha256. Raises `UsageError` where the heads cannot be grouped so, or `out` holds a model;
    `WeightsError` where weights or tokenizer are missing or damaged.
    """
    if held := [name for name in (CONFIG, WEIGHTS) if (out / name).exists()]:
        raise UsageError(f"{out} holds a {held[0]} already; choose another --out")
    model = FakeReasoning.from_pretrained(folder)
    codec = load_codec(folder)
    language = model.language.config
    had = int(language.num_key_value_heads)
    if not 1 <= heads <= had or had % heads:
        raise UsageError(f"{folder} has {had} heads of keys and values; expected --heads to divide that, not {heads}")
    shared = FakeReasoning.empty(
        replace(model.config, language={**model.config.language, "num_key_value_heads": heads})
    )
    shared.load_tensors(
        {name: _mean(name, tensor, had, heads) for name, tensor in model.stored_tensors().items()},
        "the model whose heads share",
        dtype=model.dtype,
    )
    shared.save_pretrained(out)
    codec.save(out)
    card: Mapping[str, object] = read_json(folder / CARD) if (folder / CARD).is_file() else {}
    told = {
        "command": f"python -m fakereasoning share FOLDER --heads {heads} --out OUT",
        "from": weights_digest(folder),
    }
    write_json(out / CARD, {name: value for name, value in card.items() if name != "identity"} | {"shared": told})
    return out


def _mean(name: str, tensor: Tensor, had: int, heads: int) -> Tensor:
    """Return a tensor with the rows that make keys or values averaged over each group's heads; any other as it is."""
    if not (name.startswith("language.") and any(f".{part}_proj." in name for part in "kv")):
        return tensor
    grouped = tensor.float().unflatten(0, (heads, had // heads, -1)).mean(dim=1)
    return grouped.flatten(0, 1).to(tensor.dtype)
