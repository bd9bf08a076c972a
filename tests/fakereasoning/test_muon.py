"""Muon beside AdamW: each does what torch's own does with its share, and together they stop and go on as one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn

from fakereasoning.acceleration import accelerator
from fakereasoning.muon import MOMENTUM, MuonAndAdamW, matrices_of
from fakereasoning.optimisation import optimizer, set_rates
from fakereasoning.recipe import PARTS, TuneRecipe
from fdr_bench.errors import UsageError
from tests.fakereasoning import small

BETAS = (0.9, 0.98)


class Net(nn.Module):
    """A picture's convolution, two linear layers, and words that are read and told by the same matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(3, 8, 2)
        self.first, self.second = nn.Linear(8, 6), nn.Linear(6, 5)
        self.words = nn.Embedding(7, 5)
        self.tell = nn.Linear(5, 7, bias=False)
        self.tell.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        told: Tensor = self.tell(self.second(self.first(self.look(x).mean(dim=(2, 3))).relu()))
        return told.square().mean()


def net() -> Net:
    torch.manual_seed(1)
    return Net()


def groups(model: Net, rate: float = 0.01) -> list[dict[str, Any]]:
    parts = {"lr": rate, "peak": rate}
    matrices = [one for one in model.parameters() if one.ndim > 1]
    vectors = [one for one in model.parameters() if one.ndim == 1]
    return [{"params": matrices, "weight_decay": 0.1, **parts}, {"params": vectors, "weight_decay": 0.0, **parts}]


def steps(model: Net, *optimizers: torch.optim.Optimizer, start: int = 0, end: int = 4) -> None:
    for step in range(start, end):
        model.zero_grad()
        model(torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(step))).backward()
        for one in optimizers:
            one.step()


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, one.parameters(), other.parameters()))


def test_each_takes_the_steps_of_torchs_own_with_its_share():
    together, apart = net(), net()
    steps(together, MuonAndAdamW(groups(together), matrices_of(together), factor=3, betas=BETAS))
    muon = torch.optim.Muon(
        [apart.first.weight, apart.second.weight],
        lr=0.03,
        weight_decay=0.1,
        momentum=MOMENTUM,
        adjust_lr_fn="match_rms_adamw",
    )
    biases = [apart.look.bias, apart.first.bias, apart.second.bias]
    shares = [{"params": [apart.look.weight, apart.words.weight], "weight_decay": 0.1}]
    adamw = torch.optim.AdamW([*shares, {"params": biases, "weight_decay": 0.0}], lr=0.01, betas=BETAS, fused=True)
    steps(apart, muon, adamw)
    assert same(together, apart)
    assert not same(together, net())


def test_matrices_alone_are_muons_alone():
    """As with adapters, which have nothing else that learns."""
    together, apart = net(), net()
    only = {"params": [together.first.weight], "lr": 0.01, "peak": 0.01, "weight_decay": 0.1}
    steps(together, MuonAndAdamW([only], matrices_of(together), factor=3, betas=BETAS))
    muon = torch.optim.Muon(
        [apart.first.weight], lr=0.03, weight_decay=0.1, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw"
    )
    steps(apart, muon)
    assert same(together, apart)
    assert not torch.equal(together.first.weight, net().first.weight)


def test_a_saved_state_goes_on_to_the_same_bits():
    whole, stopped = net(), net()
    steps(whole, MuonAndAdamW(groups(whole), matrices_of(whole), factor=3, betas=BETAS))
    first = MuonAndAdamW(groups(stopped), matrices_of(stopped), factor=3, betas=BETAS)
    steps(stopped, first, end=2)
    saved = copy.deepcopy(first.state_dict())
    second = MuonAndAdamW(groups(stopped), matrices_of(stopped), factor=3, betas=BETAS)
    second.load_state_dict(saved)
    steps(stopped, second, start=2)
    assert same(whole, stopped)
    # Without the state it is another way.
    forgetful = net()
    for start, end in ((0, 2), (2, 4)):
        fresh = MuonAndAdamW(groups(forgetful), matrices_of(forgetful), factor=3, betas=BETAS)
        steps(forgetful, fresh, start=start, end=end)
    assert not same(whole, forgetful)


def test_rates_set_from_outside_hold_for_both_also_behind_a_saved_state():
    model = net()
    made = MuonAndAdamW(groups(model), matrices_of(model), factor=3, betas=BETAS)
    made.load_state_dict(copy.deepcopy(made.state_dict()))
    before = copy.deepcopy(model)
    set_rates(made, 1.0, 0.1)  # the end of the course: a rate of 0
    steps(model, made, end=1)
    assert same(before, model)
    set_rates(made, 0.1, 0.1)
    assert sorted({group["lr"] for group in made.param_groups}) == pytest.approx([0.01, 0.03])
    steps(model, made, start=1, end=2)
    assert not any(map(torch.equal, before.parameters(), model.parameters()))


def test_linear_layers_matrices_learn_by_it_and_nothing_else():
    model = small.model(320)
    model.set_trainable(PARTS)
    chosen = {id(one) for one in matrices_of(model)}
    names = {name for name, one in model.named_parameters() if id(one) in chosen}
    assert {name for name in names if not name.endswith("weight") or "embed" in name or "norm" in name} == set()
    for part in ("clip.encoder", "dino.encoder", "clip_projector", "fusion", "language.model.layers"):
        assert any(name.startswith(part) for name in names), part
    assert all(one.ndim == 2 for one in matrices_of(model))
    model.set_trainable(("fusion",))
    assert matrices_of(model)
    assert {name.partition(".")[0] for name, one in model.named_parameters() if one.requires_grad} == {"fusion"}


def test_a_recipe_without_it_is_adamw_alone():
    model = small.model(320)
    model.set_trainable(PARTS)
    assert type(optimizer(model, TuneRecipe(trainable=PARTS))) is torch.optim.AdamW
    made = optimizer(model, TuneRecipe(trainable=PARTS, lr=1e-3, muon=2.0))
    assert isinstance(made, MuonAndAdamW)
    held = [id(one) for group in made.param_groups for one in group["params"]]
    assert sorted(held) == sorted({id(one) for one in model.parameters() if one.requires_grad})


def test_a_closure_is_refused():
    model = net()
    made = MuonAndAdamW(groups(model), matrices_of(model), factor=3, betas=BETAS)
    with pytest.raises(ValueError, match="no closure"):
        made.step(lambda: 0.0)


def test_a_torch_that_lacks_it_is_told(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    model = net()
    with pytest.raises(UsageError, match=r"torch 2\.9"):
        MuonAndAdamW(groups(model), matrices_of(model), factor=3, betas=BETAS)


def test_a_launcher_that_shares_out_matrices_is_refused(monkeypatch):
    monkeypatch.setattr(Accelerator, "distributed_type", DistributedType.FSDP)
    accelerator("cpu", "fp32")
    with pytest.raises(UsageError, match="whole matrices"):
        accelerator("cpu", "fp32", whole=True)
