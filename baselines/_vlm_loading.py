"""Load a vision-language model out of a folder, through transformers' own classes, and say what is lacking if it fails.

What a checkpoint's authors wrote as code is never run unless the user says so by name. The weights must be complete:
a tensor that is missing would be random, so it is an error.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import transformers
from transformers import CONFIG_MAPPING, AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from baselines._vlm_entries import nearest_native
from baselines._vlm_processors import chat_template, load_processor
from baselines._vlm_templates import TEMPLATES
from fdr_bench.errors import MissingExtra, UsageError, WeightsError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SMALL = 2 << 30
"""Bytes of weights below which a model runs in float32 on a processor."""
_PACKAGE = re.compile(r"pip install (?:-U |--upgrade )?['\"`]?([A-Za-z0-9_.-]+)")
_LIBRARY = re.compile(r"requires the ([A-Za-z0-9_-]+) library")
_ALL_FROM_HERE = {"local_files_only": True}
_HF = cast(Any, transformers)  # much of it is without types


class Loaded(NamedTuple):
    """A model in evaluation mode, its processor, and the chat template that its prompts are laid out by."""

    model: Any
    processor: Any
    template: str


def load(
    folder: Path, *, device: str = "cpu", precision: str | None = None, four_bit: bool = False, trusted: bool = False
) -> Loaded:
    """Return the model of a folder in the hub's layout.

    Without a `precision` it is bfloat16 on a GPU (float16 where that has none), and on a processor float32 below 2 GiB
    of weights, else bfloat16. The device "auto" spreads the layers over all GPUs, then memory. `four_bit` quantises to
    NF4 while loading; it needs bitsandbytes. `trusted` lets the checkpoint's own code run. Raises `WeightsError` where
    files are missing or tensors do not fit, `MissingExtra` where transformers or another package is, and `UsageError`
    where the model is of another kind.
    """
    told = _config(folder)
    if told["model_type"] in ("llava", "llava_llama") and "mm_vision_tower" in told:
        return _original(folder, device, precision, four_bit)
    _refuse(folder, told, trusted)
    if four_bit and importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtra("4-bit loading needs bitsandbytes and a GPU: pip install bitsandbytes, or leave it out")
    if device == "auto" and not torch.cuda.is_available():
        raise UsageError("the device 'auto' spreads a model over GPUs, and there is none; say --device cpu")
    where = {**_ALL_FROM_HERE, "trust_remote_code": trusted}
    try:
        with _quietly():
            config = AutoConfig.from_pretrained(folder, **where)
            processor = load_processor(str(folder), config, **where)
            model, report = _HF.AutoModelForImageTextToText.from_pretrained(
                folder,
                config=config,
                dtype=DTYPES[precision] if precision else _usual(folder, device),
                output_loading_info=True,
                **_placement(device, four_bit),
                **where,
            )
    except ImportError as error:
        raise MissingExtra(_lacking(folder, told, error)) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise WeightsError(f"{folder} cannot be loaded: {_first_line(error)}. {_advice(told)}") from error
    _check_tensors(folder, report)
    template = chat_template(processor) or TEMPLATES.get(told["model_type"])
    if template is None:
        raise WeightsError(
            f"{folder} has no chat template, and none is known for '{told['model_type']}': put its chat_template.jinja "
            "into the folder"
        )
    if not _is_placed(device, four_bit):
        model = model.to(device)
    decode_plainly(model, processor)
    return Loaded(model.eval().requires_grad_(False), processor, template)


def _original(folder: Path, device: str, precision: str | None, four_bit: bool) -> Loaded:
    """Return a LLaVA-1.5 in its authors' layout, whose config names an image tower in place of its sizes."""
    from baselines._llava_original import load_original

    if four_bit or device == "auto":
        raise UsageError(f"{folder} is in LLaVA's own layout, which is read whole: no 4-bit loading, no device 'auto'")
    return load_original(folder, device=device, dtype=DTYPES[precision] if precision else _usual(folder, device))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep transformers from drawing bars and from telling what a config of another vocabulary is like."""
    logging = _HF.logging
    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def decode_plainly(model: Any, processor: Any) -> None:
    """Leave of the checkpoint's ways of decoding only where an answer ends: no penalty, no sampling of its own."""
    told, tokenizer = model.generation_config, processor.tokenizer
    ends = told.eos_token_id if isinstance(told.eos_token_id, list) else [told.eos_token_id]
    ends = sorted({end for end in [*ends, tokenizer.eos_token_id] if end is not None})
    model.generation_config = _HF.GenerationConfig(
        eos_token_id=ends or None, pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id
    )


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        told = json.loads(path.read_bytes())
    except OSError:
        raise WeightsError(
            f"there is no {path}; expected a model's folder as the hub has it: hf download ORG/NAME --local-dir FOLDER"
        ) from None
    except ValueError as error:
        raise WeightsError(f"{path} is damaged ({error}); download it again") from None
    if not isinstance(told, dict) or not isinstance(told.get("model_type"), str):
        raise WeightsError(f"{path} names no model_type; expected the config of a transformers model")
    return told


def _refuse(folder: Path, told: dict[str, Any], trusted: bool) -> None:
    """Raise where transformers has no class for this model that takes a text and images."""
    kind, coded = told["model_type"], "auto_map" in told
    if kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return
    if coded and trusted:
        if "AutoModelForImageTextToText" in told["auto_map"]:
            return
        offered = ", ".join(sorted(told["auto_map"]))
        raise UsageError(
            f"the code that comes with {folder} offers {offered}, but no AutoModelForImageTextToText: each such model "
            "is asked in a way of its own. Let a server run it (openai:NAME with --base-url), such as vLLM."
        )
    if kind in CONFIG_MAPPING and not coded:
        raise UsageError(f"{folder} is a '{kind}' model, which does not answer questions about images")
    native = nearest_native(kind)
    served = "Or let a server run it (openai:NAME with --base-url), such as vLLM."
    if coded or native:
        raise UsageError(
            f"{folder} is a '{kind}' model, which runs on its authors' code only; that is not run here unless you say "
            f"so (--option trust-code=NAME, where you have read it). "
            f"{f'The nearest that needs none: {native}. ' if native else ''}{served}"
        )
    raise MissingExtra(
        f"{folder} is a '{kind}' model, saved by transformers {told.get('transformers_version', '(unknown)')}; this is "
        f"transformers {transformers.__version__}, which does not know it. Try: pip install -U transformers. {served}"
    )


def _usual(folder: Path, device: str) -> torch.dtype:
    if device.startswith(("cuda", "auto")):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return torch.float32 if size < SMALL else torch.bfloat16


def _placement(device: str, four_bit: bool) -> dict[str, Any]:
    """Return how the weights come to their device: straight from the file on a GPU, through memory elsewhere."""
    kwargs: dict[str, Any] = {}
    if _is_placed(device, four_bit):
        kwargs["device_map"] = "auto" if device == "auto" else {"": device}
    if four_bit:
        kwargs["quantization_config"] = _HF.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    return kwargs


def _is_placed(device: str, four_bit: bool) -> bool:
    return four_bit or device.startswith(("cuda", "auto"))


def _check_tensors(folder: Path, report: dict[str, Any]) -> None:
    for fault in ("missing_keys", "mismatched_keys"):
        if names := sorted(map(str, report.get(fault) or ())):
            what = "missing" if fault == "missing_keys" else "of another shape"
            raise WeightsError(
                f"{folder} does not fit its config.json: {len(names)} tensors are {what}, such as {names[0]}. "
                "Download it again."
            )


def _lacking(folder: Path, told: dict[str, Any], error: ImportError) -> str:
    text = str(error)
    found = [*_PACKAGE.findall(text), *(name.lower() for name in _LIBRARY.findall(text))]
    package = found[0] if found else error.name
    what = f"the package {package}: pip install {package}" if package else _first_line(error)
    return f"{folder} ('{told['model_type']}') needs {what}"


def _advice(told: dict[str, Any]) -> str:
    return (
        f"It was saved by transformers {told.get('transformers_version', '(unknown)')}; this is "
        f"{transformers.__version__}. Check that the folder is complete: config, weights (.safetensors), tokenizer, "
        "preprocessor_config.json"
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}".rstrip(".: ")
