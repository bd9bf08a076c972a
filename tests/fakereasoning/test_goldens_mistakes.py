"""The tolerances see each mistake that the fixture lists; made here, it moves the figures as far as told there."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import fakereasoning.fusion
import fakereasoning.vision
from fakereasoning.config import CLIP_MEAN, CLIP_STD
from fakereasoning.fusion import FAFF, LOG_EPS, AttentionBias
from fakereasoning.model import FakeReasoning
from fakereasoning.vision import DinoTower
from tests.fakereasoning.filled import filled_model, fixtures, noise, read, sampled

pytestmark = pytest.mark.goldens
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Outcome(NamedTuple):
    """What a model gives on the fixture's case `single`."""

    fused: Tensor
    logits: Tensor


class Right(NamedTuple):
    """The fixture, its model without a mistake and what that gives."""

    figures: dict[str, Any]
    model: FakeReasoning
    outcome: Outcome


def run(model: FakeReasoning, figures: dict[str, Any]) -> Outcome:
    case = figures["cases"]["single"]
    with torch.no_grad():
        features = model.visual_features(noise(case["pixels"]))
        return Outcome(model.image_tokens(features), model(torch.tensor(case["input_ids"]), features=features).logits)


@pytest.fixture(scope="module", params=fixtures("tiny"), ids=str)
def right(request: pytest.FixtureRequest) -> Right:
    figures = read(request.param)
    model = filled_model(figures)
    return Right(figures, model, run(model, figures))


Mistake = Callable[[FakeReasoning, pytest.MonkeyPatch], None]
MISTAKES: dict[str, Mistake] = {}


def mistake(name: str) -> Callable[[Mistake], Mistake]:
    """Enter a function that makes a mistake, in a model or by patching, under the fixture's name for it."""

    def enter(make: Mistake) -> Mistake:
        MISTAKES[name] = make
        return make

    return enter


def fusion_of(model: FakeReasoning) -> FAFF:
    assert model.fusion is not None
    return model.fusion


def dino_of(model: FakeReasoning) -> DinoTower:
    assert model.dino is not None
    return model.dino


def patch_bias(patch: pytest.MonkeyPatch, bias: Callable[[AttentionBias, Tensor], Tensor]) -> None:
    """Replace the bias; `bias` gets the map without the class token."""
    patch.setattr(AttentionBias, "forward", lambda self, attention: bias(self, attention[:, :, 1:, 1:]))


@mistake("query and key/value swapped")
def _(model: FakeReasoning, patch: pytest.MonkeyPatch) -> None:
    forward = FAFF.forward
    patch.setattr(FAFF, "forward", lambda self, clip, dino, attention: forward(self, dino, clip, attention))


@mistake("CLIP last layer instead of -2")
def _(model: FakeReasoning, patch: pytest.MonkeyPatch) -> None:
    model.clip.blocks_read += 1


@mistake("DINO after its final norm")
def _(model: FakeReasoning, patch: pytest.MonkeyPatch) -> None:
    dino = dino_of(model)
    features = dino.features

    def normed(pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        hidden, attention = features(pixels)
        return dino.layernorm(hidden), attention

    patch.setattr(dino, "features", normed)


@mistake("attention of the last but one DINO block")
def _(model: FakeReasoning, patch: pytest.MonkeyPatch) -> None:
    dino = dino_of(model)
    features, maps = dino.features, []
    earlier = dino.encoder.layer[-2].attention
    earlier.config = dino.encoder.layer[-1].attention.config
    earlier.register_forward_hook(lambda module, given, out: maps.append(out[1]))
    patch.setattr(dino, "features", lambda pixels: (features(pixels)[0], maps[-1]))


@mistake("bias transposed")
def _(model: FakeReasoning, patch: pytest.MonkeyPatch) -> None:
    patch_bias(patch, lambda self, attention: self.layers(torch.log(attention + LOG_EPS)).transpose(2, 3))


@mistake("last token dropped instead of the class token")
def _(model: FakeReasoning, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        AttentionBias, "forward", lambda self, attention: self.layers(torch.log(attention[:, :, :-1, :-1] + LOG_EPS))
    )


@mistake("scores not scaled")
def _(model: FakeReasoning, patch: pytest.MonkeyPatch) -> None:
    fusion = fusion_of(model)
    width = fusion.query.out_features // fusion.heads
    for parameter in fusion.query.parameters():
        parameter.data *= width**0.5


@mistake("no bias")
def _(model: FakeReasoning, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FAFF, "bias_of", lambda self, attention: None)


@mistake("no log")
def _(model: FakeReasoning, patch: pytest.MonkeyPatch) -> None:
    patch_bias(patch, lambda self, attention: self.layers(attention))


@mistake("no bias MLP")
def _(model: FakeReasoning, patch: pytest.MonkeyPatch) -> None:
    patch_bias(patch, lambda self, attention: torch.log(attention + LOG_EPS))


@mistake("DINO fed ImageNet-normalised pixels")
def _(model: FakeReasoning, patch: pytest.MonkeyPatch) -> None:
    dino = dino_of(model)
    features = dino.features
    mean, std, other_mean, other_std = (
        torch.tensor(three).view(3, 1, 1) for three in (CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD)
    )
    patch.setattr(dino, "features", lambda pixels: features((pixels * std + mean - other_mean) / other_std))


@mistake("GELU in the fusion FFN")
def _(model: FakeReasoning, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(nn.functional, "relu", nn.functional.gelu)


@mistake("LN with unbiased std")
def _(model: FakeReasoning, patch: pytest.MonkeyPatch) -> None:
    for norm in norms(model):
        patch.setattr(norm, "forward", lambda x, norm=norm: unbiased(norm, x))


@mistake("CLIP with exact GELU")
def _(model: FakeReasoning, patch: pytest.MonkeyPatch) -> None:
    for block in model.clip.encoder.layers:
        block.mlp.activation_fn = nn.GELU()


@mistake("attention renormalised after the cut")
def _(model: FakeReasoning, patch: pytest.MonkeyPatch) -> None:
    patch_bias(patch, lambda self, a: self.layers(torch.log(a / a.sum(dim=-1, keepdim=True) + LOG_EPS)))


@mistake("position resize by size, without the +0.1 (what transformers' Dinov2Model does)")
def _(model: FakeReasoning, patch: pytest.MonkeyPatch) -> None:
    dino = dino_of(model)
    side = model.config.image_size
    grid = side // dino.embeddings.patch_size
    like = torch.zeros(1, grid**2 + 1, dino.config.hidden_size)
    patch.setattr(
        fakereasoning.vision,
        "resize_positions",
        lambda positions, grid: dino.embeddings.interpolate_pos_encoding(like, side, side),
    )


@mistake("tanh GELU in the projectors")
def _(model: FakeReasoning, patch: pytest.MonkeyPatch) -> None:
    assert model.dino_projector is not None
    model.clip_projector[1] = nn.GELU("tanh")
    model.dino_projector[1] = nn.GELU("tanh")


@mistake("log without + 1e-6")
def _(model: FakeReasoning, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fakereasoning.fusion, "LOG_EPS", 0.0)


@mistake("LN eps 1e-5")
def _(model: FakeReasoning, patch: pytest.MonkeyPatch) -> None:
    for norm in norms(model):
        norm.eps = 1e-5


def norms(model: FakeReasoning) -> list[nn.LayerNorm]:
    return [fusion_of(model).norm_attention, fusion_of(model).norm_expansion]


def unbiased(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """Return the layer norm of MCAN: the deviation over n - 1, and epsilon outside the root."""
    normed = (x - x.mean(dim=-1, keepdim=True)) / (x.std(dim=-1, keepdim=True) + norm.eps)
    return norm.weight * normed + norm.bias


def test_every_mistake_of_the_fixture_is_made_here(right: Right) -> None:
    listed = [row[0] for row in right.figures["tolerances"]["what_a_mistake_moves_max_abs"]["rows"]]
    assert sorted(listed) == sorted(MISTAKES)


@pytest.mark.parametrize("name", MISTAKES)
def test_the_mistake_is_caught(right: Right, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = copy.deepcopy(right.model)
    MISTAKES[name](wrong, monkeypatch)
    outcome = run(wrong, right.figures)
    case, tolerances = right.figures["cases"]["single"], right.figures["tolerances"]["recommended"]
    seen = [
        sampled(case["stages"]["fused_tokens"], outcome.fused) / tolerances["stages"],
        sampled(case["logits"], outcome.logits) / tolerances["logits"],
    ]
    moved = [float((a - b).abs().max()) for a, b in zip(outcome, right.outcome, strict=True)]
    print(f"{name}: {seen[0]:.3g} and {seen[1]:.3g} times the tolerance, moved {moved[0]:.2g} and {moved[1]:.2g}")
    assert max(seen) > 1
    (told,) = (row[1:] for row in right.figures["tolerances"]["what_a_mistake_moves_max_abs"]["rows"] if row[0] == name)
    # Told to two digits; float32 noise of 4e-6 matters for the smallest.
    assert moved == [pytest.approx(told[0], rel=0.06, abs=2e-6), pytest.approx(told[1], rel=0.06, abs=4e-6)]
