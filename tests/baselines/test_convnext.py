"""ConvNeXt trunks against transformers' own implementation."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from transformers import ConvNextConfig, ConvNextModel

from baselines._convnext import ConvNeXt, initialise

DEPTHS, WIDTHS = (1, 2, 1, 1), (4, 6, 8, 10)
RENAMED = (
    (r"embeddings\.patch_embeddings\.", "stem.0."),
    (r"embeddings\.layernorm\.", "stem.1."),
    (r"encoder\.stages\.(\d)\.downsampling_layer\.", r"stages.\1.downsample."),
    (r"encoder\.stages\.(\d)\.layers\.", r"stages.\1.blocks."),
    (r"layer_scale_parameter", "gamma"),
    (r"dwconv", "conv_dw"),
    (r"layernorm", "norm"),
    (r"pwconv(\d)", r"mlp.fc\1"),
)


def test_a_trunk_computes_what_transformers_does() -> None:
    torch.manual_seed(0)
    reference = ConvNextModel(ConvNextConfig(hidden_sizes=WIDTHS, depths=DEPTHS, num_stages=4)).eval()
    for parameter in reference.parameters():
        nn.init.normal_(parameter, 0.1, 0.4)
    state = {}
    for name, tensor in reference.state_dict().items():
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        state[name] = tensor
    trunk = ConvNeXt(depths=DEPTHS, widths=WIDTHS).eval()
    for name in ("norm.weight", "norm.bias"):  # transformers' head; ours is in who derives
        del state[name]
    trunk.load_state_dict(state)
    x = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        expected = reference(x).last_hidden_state
        torch.testing.assert_close(trunk.features(x), expected, rtol=1e-4, atol=1e-4)
    assert expected.shape == (2, 10, 2, 3)


def test_sides_that_are_no_multiple_of_32_lose_what_is_left_over() -> None:
    trunk = ConvNeXt(depths=DEPTHS, widths=WIDTHS).eval()
    assert trunk.features(torch.randn(1, 3, 70, 33)).shape == (1, 10, 2, 1)


def test_a_trunk_starts_with_small_weights_no_biases_and_nearly_closed_blocks() -> None:
    trunk = ConvNeXt(depths=(1,), widths=(64,))
    initialise(trunk)
    block = trunk.stages[0].blocks[0]
    assert float(block.mlp.fc1.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert not block.mlp.fc1.bias.any() and torch.equal(block.gamma, torch.full((64,), 1e-6))
