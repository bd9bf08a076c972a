"""Muon for a network's matrices, and AdamW for all else, as one optimizer.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024: the step of a matrix is its momentum
with all singular values brought to about 1, so that it moves as far in the directions that few examples ask for as in
those that all do. Its size is brought to AdamW's as in Liu et al., "Muon is Scalable for LLM Training", 2025. torch
has it, for matrices alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fdr_bench.errors import UsageError

MOMENTUM = 0.95
"""Of Muon, as Jordan et al. have it; torch's own other numbers are theirs too."""


class MuonAndAdamW(torch.optim.Optimizer):
    """One optimizer to its caller: a state, groups, and a step. Its groups are AdamW's, and then Muon's."""

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        matrices: Sequence[Tensor],
        *,
        factor: float,
        betas: tuple[float, float],
    ) -> None:
        """`groups` each have "params", "lr", "peak" and "weight_decay"; of `matrices` those in a group are Muon's, at
        `factor` times the group's rates. Raises `UsageError` where torch is too old to have Muon.
        """
        if not hasattr(torch.optim, "Muon"):
            raise UsageError(f"Muon needs torch 2.9, and this is {torch.__version__}; update it, or set muon to null")
        chosen = {id(matrix) for matrix in matrices}
        rest, led = [], []
        for group in groups:
            others = [one for one in group["params"] if id(one) not in chosen]
            inside = [one for one in group["params"] if id(one) in chosen]
            rest += [group | {"params": others}] if others else []
            raised = {name: factor * group[name] for name in ("lr", "peak")}
            led += [group | raised | {"params": inside}] if inside else []
        muon = torch.optim.Muon(led, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw")
        self.parts = (torch.optim.AdamW(rest, betas=betas, fused=True), muon) if rest else (muon,)
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self._share()

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Do one step. Raises `ValueError` for a closure: it would be called once by each of the two."""
        if closure is not None:
            raise ValueError("MuonAndAdamW takes no closure")
        for part in self.parts:
            part.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a `state_dict()`."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        """Give both the groups and the state that are this one's, as the same objects."""
        start = 0
        for part in self.parts:
            end = start + len(part.param_groups)
            part.param_groups, part.state = self.param_groups[start:end], self.state
            start = end


def matrices_of(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights of a network's linear layers that learn; an embedding that one of them shares is none."""
    shared = {id(part.weight) for part in model.modules() if isinstance(part, nn.Embedding)}
    linear = (part.weight for part in model.modules() if isinstance(part, nn.Linear))
    return [weight for weight in linear if weight.requires_grad and id(weight) not in shared]
