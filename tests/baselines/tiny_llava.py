"""A tiny LLaVA-1.5 in its authors' layout, beside the same network as transformers has it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import LlavaConfig, LlavaForConditionalGeneration, PreTrainedTokenizerFast

WORDS = ("▁been", "▁not", "▁fake", "▁real", "▁The", "▁picture", "▁has", "▁tampered")
VISION = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14, "projection_dim": 8, "hidden_act": "quick_gelu",
}  # fmt: skip
LANGUAGE = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 4096,
}  # fmt: skip
THEIRS = (
    ("model.language_model.", "model."),
    ("model.multi_modal_projector.linear_1.", "model.mm_projector.0."),
    ("model.multi_modal_projector.linear_2.", "model.mm_projector.2."),
)


def words() -> PreTrainedTokenizerFast:
    """Return a tokenizer that cuts as Llama-2's: a mark for a space, one before every text, bytes for the rest."""
    special = ["<unk>", "<s>", "</s>"]
    vocabulary = {
        token: index for index, token in enumerate([*special, *(f"<0x{byte:02X}>" for byte in range(256)), "▁"])
    }
    merges = []
    for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,:?/0123456789":
        vocabulary.setdefault(letter, len(vocabulary))
    for word in WORDS:
        left = word[0]
        for letter in word[1:]:
            if (left, letter) not in merges:
                merges.append((left, letter))
            left += letter
            vocabulary.setdefault(left, len(vocabulary))
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def write_original(folder: Path, *, tower_inside: bool = False) -> LlavaForConditionalGeneration:
    """Write DTE-FDM-like files into `folder` and return transformers' network with the same weights."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = words()
    tokenizer.save_pretrained(folder)
    text = {**LANGUAGE, "vocab_size": len(tokenizer)}
    torch.manual_seed(0)
    network = LlavaForConditionalGeneration(
        LlavaConfig(
            text_config={"model_type": "llama", **text},
            vision_config={"model_type": "clip_vision_model", **VISION},
            image_token_index=0,
        )
    ).eval()
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=2 * parameter[0].numel() ** -0.5)
    theirs, tower = {}, {}
    for name, tensor in network.state_dict().items():
        if name.startswith("model.vision_tower."):
            tower["vision_model." + name.removeprefix("model.vision_tower.")] = tensor.contiguous()
            continue
        for ours, other in THEIRS:
            name = name.replace(ours, other)
        theirs[name] = tensor.contiguous()
    (folder / "tower").mkdir(exist_ok=True)
    if tower_inside:
        theirs |= {f"model.vision_tower.vision_tower.{name}": tensor for name, tensor in tower.items()}
    else:
        save_file(tower, folder / "tower" / "model.safetensors")
    (folder / "tower" / "config.json").write_text(json.dumps(VISION))
    names = sorted(theirs)
    save_file({name: theirs[name] for name in names[::2]}, folder / "model-00001-of-00002.safetensors")
    save_file({name: theirs[name] for name in names[1::2]}, folder / "model-00002-of-00002.safetensors")
    told = {"model_type": "llava_llama", "mm_vision_tower": "tower", "mm_projector_type": "mlp2x_gelu", **text}
    (folder / "config.json").write_text(json.dumps({**told, "mm_vision_select_layer": -2, "image_aspect_ratio": "pad"}))
    return network
