"""FakeReasoning models of a few thousand parameters, for tests."""

from __future__ import annotations

import torch

from fakereasoning.config import FakeReasoningConfig, Fusion, Stem
from fakereasoning.model import FakeReasoning


def tiny_config(
    fusion: Fusion = "faff", *, stem: Stem = "patch", dino_stem: Stem = "patch", tied: bool = True
) -> FakeReasoningConfig:
    """Return a config of 4 patches an image (16 px) and a vocabulary of 50; DINO has learned a grid of 3 × 3."""
    tower = {"hidden_size": 16, "num_attention_heads": 4, "patch_size": 8}
    return FakeReasoningConfig(
        vision="clip" if fusion == "none" else "clip+dino",
        fusion=fusion,
        clip=tower | {"intermediate_size": 32, "num_hidden_layers": 3, "image_size": 16},
        dino=None if fusion == "none" else tower | {"mlp_ratio": 2, "num_hidden_layers": 2, "image_size": 24},
        language={
            "vocab_size": 50,
            "hidden_size": 24,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 64,
            "tie_word_embeddings": tied,
            "pad_token_id": 0,
        },
        fusion_heads=4,
        fusion_hidden=32,
        bias_hidden=6,
        stem=stem,
        dino_stem=dino_stem,
        max_length=40,
    )


def tiny_model(
    fusion: Fusion = "faff", *, stem: Stem = "patch", dino_stem: Stem = "patch", tied: bool = True
) -> FakeReasoning:
    """Return a model in evaluation mode with weights of one seed, about as large as a trained model's.

    Training starts from weights so small that some parts would hardly show in the output.
    """
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(7)
        model = FakeReasoning(tiny_config(fusion, stem=stem, dino_stem=dino_stem, tied=tied)).eval()
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
            else:
                torch.nn.init.normal_(parameter, mean=float(parameter.mean()), std=0.2)
    return model


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return standard normal float32 values."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
