"""The whole model: rows of a batch do not touch each other, losses, and what learns when parts are frozen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fakereasoning.config import Fusion
from fakereasoning.model import FakeReasoning, Part, language_loss
from fakereasoning.prompts import IGNORE, IMAGE_TOKEN
from fakereasoning.vision import VisualFeatures
from fdr_bench.errors import UsageError
from tests.fakereasoning.tiny import noise, tiny_config, tiny_model

FUSIONS: tuple[Fusion, ...] = ("none", "interleave", "cross-attention", "faff")
I = IMAGE_TOKEN  # noqa: E741
# Rows of unequal length, the image at unequal places, padded on the right with 0.
IDS = torch.tensor([[1, 9, I, 5, 6, 7, 8], [1, I, 11, 12, 0, 0, 0], [1, 2, 3, I, 4, 0, 0]])
LABELS = torch.where(IDS > 4, IDS, IGNORE)
MASK = IDS != 0
PIXELS = noise(3, 3, 16, 16, seed=2)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_row_has_the_same_logits_in_a_batch_and_alone(fusion: Fusion) -> None:
    model = tiny_model(fusion)
    together = model(IDS, pixels=PIXELS, attention_mask=MASK)
    lengths = (MASK.sum(1) - 1 + model.config.image_tokens).tolist()
    assert together.attention_mask.sum(1).tolist() == lengths
    for row, length in enumerate(lengths):
        alone = model(IDS[row : row + 1, MASK[row]], pixels=PIXELS[row : row + 1])
        assert alone.logits.shape == (1, length, 50)
        torch.testing.assert_close(together.logits[row, :length], alone.logits[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_row_sees_its_own_image(fusion: Fusion) -> None:
    model = tiny_model(fusion)
    before = model(IDS, pixels=PIXELS, attention_mask=MASK).logits
    changed = PIXELS.clone()
    changed[1] += noise(3, 16, 16, seed=9)
    moved = (model(IDS, pixels=changed, attention_mask=MASK).logits - before).abs().amax((1, 2))
    assert moved[1] > 1e-3 and moved[0] == moved[2] == 0


def test_embedded_rows_hold_words_image_tokens_and_zeros() -> None:
    model = tiny_model()
    tokens = model.image_tokens(model.visual_features(PIXELS))
    expanded = model.embed(IDS, tokens, attention_mask=MASK, labels=LABELS)
    words = model.language.model.embed_tokens.weight
    assert torch.equal(expanded.embeds[1], torch.cat((words[[1]], tokens[1], words[[11, 12]], torch.zeros(3, 24))))
    assert expanded.labels is not None
    assert expanded.labels[1].tolist() == [IGNORE] * 5 + [11, 12] + [IGNORE] * 3
    left = model.embed(IDS, tokens, attention_mask=MASK, padding_side="left")
    assert torch.equal(left.embeds[1], expanded.embeds[1].roll(3, 0)) and left.labels is None


def test_rows_are_cut_to_the_configs_length_with_the_image_inside() -> None:
    model = tiny_model()
    long = torch.arange(60)[None] % 40 + 1
    long[0, 2] = I
    output = model(long, pixels=PIXELS[:1], labels=long)
    assert output.logits.shape == (1, 40, 50) and output.labels is not None
    # Two words, four image tokens, then the row from its fourth id on.
    assert output.labels[0].tolist() == [1, 2, *[IGNORE] * 4, *long[0, 3:37].tolist()]


@pytest.mark.parametrize("dtype", [None, torch.float16])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_kept_features_stand_in_for_pixels(fusion: Fusion, dtype: torch.dtype | None) -> None:
    model = tiny_model(fusion)
    kept = model.visual_features(PIXELS).to("cpu", dtype)
    found, expected = (
        model(IDS, attention_mask=MASK, **given).logits for given in ({"features": kept}, {"pixels": PIXELS})
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=0 if dtype is None else 0.05)


# ---------------------------------------------------------------- losses


def test_the_loss_is_transformers_own() -> None:
    model = tiny_model()
    output = model(IDS, pixels=PIXELS, attention_mask=MASK, labels=LABELS)
    expanded = model.embed(IDS, model.image_tokens(model.visual_features(PIXELS)), attention_mask=MASK, labels=LABELS)
    twin = model.language(
        inputs_embeds=expanded.embeds, attention_mask=expanded.attention_mask, labels=expanded.labels
    ).loss
    assert output.loss is not None and twin is not None
    torch.testing.assert_close(output.loss, twin, rtol=0, atol=1e-6)


def test_the_loss_is_the_mean_over_labelled_tokens_of_the_token_before() -> None:
    logits = noise(2, 3, 5).requires_grad_()
    labels = torch.tensor([[4, 1, IGNORE], [IGNORE, IGNORE, 2]])
    loss = language_loss(logits, labels)
    # The label at place 0 has no token before it.
    shares = logits.log_softmax(-1)
    torch.testing.assert_close(loss, -(shares[0, 0, 1] + shares[1, 1, 2]) / 2)


def test_without_any_label_the_loss_is_zero_and_so_is_its_gradient() -> None:
    logits = noise(2, 3, 5).requires_grad_()
    loss = language_loss(logits, torch.full((2, 3), IGNORE))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.detach() == 0 and logits.grad is not None and not logits.grad.any()


# ---------------------------------------------------------------- what learns


def gradients(model: FakeReasoning) -> set[str]:
    """Return the names of the parameters that a step gives a gradient."""
    model.train()
    loss = model(IDS, pixels=PIXELS, attention_mask=MASK, labels=LABELS).loss
    assert isinstance(loss, Tensor)
    loss.backward()  # type: ignore[no-untyped-call]
    return {name for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize(
    "parts", [("clip", "dino", "projectors", "fusion", "language"), ("projectors", "fusion"), ("dino",), ("language",)]
)
def test_the_named_parts_get_gradients_whole_and_no_other(fusion: Fusion, parts: tuple[Part, ...]) -> None:
    model = tiny_model(fusion)
    model.set_trainable(parts)
    wanted = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    modules = {"clip_projector": "projectors", "dino_projector": "projectors"}
    assert {modules.get(name.split(".")[0], name.split(".")[0]) for name in wanted} <= set(parts)
    if parts == ("dino",) and fusion == "none":
        assert not wanted
        return
    # All of what may learn is reached, as training on several devices needs it.
    assert gradients(model) == wanted


def test_what_nothing_reads_never_learns() -> None:
    model = tiny_model()
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert all(
        name.startswith(
            ("clip.post_layernorm", "clip.encoder.layers.2", "dino.layernorm", "dino.embeddings.mask_token")
        )
        for name in frozen
    )
    assert len(frozen) == 2 + 16 + 2 + 1


def test_a_frozen_tower_keeps_its_statistics_and_a_frozen_fusion_has_no_dropout() -> None:
    model = tiny_model(stem="convolutions", dino_stem="residual")
    model.set_trainable(["language"])
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.train()
    outputs = [model(IDS, pixels=PIXELS, attention_mask=MASK).logits for _ in range(2)]
    assert torch.equal(*outputs)
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert model.language.training and not model.clip.training


def test_a_tower_that_learns_moves_its_statistics() -> None:
    model = tiny_model(stem="convolutions", dino_stem="residual")
    model.set_trainable(["clip"])
    model.train()
    model.visual_features(PIXELS)
    assert batches_seen(model.clip) == {1}
    assert model.dino is not None and batches_seen(model.dino) == {0}


def batches_seen(tower: nn.Module) -> set[int]:
    """Return how many batches the batch normalisations have counted."""
    return {int(buffer) for name, buffer in tower.named_buffers() if name.endswith("num_batches_tracked")}


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no part 'projector'.*'projectors'"):
        tiny_model().set_trainable(["projector"])  # type: ignore[list-item]


# ---------------------------------------------------------------- what is refused


def test_images_come_once() -> None:
    model = tiny_model()
    for images in ({}, {"pixels": PIXELS, "features": model.visual_features(PIXELS)}):
        with pytest.raises(UsageError, match="either as pixels or as features"):
            model(IDS, **images)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(UsageError, match=r"pixels are \[1, 3, 16, 8\]; expected \(B, 3, 16, 16\)"):
        tiny_model().visual_features(noise(1, 3, 16, 8))


@pytest.mark.parametrize("wrong", [-1, 50])
def test_ids_outside_the_vocabulary_are_refused(wrong: int) -> None:
    with pytest.raises(UsageError, match="beyond the vocabulary of 50"):
        tiny_model()(torch.tensor([[1, I, wrong]]), pixels=PIXELS[:1])


def test_features_that_lack_what_the_fusion_reads_are_refused() -> None:
    model = tiny_model()
    features = model.visual_features(PIXELS)
    with pytest.raises(UsageError, match="no attention map"):
        model.image_tokens(features._replace(attention=None))
    with pytest.raises(UsageError, match="no DINO part"):
        model.image_tokens(VisualFeatures(features.clip))


# ---------------------------------------------------------------- on a GPU


@pytest.mark.gpu
# A processor's logits, of a deviation of 1, are in half precision up to 0.019 and 0.082 from those in float32.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.float16, 0.06), (torch.bfloat16, 0.25)])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_gpu_gives_the_logits_of_the_processor(fusion: Fusion, dtype: torch.dtype, tolerance: float) -> None:
    model = tiny_model(fusion)
    expected = model(IDS, pixels=PIXELS, attention_mask=MASK).logits[MASK_OF[fusion]]
    found = model.to("cuda", dtype)(IDS.cuda(), pixels=PIXELS.cuda(), attention_mask=MASK.cuda())
    torch.testing.assert_close(found.logits.float().cpu()[MASK_OF[fusion]], expected, rtol=0, atol=tolerance)


def _valid(fusion: Fusion) -> Tensor:
    lengths = MASK.sum(1) - 1 + tiny_config(fusion).image_tokens
    return torch.arange(int(lengths.max())) < lengths[:, None]


MASK_OF = {fusion: _valid(fusion) for fusion in FUSIONS}
