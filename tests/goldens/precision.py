"""Another precision for networks that memory does not hold in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def a_module_at_a_time(network: nn.Module, precision: torch.dtype) -> Iterator[None]:
    """Let every module compute in this precision inside, its own tensors converted only while it does.

    Works for networks whose modules read no other module's tensors.
    """
    kept: dict[nn.Module, dict[str, Tensor]] = {}

    def convert(module: nn.Module, _: object) -> None:
        kept[module] = {name: own for name, own in tensors(module) if own.is_floating_point()}
        for name, own in kept[module].items():
            put(module, name, own.detach().to(precision))

    def restore(module: nn.Module, *_: object) -> None:
        for name, own in kept.pop(module, {}).items():
            put(module, name, own)

    hooks = [
        handle
        for module in network.modules()
        for handle in (
            module.register_forward_pre_hook(convert),
            module.register_forward_hook(restore, always_call=True),
        )
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Return a module's own parameters and buffers, not those of the modules in it."""
    return [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]


def put(module: nn.Module, name: str, own: Tensor) -> None:
    """Set a parameter or buffer without the checks of an assignment."""
    if name in module._parameters:
        module._parameters[name] = own if isinstance(own, nn.Parameter) else nn.Parameter(own, requires_grad=False)
    else:
        module._buffers[name] = own
