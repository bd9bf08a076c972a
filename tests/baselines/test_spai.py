"""SPAI's patches, spectra and features, on tiny networks; the figures of the real size are in test_goldens."""

from __future__ import annotations

import cmath
import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from baselines import _spai
from baselines._beit import Attention
from baselines._spai import SPAINet, cut, divide, frequency_mask
from baselines.spai import SPAI, WHOLE
from fdr_bench.images import apply_view
from fdr_bench.types import Reflect, View
from tests.baselines.made import picture, weights_folder
from tests.baselines.tiny_spai import TINY, seeded, tiny

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"


# ---------------------------------------------------------------- patches


def test_patches_lie_edge_to_edge_and_what_is_left_over_is_not_seen() -> None:
    x = seeded(2, 3, 9, 15)
    patches = cut(x, 4, 4)
    # 9 // 4 = 2 rows of 15 // 4 = 3 patches.
    assert patches.shape == (2, 6, 3, 4, 4)
    for number in range(6):
        top, left = 4 * (number // 3), 4 * (number % 3)
        assert torch.equal(patches[:, number], x[:, :, top : top + 4, left : left + 4])


def test_few_patches_are_replaced_by_the_corners_and_the_centre() -> None:
    x = seeded(1, 3, 9, 7)
    patches = cut(x, 4, 4)
    # The centre: 5 / 2 = 2.5 -> 2 rows above, 3 / 2 = 1.5 -> 2 columns to the left.
    places = [(0, 0), (0, 3), (5, 0), (5, 3), (2, 2)]
    expected = [x[:, :, top : top + 4, left : left + 4] for top, left in places]
    assert torch.equal(patches, torch.stack(expected, dim=1))
    assert torch.equal(cut(x[..., :4, :4], 4, 4), x[:, None, :, :4, :4].expand(1, 5, 3, 4, 4))


def test_an_image_smaller_than_a_patch_is_refused_by_the_network_and_mirrored_by_the_view() -> None:
    with pytest.raises(ValueError, match="at least 8x8 px; the image is 9x7"):
        tiny()(torch.zeros(1, 3, 7, 9))
    array = apply_view(WHOLE, Image.new("RGB", (2, 1), (255, 0, 51)))
    assert array.shape == (3, 224, 224)
    assert array[:, 100, 100].tolist() == pytest.approx([1.0, 0.0, 0.2])


def test_the_order_of_the_patches_does_not_matter_but_their_content_does() -> None:
    network = tiny()
    features = torch.randn(1, 5, 18, generator=torch.Generator().manual_seed(0))
    whole, turned = network.attend(features), network.attend(features[:, [3, 1, 4, 0, 2]])
    torch.testing.assert_close(whole, turned, rtol=0, atol=1e-5)
    assert (whole - network.attend(features[:, :4])).abs().max() > 1e-3


# ---------------------------------------------------------------- spectra


def test_the_low_frequencies_are_a_circle_half_a_pixel_off_centre() -> None:
    # Distances from the middle along a side of 8: 3 2 1 0 0 1 2 3. Below 2: 0+0, 0+1, 1+1, in squares below 4.
    expected = np.zeros((8, 8), np.int64)
    expected[2:6, 2:6] = 1
    assert np.array_equal(frequency_mask(8, 2).numpy(), expected)
    # Along a side of 5: 2 1 0 1 2; squares below 4 leave out 4 = 2 * 2 + 0.
    assert frequency_mask(5, 2).sum() == 9


def test_the_mask_is_the_official_one() -> None:
    told = json.loads((GOLDENS / "spai.json").read_text())["constants"]["mask"]
    mask = frequency_mask(224, 16)
    assert hashlib.sha256(mask.numpy().tobytes()).hexdigest() == told["sha256_of_int64_bytes"]
    assert mask[96:128].sum(dim=1).tolist() == told["row_sums_96_to_127"]


def naive_low(patch: Tensor, mask: Tensor) -> Tensor:
    """Sum the low frequencies of one channel, frequency by frequency; index side // 2 of the mask is frequency 0."""
    side = len(patch)
    out = torch.zeros(side, side, dtype=torch.float64)
    for u in range(side):
        for v in range(side):
            if not mask[u, v]:
                continue
            a, b = u - side // 2, v - side // 2
            wave = [[cmath.exp(2j * math.pi * (a * i + b * j) / side) for j in range(side)] for i in range(side)]
            waves = torch.tensor(wave, dtype=torch.complex128)
            coefficient = (patch * waves.conj()).sum() / side**2
            out += (coefficient * waves).real
    return out


@pytest.mark.parametrize("side", [8, 5])
def test_a_patch_is_divided_as_by_the_definition(side: int) -> None:
    mask = frequency_mask(side, 2)
    mask[0, 1] = 1  # a frequency without its counterpart
    patch = seeded(1, 1, side, side).double()
    low, high = divide(patch, mask)
    expected = naive_low(patch[0, 0], mask)
    assert (expected < 0).any() or (patch[0, 0] - expected < 0).any()  # something is cut
    torch.testing.assert_close(low[0, 0], expected.clamp(0, 1), rtol=0, atol=1e-12)
    torch.testing.assert_close(high[0, 0], (patch[0, 0] - expected).clamp(0, 1), rtol=0, atol=1e-12)


def test_without_low_frequencies_the_high_ones_are_the_patch() -> None:
    patch = seeded(2, 3, 8, 8)
    low, high = divide(patch, torch.zeros(8, 8, dtype=torch.long))
    assert not low.any()
    torch.testing.assert_close(high, patch, rtol=0, atol=1e-6)


@pytest.mark.goldens
def test_the_first_patch_of_every_image_is_divided_as_by_the_official_code() -> None:
    told = json.loads((GOLDENS / "spai.json").read_text())
    for name in told["images"]:
        with Image.open(GOLDENS / "images" / name) as image:
            whole = torch.from_numpy(apply_view(WHOLE, image.convert("RGB")))
        versions = divide(cut(whole[None], 224, 4)[0, :1], frequency_mask(224, 16))
        for kind, version in zip(("low", "high"), versions, strict=True):
            figures = told["intermediates"][f"first_patch_{kind}_pass"][name]
            assert version.flatten()[figures["flat_index"]].tolist() == pytest.approx(figures["value"], abs=2e-6)
            assert version.mean().item() == pytest.approx(figures["mean"], abs=2e-6)


# ---------------------------------------------------------------- features


def test_attention_has_biased_queries_and_values_and_unbiased_keys() -> None:
    attention = Attention(6, 2)
    for parameter in attention.parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    x = seeded(2, 5, 6)
    weight = attention.qkv.weight
    q, k, v = x @ weight[:6].T + attention.q_bias, x @ weight[6:12].T, x @ weight[12:].T + attention.v_bias
    heads = []
    for part in (slice(0, 3), slice(3, 6)):
        share = (q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(3)).softmax(dim=-1)
        heads.append(share @ v[..., part])
    torch.testing.assert_close(attention(x), attention.proj(torch.cat(heads, dim=-1)), rtol=1e-5, atol=1e-5)


def test_features_are_means_and_deviations_of_cosines_pair_by_pair_and_then_the_patch_itself() -> None:
    processor = tiny().mfvit.features_processor
    layers = [torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    with torch.inference_mode():
        features = processor(layers)[0]
        projectors = processor.patch_projector.projectors
        tokens = [p(layer).double().numpy() for p, layer in zip(projectors, layers, strict=True)]  # (3, 4, 6) each
        expected = []
        for one, other in ((0, 1), (0, 2), (1, 2)):
            cosines = [
                [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(layer[one], layer[other], strict=True)]
                for layer in tokens
            ]
            expected += [np.mean(values) for values in cosines] + [np.std(values, ddof=1) for values in cosines]
        assert features[:12].tolist() == pytest.approx(expected, abs=1e-5)
        summary = processor.original_features_processor
        own = [np.concatenate([layer[0].mean(0), layer[0].std(0, ddof=1)]) for layer in tokens]
        each = summary.proj1(torch.tensor(np.stack(own), dtype=torch.float32))
        weights = summary.alpha[0].exp() / summary.alpha[0].exp().sum(0)
        assert features[12:].tolist() == pytest.approx(summary.proj2((weights * each).sum(0)).tolist(), abs=1e-5)


def test_attention_over_patches_is_each_querys_weighted_mean_of_values() -> None:
    network = tiny()
    features = torch.randn(1, 5, 18, generator=torch.Generator().manual_seed(0))
    keys, values = (features[0] @ network.to_kv.weight.T).chunk(2, dim=1)  # (5, 6) each
    out = []
    for head in range(2):
        part = slice(3 * head, 3 * head + 3)
        share = (keys[:, part] @ network.patch_aggregator[head, 0] / math.sqrt(3)).softmax(dim=0)
        out.append(share @ values[:, part])
    expected = network.to_out[0].weight @ torch.cat(out)
    torch.testing.assert_close(network.attend(features)[0], expected, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- the whole


@pytest.mark.parametrize("size", [(16, 16), (17, 25), (9, 8)])
def test_a_batch_of_four_gives_what_one_by_one_gives(size: tuple[int, int]) -> None:
    network, x = tiny(), seeded(4, 3, *size)
    with torch.inference_mode():
        together = network(x)
        alone = torch.cat([network(one[None]) for one in x])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert len(set(together.tolist())) == 4


def test_passes_of_few_patches_give_what_one_pass_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = tiny(), seeded(2, 3, 24, 24)
    with torch.inference_mode():
        whole = network(x)
        monkeypatch.setattr(_spai, "PATCHES_AT_ONCE", 4)
        torch.testing.assert_close(network(x), whole, rtol=0, atol=1e-5)


def test_pictures_of_any_size_are_scored_each_as_alone(tmp_path: Path) -> None:
    detector = SPAI(weights={"weights": weights_folder(SPAI, "scenes", tmp_path)})
    detector.view = View(steps=(Reflect(64),), mean=WHOLE.mean, std=WHOLE.std)
    nn.init.normal_(detector.network.cls_head.head[6].weight, generator=torch.Generator().manual_seed(1))
    images = [picture(*size, seed) for seed, size in enumerate([(1, 1), (70, 3), (64, 64), (131, 129), (70, 3)])]
    together = [prediction.score for prediction in detector.predict(images)]
    alone = [detector.predict([image])[0].score for image in images]
    assert together == pytest.approx(alone, abs=1e-5)
    assert len(set(together)) == 5


def test_brain_float_gives_nearly_the_same_logit() -> None:
    torch.manual_seed(0)
    network, x = SPAINet(**TINY).eval(), seeded(2, 3, 16, 16)
    with torch.inference_mode():
        exact = network(x)
        rounded = network.bfloat16()(x.bfloat16())
    torch.testing.assert_close(rounded.float(), exact, rtol=0, atol=3e-2)


def test_every_tensor_learns_but_the_leftovers() -> None:
    network = SPAINet(**TINY).train()
    with torch.no_grad():
        network.cls_head.head[6].weight.fill_(1.0)
    network(seeded(2, 3, 16, 16)).sum().backward()
    idle = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    lean = set(dict(SPAINet(**TINY, leftovers=False).named_parameters()))
    assert idle == set(dict(network.named_parameters())) - lean
    assert all(name.startswith("mfvit.vit.") for name in idle)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_sizes_keep_to_their_limits() -> None:
    with torch.device("meta"):
        official = SPAI.network(**SPAI.sizes()["official"])
    assert parameters(official) == SPAI.card.presets["official"].parameters
    assert parameters(SPAI.network(**SPAI.sizes()["scenes"])) <= 1_000_000
    with pytest.raises(ValueError, match="8 px cannot be cut into tokens of 3 px"):
        SPAINet(**TINY | {"patch": 3})
