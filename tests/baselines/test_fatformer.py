"""FatFormer's wavelets, adapters and prompts against naive twins, on a tiny network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from baselines._fatformer import FatFormerNet, ForgeryAwareAdapter, haar, inverse_haar
from baselines.fatformer import FatFormer
from fdr_bench.errors import UsageError
from tests.baselines.made import picture

TINY = {
    "vision": {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "image_size": 8,
        "patch_size": 2,
        "projection_dim": 12,
    },
    "text": {
        "hidden_size": 12,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 10,
        "vocab_size": 5,
        "projection_dim": 12,
    },
    "adapters": 2,
    "contexts": 3,
    "adapter_heads": 2,
    "bottleneck": 4,
    "expansion": 2,
}


def tiny() -> FatFormerNet:
    torch.manual_seed(0)
    made = FatFormerNet(**TINY).eval().requires_grad_(False)
    for tensor in (*made.parameters(), made.token_prefix, made.token_suffix):
        nn.init.normal_(tensor, 0.0, 0.3)
    return made


@pytest.fixture
def network() -> FatFormerNet:
    return tiny()


def images(count: int) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(count))


# ---------------------------------------------------------------- wavelets and attention


def test_bands_are_sums_and_differences_of_two_by_two_pixels() -> None:
    x = torch.randn(2, 4, 6, 3, generator=torch.Generator().manual_seed(0))
    bands = haar(x)
    assert bands.shape == (2, 4, 6, 3)
    for row in range(2):
        for column in range(3):
            a, b, c, d = (x[:, 2 * row + i, 2 * column + j] for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)))
            naive = [a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d]
            expected = torch.stack(naive, dim=1) / 2
            torch.testing.assert_close(bands[:, :, 3 * row + column], expected, rtol=0, atol=1e-6)


def test_the_inverse_gives_back_what_was_taken_apart() -> None:
    x = torch.randn(2, 6, 6, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(inverse_haar(haar(x), 6), x, rtol=0, atol=1e-6)


def attention(module: nn.MultiheadAttention, x: Tensor) -> Tensor:
    """Return the self-attention of (L, width), a head and a query at a time."""
    q, k, v = (x @ module.in_proj_weight.T + module.in_proj_bias).chunk(3, dim=1)
    size = x.shape[1] // module.num_heads
    heads = []
    for head in range(module.num_heads):
        part = slice(head * size, (head + 1) * size)
        rows = [((k[:, part] @ query) / size**0.5).softmax(0) @ v[:, part] for query in q[:, part]]
        heads.append(torch.stack(rows))
    return torch.cat(heads, dim=1) @ module.out_proj.weight.T + module.out_proj.bias


def test_an_adapter_attends_among_bands_of_a_place_then_among_places_of_a_band() -> None:
    torch.manual_seed(1)
    adapter = ForgeryAwareAdapter(16, heads=2, bottleneck=4, expansion=2).eval().requires_grad_(False)
    for parameter in adapter.parameters():
        nn.init.normal_(parameter, 0.0, 0.4)
    (x,) = tokens = torch.randn(1, 17, 16)
    first, second = adapter.first_conv_layer, adapter.second_conv_layer
    narrow = (x @ first.weight[:, :, 0].T + first.bias).clamp(min=0)
    expected = 0.1 * (narrow @ second.weight[:, :, 0].T + second.bias)

    bands = haar(tokens[:, 1:].reshape(1, 4, 4, 16))[0]  # (4, places, width)
    # Two groups of eight channels, each normalised over all bands and places.
    groups = [group / 1 for group in bands.split(8, dim=2)]
    normal = [(group - group.mean()) / (group.var(unbiased=False) + 1e-5).sqrt() for group in groups]
    bands = torch.cat(normal, dim=2) * adapter.dwt_norm.weight + adapter.dwt_norm.bias
    for place in range(4):
        bands[:, place] = adapter.norm_intra(bands[:, place] + attention(adapter.intra_band, bands[:, place]))
    for band in range(4):
        bands[band] = adapter.norm_inter(bands[band] + attention(adapter.inter_band, bands[band]))
    bands = adapter.norm3(bands + adapter.linear2(adapter.linear1(bands).clamp(min=0)))
    expected[1:] += adapter.freq_scale * inverse_haar(bands[None], 4).reshape(16, 16)
    torch.testing.assert_close(adapter(tokens)[0], expected, rtol=0, atol=1e-5)


def test_adapters_stand_beside_the_last_block_of_each_share(network: FatFormerNet) -> None:
    layers = network.clip.vision_model.encoder.layers
    assert [hasattr(layer, "forgery_aware_adapter") for layer in layers] == [False, True, False, True]
    layer, x = layers[1], torch.randn(1, 17, 16)
    after = x + layer.self_attn(layer.layer_norm1(x))[0]
    expected = after + layer.mlp(layer.layer_norm2(after)) + layer.forgery_aware_adapter(after)
    torch.testing.assert_close(layer(x, None), expected, rtol=0, atol=1e-6)


# ---------------------------------------------------------------- prompts


def test_the_whole_prompt_gives_what_its_part_up_to_the_end_of_the_text_gives(network: FatFormerNet) -> None:
    tokens, text = network.image_features(images(1)), network.clip.text_model
    context = network.context_enhancer(network.context[None], tokens)[0]
    for kind in range(2):
        words = torch.cat((network.token_prefix[kind], context, network.token_suffix[kind]))  # all ten
        x = (words + text.embeddings.position_embedding.weight)[None]
        hidden = torch.full((1, 1, 10, 10), -torch.inf).triu(1)
        for layer in text.encoder.layers:
            x = layer(x, hidden)
        # A start, three context vectors, the class, a full stop, the end: number 6 from 0.
        expected = network.clip.text_projection(text.final_layer_norm(x)[0, 6])
        torch.testing.assert_close(network.text_features(tokens)[0, kind], expected, rtol=0, atol=1e-5)


def test_logits_are_scaled_cosines_of_the_class_token_and_of_the_mean_of_patches(network: FatFormerNet) -> None:
    x = images(2)
    tokens = network.image_features(x)
    texts = network.text_features(tokens)
    patches = network.interactor(tokens[:, 1:], texts).mean(dim=1)
    for image in range(2):
        for kind in range(2):
            text = texts[image, kind] / texts[image, kind].norm()
            one, two = (seen[image] @ text / seen[image].norm() for seen in (tokens[:, 0], patches))
            expected = network.clip.logit_scale.exp() * (one + two)
            torch.testing.assert_close(network(x)[image, kind], expected, rtol=0, atol=1e-5)


def test_four_at_once_are_as_one_by_one(network: FatFormerNet) -> None:
    x = images(4)
    together = network(x)
    torch.testing.assert_close(together, torch.cat([network(one[None]) for one in x]), rtol=0, atol=1e-5)
    assert together.shape == (4, 2) and together.std() > 1e-3


@pytest.mark.parametrize("change", [{"adapters": 3}, {"vision": {**TINY["vision"], "patch_size": 8}}])  # type: ignore[dict-item]
def test_sizes_that_do_not_fit_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="patches must be even, the blocks a multiple"):
        FatFormerNet(**{**TINY, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (225, 223)])
def test_images_of_any_size_become_a_crop(size: tuple[int, int]) -> None:
    detector = FatFormer.__new__(FatFormer)  # its preprocessing alone: no weights needed
    detector.view = FatFormer.card.presets["official"].views["resize256_crop224"]
    assert detector.preprocess(picture(*size)).shape == (3, 224, 224)


def test_it_cannot_be_trained() -> None:
    with pytest.raises(UsageError, match="training code is not released"):
        FatFormer.recipe("official")
