"""Counting what passes through CLIP's image towers, whichever network they are part of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import CLIPVisionModel


@contextmanager
def counted_passes() -> Iterator[list[int]]:
    """Yield a list that gets the number of images of every pass through an image tower of this process."""
    passes: list[int] = []

    def count(module: nn.Module, _: object, made: Any) -> None:
        if isinstance(module, CLIPVisionModel):
            passes.append(len(made.pooler_output))

    hook = nn.modules.module.register_module_forward_hook(count)
    try:
        yield passes
    finally:
        hook.remove()
