"""Where the image towers of the released FakeReasoning are published; imports no torch.

The released checkpoint itself, AnnaGao/FakeReasoning on the hub, is a folder to download whole: which files it has
is not known here, so a person names the folder. Both towers may also lie inside it.
"""

from __future__ import annotations

from fdr_bench.types import Weights

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
