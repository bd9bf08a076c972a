"""Write an official checkpoint as one folder that the detector takes: adapters, towers, tokenizer and prompt in it."""

from __future__ import annotations

from pathlib import Path

from fakereasoning.checkpoints import read_json
from fakereasoning.config import Fusion
from fakereasoning.lora_folder import is_lora_folder
from fakereasoning.official import load_official
from fakereasoning.recipe import Precision
from fakereasoning.released import CLIP_TOWER, DINO_TOWER
from fakereasoning.starting import tokenizer_folder, with_fusion
from fakereasoning.storage import CONFIG, DTYPES, WEIGHTS
from fakereasoning.tokenizer import load_llama_tokenizer
from fdr_bench.errors import UsageError


def convert(
    folder: Path,
    out: Path,
    *,
    base: Path | None = None,
    clip: Path | None = None,
    dino: Path | None = None,
    fusion: Fusion | None = None,
    precision: Precision | None = None,
) -> Path:
    """Write the model of an official `folder` to `out`, with the prompt of the released inference, and return `out`.

    A folder of adapters goes onto its `base` model. Towers outside it are `clip` and `dino`, or come from where
    `fakereasoning.answering.load` finds them. `fusion` is another one than the folder's that needs no weights but the
    folder's. Without a `precision` the weights stay as they are stored. Raises `UsageError` for a folder that needs no
    conversion or lacks its base, an `out` that holds a model and a fusion that would have to be trained;
    `WeightsError` where files are missing or do not fit.
    """
    if is_lora_folder(folder):
        if base is None:
            raise UsageError(f"{folder} is a LoRA run, which goes onto a base model; name its folder: --base BASE")
    elif "format" in read_json(folder / CONFIG):
        raise UsageError(f"{folder} needs no conversion: --weights fakereasoning={folder} takes it as it is")
    if held := [name for name in (CONFIG, WEIGHTS) if (out / name).exists()]:
        raise UsageError(f"{out} holds a {held[0]} already; choose another --out")
    codec = load_llama_tokenizer(tokenizer_folder(folder, base))
    dtype = None if precision is None else DTYPES[precision]
    model = load_official(folder, base=base, clip=clip or CLIP_TOWER, dino=dino or DINO_TOWER, dtype=dtype)
    there = model.config.fusion
    if fusion is not None and fusion != there:
        if fusion == "faff" or (fusion == "cross-attention" and there != "faff"):
            raise UsageError(
                f"{folder} is fused by '{there}' and has no weights for '{fusion}', which training makes: "
                f"python -m fakereasoning tune --start {folder} --fusion {fusion}"
            )
        model = with_fusion(model, fusion)
    model.save_pretrained(out)
    codec.save(out)
    return out
