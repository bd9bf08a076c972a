"""The towers: against transformers' own hidden states and maps, and the resized positions against a bicubic by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from transformers import CLIPVisionModel, Dinov2Model

from fakereasoning.config import Fusion, Stem
from fakereasoning.stems import ConvolutionStem, ResidualStem, SplitStem, contrast, fold
from fakereasoning.vision import VisualFeatures, build_clip, build_dino, resize_positions
from tests.fakereasoning.tiny import noise, tiny_config, tiny_model

PIXELS = noise(2, 3, 16, 16, seed=5)


@pytest.mark.parametrize("layer", [-4, -2, -1, 0, 1, 3])
def test_clip_features_are_the_chosen_hidden_state_without_its_class_token(layer: int) -> None:
    tower = build_clip(replace(tiny_config(), select_layer=layer)).train(False)
    hidden = CLIPVisionModel.forward(tower, PIXELS, output_hidden_states=True).hidden_states
    assert hidden is not None and len(hidden) == 4
    torch.testing.assert_close(tower.features(PIXELS), hidden[layer][:, 1:], rtol=0, atol=1e-6)


@pytest.mark.parametrize("fusion", ["faff", "interleave"])
def test_dino_features_and_map_are_the_last_blocks_before_the_final_norm(fusion: Fusion) -> None:
    config = tiny_config(fusion)
    # As many positions as patches, so that the two ways to resize do not differ.
    config = replace(config, dino=dict(config.dino or {}) | {"image_size": 16})
    tower = build_dino(config)
    assert tower is not None
    features, attention = tower.train(False).features(PIXELS)
    tower.set_attn_implementation("eager")
    twin = Dinov2Model.forward(tower, PIXELS, output_hidden_states=True, output_attentions=True)
    assert twin.hidden_states is not None and twin.attentions is not None
    torch.testing.assert_close(features, twin.hidden_states[-1][:, 1:], rtol=0, atol=1e-6)
    if fusion == "interleave":
        assert attention is None
    else:
        torch.testing.assert_close(attention, twin.attentions[-1], rtol=0, atol=1e-6)


def cubic(distance: float) -> float:
    """Keys' kernel with a = -0.75, as torch uses it."""
    a, d = -0.75, abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def weights(place: int, grid: int, learned: int) -> list[float]:
    """Return what each learned row adds to row `place` of the new grid, rows beyond an edge counting for it."""
    centre = (place + 0.5) * learned / (grid + 0.1) - 0.5
    sums = [0.0] * learned
    for row in range(int(centre // 1) - 1, int(centre // 1) + 3):
        sums[min(max(row, 0), learned - 1)] += cubic(centre - row)
    return sums


@pytest.mark.parametrize(("learned", "grid"), [(7, 4), (3, 2), (4, 6)])
def test_positions_are_resized_at_the_grid_and_a_tenth(learned: int, grid: int) -> None:
    positions = noise(1, 1 + learned**2, 2, seed=learned)
    matrix = torch.tensor([weights(place, grid, learned) for place in range(grid)])
    plane = positions[0, 1:].reshape(learned, learned, 2)
    expected = torch.einsum("ya,xb,abc->yxc", matrix, matrix, plane).reshape(grid**2, 2)
    resized = resize_positions(positions, grid)
    torch.testing.assert_close(resized[0, 1:], expected, rtol=0, atol=1e-5)  # float32 sums of 16 terms
    assert torch.equal(resized[0, 0], positions[0, 0])


def test_positions_of_their_own_grid_are_left_alone() -> None:
    positions = noise(1, 10, 4)
    assert resize_positions(positions, 3) is positions


def test_positions_in_half_precision_are_resized_in_float32() -> None:
    positions = noise(1, 50, 4).half()
    assert torch.equal(resize_positions(positions, 4), resize_positions(positions.float(), 4).half())


@pytest.mark.parametrize("kind", [ConvolutionStem, ResidualStem, SplitStem])
@pytest.mark.parametrize("patch", [2, 8, 16])
def test_a_stack_of_convolutions_gives_one_embedding_a_patch(kind: type[nn.Module], patch: int) -> None:
    stem = kind(16, patch).eval()
    assert stem(noise(2, 3, 48, 48)).shape == (2, 16, 48 // patch, 48 // patch)


@pytest.mark.parametrize("kind", [ConvolutionStem, ResidualStem, SplitStem])
@pytest.mark.parametrize("patch", [14, 1])
def test_a_stack_of_convolutions_refuses_a_patch_it_cannot_halve_down_to(kind: type[nn.Module], patch: int) -> None:
    with pytest.raises(ValueError, match=f"no patch of {patch}"):
        kind(16, patch)


@pytest.mark.parametrize("kind", [ConvolutionStem, ResidualStem, SplitStem])
def test_a_folded_stem_gives_the_same_without_normalisation(kind: Callable[[int, int], nn.Module]) -> None:
    stem = kind(16, 8)
    for module in stem.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    pixels = noise(4, 3, 32, 32)
    for _ in range(3):
        stem(2 * pixels + 1)  # statistics that are not those it begins with
    before = stem.eval()(pixels)
    fold(stem)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in stem.modules())
    assert torch.allclose(stem(pixels), before, atol=1e-4)
    assert float(before.detach().std()) > 0.01


def test_the_residual_stem_begins_blind_to_plain_colour() -> None:
    stem = ResidualStem(24, 8)
    plain = torch.rand(2, 3, 1, 1).expand(2, 3, 32, 32)
    answers = stem[0](plain)
    # At the picture's edge a filter meets the padding.
    torch.testing.assert_close(answers[:, :, 1:-1, 1:-1], torch.zeros(2, 8, 30, 30), rtol=0, atol=1e-5)


def test_the_larger_half_of_the_split_stem_sees_no_colour() -> None:
    stem = SplitStem(16, 8).eval()
    seen: list[torch.Tensor] = []
    stem.structure.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    grey = noise(1, 1, 32, 32)
    red = torch.cat((3 * grey, 0 * grey, 0 * grey), dim=1) + torch.tensor([2.0, -1.0, 0.5]).view(1, 3, 1, 1)
    first, second = stem(grey.expand(1, 3, 32, 32)), stem(red)
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=1e-4)
    assert not torch.equal(stem.colour(grey.expand(1, 3, 32, 32)), stem.colour(red))
    assert first.shape == second.shape and not torch.equal(first, second)
    assert stem.structure[-2].num_features == 12 and stem.colour[-2].num_features == 4


def test_contrast_is_brightness_against_what_is_around() -> None:
    image = noise(2, 3, 12, 10)
    grey = image.mean(dim=1)
    padded = nn.functional.pad(grey[:, None], (2, 2, 2, 2), mode="reflect")[:, 0]
    against = torch.stack(
        [
            torch.stack([grey[:, y, x] - padded[:, y : y + 5, x : x + 5].mean(dim=(1, 2)) for x in range(10)], dim=-1)
            for y in range(12)
        ],
        dim=-2,
    )
    expected = against / (against.flatten(1).std(dim=1)[:, None, None] + 0.05)
    torch.testing.assert_close(contrast(image, 2)[:, 0], expected, rtol=1e-4, atol=1e-5)
    plain = torch.rand(1, 3, 1, 1).expand(1, 3, 8, 8)
    torch.testing.assert_close(contrast(plain, 3), torch.zeros(1, 1, 8, 8), rtol=0, atol=1e-5)


def test_each_tower_has_the_stem_that_the_config_names() -> None:
    model = tiny_model(stem="convolutions", dino_stem="residual")
    assert isinstance(model.clip.embeddings.patch_embedding, ConvolutionStem)
    assert model.dino is not None
    assert isinstance(model.dino.embeddings.patch_embeddings.projection, ResidualStem)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("stem", ["patch", "convolutions", "residual", "split"])
def test_towers_in_half_precision_take_float32_pixels(dtype: torch.dtype, stem: Stem) -> None:
    model = tiny_model(stem=stem, dino_stem=stem)
    expected = model.visual_features(PIXELS)
    features = model.to(dtype).visual_features(PIXELS)
    for part, full in zip(features, expected, strict=True):
        assert isinstance(part, Tensor) and isinstance(full, Tensor) and part.dtype == dtype
        torch.testing.assert_close(part.float(), full, rtol=0.05, atol=0.2)


def test_features_are_cut_and_moved_part_by_part() -> None:
    features = VisualFeatures(noise(3, 4, 5), noise(3, 4, 6, seed=1))
    rows = features.rows(slice(1, 3))
    assert torch.equal(rows.clip, features.clip[1:]) and rows.dino is not None and rows.attention is None
    moved = rows.to("cpu", torch.float16)
    assert moved.dino is not None and moved.dino.dtype == moved.clip.dtype == torch.float16
