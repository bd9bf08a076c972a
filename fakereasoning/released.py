"""What is known of the released FakeReasoning: where its image towers are published, how it samples; imports no torch.

The released checkpoint itself, AnnaGao/FakeReasoning on the hub, is a folder to download whole: which files it has
is not known here, so a person names the folder. Both towers may also lie inside it.

The towers are not pinned: the hub was out of reach where this was written, so no revision and no sha256 could be
verified. What is downloaded is what the hub has as main; names and shapes of its tensors are checked, values are not.
"""

from __future__ import annotations

from fdr_bench.types import Weights

OFFICIAL_TEMPERATURE, OFFICIAL_TOP_K = 0.2, 50
"""What the released inference code samples with."""

CLIP_TOWER = Weights(
    role="clip",
    hub="openai/clip-vit-large-patch14-336",
    filename="pytorch_model.bin",
    licence="MIT",
)
DINO_TOWER = Weights(
    role="dino",
    hub="facebook/dinov2-large",
    filename="model.safetensors",
    licence="Apache-2.0",
)
"""The ViT-L/14 without registers; Meta's own `dinov2_vitl14_pretrain.pth` has the same values and is read as well."""
