"""Vision-language models of fourteen families at a tiny size: the same classes, files and chat formats, random weights.

`write(family, folder)` makes what a checkpoint on the hub is: config.json, model.safetensors, a tokenizer, the image
processor's and the processor's settings, and chat_template.jinja.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import CONFIG_MAPPING, AutoModelForImageTextToText, PreTrainedTokenizerFast

from baselines._vlm_templates import TEMPLATES
from tests.baselines.tiny_vlm_families import FAMILIES, Family

# Those with a space first, so that their merges go before the others'.
WORDS = (" real", " fake", " Real", " Fake", " image", " is", "real", "fake", "Real", "Fake", "yes", "no", "This")


def tokenizer(family: Family) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer with a handful of whole words and the family's special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: number for number, symbol in enumerate(alphabet)}
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        pieces = [piece for piece, _ in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(word)]
        left = pieces[0][0]
        for symbol in pieces[0][1:]:
            if (left, symbol) not in merges:
                merges.append((left, symbol))
            left += symbol
            vocabulary.setdefault(left, len(vocabulary))
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    named = {"pad_token": family.pad, "eos_token": family.end}
    if family.start:
        named["bos_token"] = family.start
    every = [*named.values(), *family.special.values(), *family.others]
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in dict.fromkeys(every)])
    return PreTrainedTokenizerFast(tokenizer_object=made, extra_special_tokens=dict(family.special), **named)


def write(name: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a tiny checkpoint of the family `name` and return its folder."""
    family = FAMILIES[name]
    words = tokenizer(family)
    words.save_pretrained(folder)
    numbers = {token: words.convert_tokens_to_ids(token) for token in words.all_special_tokens}
    numbers |= {token: words.convert_tokens_to_ids(token) for token in family.others}
    config = CONFIG_MAPPING[name](**family.config({**numbers, "": len(words)}))
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(config)
    _let_images_matter(model)
    model.generation_config.eos_token_id = numbers[family.end]
    model.generation_config.pad_token_id = numbers[family.pad]
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(dict(family.image_processor)))
    (folder / "processor_config.json").write_text(json.dumps(dict(family.processor)))
    (folder / "chat_template.jinja").write_text(TEMPLATES[family.template or name])
    return folder


def _let_images_matter(model: torch.nn.Module) -> None:
    """Draw the vision side anew, widely: some families start it so near to 0 that all images give one answer."""
    for name, weights in model.named_parameters():
        if weights.ndim > 1 and any(part in name for part in ("vis", "connector", "projector", "aligner")):
            torch.nn.init.normal_(weights, std=2 * weights[0].numel() ** -0.5)
        elif "embed_tokens" in name:  # Gemma's are scaled up, and would say the same token for ever
            torch.nn.init.normal_(weights, std=0.2)
