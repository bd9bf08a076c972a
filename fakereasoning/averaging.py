"""The mean of a model's weights at several points of its tuning.

Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
inference time", ICML 2022: models that were tuned from one start lie in one valley of the loss, and their mean is often
better than each of them, above all on images of another kind than those learnt from. Models of other beginnings have
nothing to do with each other, and their mean is noise; nothing here can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fakereasoning.calibrating import weights_digest
from fakereasoning.model import FakeReasoning
from fakereasoning.storage import CONFIG, WEIGHTS
from fakereasoning.tokenizer import load_codec
from fdr_bench.errors import UsageError
from fdr_bench.store import read_json, write_json

CARD = "card.json"


def average(folders: Sequence[Path], out: Path) -> Path:
    """Write the mean of the models of `folders`, each weighted alike, to `out`, and return that.

    Computed in float32, and stored in the type that the first model has. Tokenizer and card are those of the last
    folder; the card also names all weights by their sha256. Counts, which are no weights, are the last model's too.
    Raises `UsageError` for fewer than two folders, models of different architectures or vocabularies, and an `out` that
    holds a model; `WeightsError` where weights or tokenizer of a folder are missing or damaged.
    """
    if len(folders) < 2:
        raise UsageError("a mean takes at least two folders of weights")
    if held := [name for name in (CONFIG, WEIGHTS) if (out / name).exists()]:
        raise UsageError(f"{out} holds a {held[0]} already; choose another --out")
    last = FakeReasoning.from_pretrained(folders[-1])
    codec = load_codec(folders[-1])
    sums: dict[str, Tensor] = {}
    dtype: torch.dtype | None = None
    for folder in folders:
        model = FakeReasoning.from_pretrained(folder)
        if model.config.to_json() != last.config.to_json():
            raise UsageError(f"{folder} and {folders[-1]} have models of different architectures, which have no mean")
        if load_codec(folder).tokenizer.to_str() != codec.tokenizer.to_str():
            raise UsageError(f"{folder} and {folders[-1]} have different tokenizers: their weights tell of other words")
        dtype = dtype or model.dtype
        for name, tensor in model.stored_tensors().items():
            sums[name] = sums[name] + tensor.float() if name in sums else tensor.float()
    means = {
        name: sums[name] / len(folders) if tensor.is_floating_point() else tensor
        for name, tensor in last.stored_tensors().items()
    }
    last.load_tensors(means, "their mean", dtype=dtype)
    last.save_pretrained(out)
    codec.save(out)
    card = read_json(folders[-1] / CARD) if (folders[-1] / CARD).is_file() else {}
    command = " ".join(["python -m fakereasoning average", *["FOLDER"] * len(folders), "--out OUT"])
    averaged = {"command": command, "weights": [weights_digest(folder) for folder in folders]}
    write_json(out / CARD, {name: value for name, value in card.items() if name != "identity"} | {"averaged": averaged})
    return out
