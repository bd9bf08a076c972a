"""The fusion block: against loops over every pair of patches, and what its bias depends on."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fakereasoning.fusion import FAFF, interleave
from tests.fakereasoning.tiny import noise

WIDTH, HEADS, PATCHES, BATCH = 8, 2, 3, 2


@pytest.fixture
def block() -> FAFF:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        block = FAFF(WIDTH, HEADS, hidden=12, bias_hidden=5, dropout=0.5).eval()
        for norm in (block.norm_attention, block.norm_expansion):
            torch.nn.init.normal_(norm.weight)
            torch.nn.init.normal_(norm.bias)
    return block


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    clip, dino = noise(BATCH, PATCHES, WIDTH, seed=1), noise(BATCH, PATCHES, WIDTH, seed=2)
    return clip, dino, noise(BATCH, HEADS, PATCHES + 1, PATCHES + 1, seed=3).mul(3).softmax(-1)


def line(layer: torch.nn.Module, vector: Tensor) -> Tensor:
    """Apply a linear layer, or a 1×1 convolution, to one vector."""
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    return weight.flatten(1) @ vector + bias


def normed(norm: torch.nn.LayerNorm, vector: Tensor) -> Tensor:
    centred = vector - vector.mean()
    return norm.weight * centred / torch.sqrt(centred.pow(2).mean() + 1e-6) + norm.bias


def gelu(value: Tensor) -> Tensor:
    return value * 0.5 * (1 + torch.erf(value / math.sqrt(2)))


def naive(block: FAFF, clip: Tensor, dino: Tensor, attention: Tensor | None) -> Tensor:
    """Fuse one image's tokens, (N, width) each, pair of patches by pair of patches."""
    share, out = WIDTH // HEADS, []
    for place, token in enumerate(clip):
        query, attended = line(block.query, token), []
        for head in range(HEADS):
            mine = slice(head * share, (head + 1) * share)
            scores = []
            for other, context in enumerate(dino):
                score = query[mine] @ line(block.key, context)[mine] / math.sqrt(share)
                if attention is not None and block.bias is not None:
                    # The pair's probabilities of all heads make one vector; 1 skips the class token.
                    pair = torch.log(attention[:, 1 + place, 1 + other] + 1e-6)
                    score = score + line(block.bias.layers[2], gelu(line(block.bias.layers[0], pair)))[head]
                scores.append(score)
            shares = torch.stack(scores).softmax(0)
            values = torch.stack([line(block.value, context)[mine] for context in dino])
            attended.append(shares @ values)
        fused = normed(block.norm_attention, token + line(block.merge, torch.cat(attended)))
        expanded = line(block.expand, fused).clamp(min=0)
        out.append(normed(block.norm_expansion, fused + line(block.contract, expanded)))
    return torch.stack(out)


@pytest.mark.parametrize("with_map", [True, False])
def test_the_block_equals_loops_over_heads_and_pairs(block: FAFF, inputs: tuple[Tensor, ...], with_map: bool) -> None:
    block, inputs = block.double(), tuple(part.double() for part in inputs)
    given = inputs if with_map else inputs[:2]
    expected = [
        naive(block, clip, dino, attention if with_map else None) for clip, dino, attention in zip(*inputs, strict=True)
    ]
    torch.testing.assert_close(block(*given), torch.stack(expected), rtol=0, atol=1e-12)


def test_the_bias_is_felt_and_is_not_its_transpose(block: FAFF, inputs: tuple[Tensor, ...]) -> None:
    clip, dino, attention = inputs
    fused = block(clip, dino, attention)
    assert (fused - block(clip, dino)).abs().max() > 1e-3
    assert (fused - block(clip, dino, attention.mT)).abs().max() > 1e-3


def test_the_class_tokens_row_and_column_do_not_count(block: FAFF, inputs: tuple[Tensor, ...]) -> None:
    clip, dino, attention = inputs
    changed = attention.clone()
    changed[:, :, 0] = 0.9
    changed[:, :, :, 0] = 0.9
    torch.testing.assert_close(block(clip, dino, changed), block(clip, dino, attention), rtol=0, atol=0)


def test_a_block_without_a_bias_ignores_the_map(inputs: tuple[Tensor, ...]) -> None:
    block = FAFF(WIDTH, HEADS, hidden=12, bias_hidden=None, dropout=0.1).eval()
    torch.testing.assert_close(block(*inputs), block(*inputs[:2]), rtol=0, atol=0)
    assert not any(name.startswith("bias.") for name in block.state_dict())


def test_probabilities_of_zero_give_finite_tokens_and_gradients(block: FAFF, inputs: tuple[Tensor, ...]) -> None:
    clip, dino, attention = inputs
    sharp = torch.zeros_like(attention)
    sharp[..., 1] = 1.0
    fused = block(clip, dino, sharp)
    fused.square().sum().backward()
    assert fused.isfinite().all()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in block.parameters())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.15), (torch.float16, 0.02)])
def test_half_precision_stays_near_float32(
    block: FAFF, inputs: tuple[Tensor, ...], dtype: torch.dtype, tolerance: float
) -> None:
    expected = block(*inputs)
    fused = block.to(dtype)(*(part.to(dtype) for part in inputs))
    assert fused.dtype == dtype
    torch.testing.assert_close(fused.float(), expected, rtol=0, atol=tolerance)


def test_dropout_acts_in_training_alone(block: FAFF, inputs: tuple[Tensor, ...]) -> None:
    assert torch.equal(block(*inputs), block(*inputs))
    block.train()
    assert not torch.equal(block(*inputs), block(*inputs))


def test_interleaved_tokens_stand_side_by_side_clip_first() -> None:
    clip, dino = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[10.0], [20.0]]])
    assert interleave(clip, dino).tolist() == [[[1.0], [10.0], [2.0], [20.0]]]
