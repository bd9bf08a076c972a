"""The losses of FACL against double loops, and what must not be pushed apart."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from fakereasoning.facl import cross_modal_loss, drift, intra_modal_loss, overlap


class Batch:
    """B random images of two classes; image 1 of each class may share attributes, and image 0 states none."""

    def __init__(self, seed: int, images: int = 9) -> None:
        random = torch.Generator().manual_seed(seed)
        self.fake = torch.rand(images, generator=random) < 0.5
        # Three attributes of fakes, four of reals; an image states each with a chance of 0.4.
        own = torch.cat([self.fake[:, None].expand(-1, 3), ~self.fake[:, None].expand(-1, 4)], dim=1)
        self.attributes = own & (torch.rand(images, 7, generator=random) < 0.4)
        self.attributes[0] = False
        self.image = normalize(torch.randn(images, 5, generator=random), dim=1)
        self.text = normalize(torch.randn(int(self.attributes.sum()), 5, generator=random), dim=1)
        self.scale = torch.tensor(6.0)

    @property
    def cross(self) -> tuple[torch.Tensor, ...]:
        return self.image, self.text, self.attributes, self.fake, self.scale

    @property
    def intra(self) -> tuple[torch.Tensor, ...]:
        return self.image, self.attributes, self.fake, self.scale


def sets(batch: Batch) -> list[set[int]]:
    return [set(np.flatnonzero(row.numpy()).tolist()) for row in batch.attributes]


def share(batch: Batch, i: int, j: int) -> float:
    a, b = sets(batch)[i], sets(batch)[j]
    return len(a & b) / len(a | b) if batch.fake[i] == batch.fake[j] and a | b else 0.0


def one_against(own: float, others: list[float]) -> float:
    return -math.log(math.exp(own) / (math.exp(own) + sum(map(math.exp, others))))


def naive_cross(batch: Batch) -> float:
    stated = sets(batch)
    sentences = [(i, a) for i, names in enumerate(stated) for a in sorted(names)]
    x = (batch.scale * batch.image @ batch.text.T).tolist()
    losses = []
    for i, names in enumerate(stated):
        others = [j for j, theirs in enumerate(stated) if theirs and share(batch, i, j) == 0]
        if not names or not others:
            continue
        terms = []
        for s, (owner, _) in enumerate(sentences):
            if owner == i:
                to_text = one_against(x[i][s], [x[i][n] for n, (j, _) in enumerate(sentences) if j in others])
                to_image = one_against(x[i][s], [x[j][s] for j in others])
                terms.append((to_text + to_image) / 2)
        losses.append(sum(terms) / len(terms))
    return sum(losses) / len(losses) if losses else 0.0


def naive_intra(batch: Batch) -> float:
    x = (batch.scale * batch.image @ batch.image.T).tolist()
    losses = []
    for i in range(len(x)):
        others = [x[i][n] for n in range(len(x)) if batch.fake[n] != batch.fake[i]]
        weights = {j: share(batch, i, j) for j in range(len(x)) if j != i}
        if others and sum(weights.values()):
            summed = sum(weight * one_against(x[i][j], others) for j, weight in weights.items() if weight)
            losses.append(summed / sum(weights.values()))
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("seed", range(8))
def test_the_cross_modal_loss_is_that_of_a_double_loop(seed):
    batch = Batch(seed)
    assert cross_modal_loss(*batch.cross).item() == pytest.approx(naive_cross(batch), rel=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_the_intra_modal_loss_is_that_of_a_double_loop(seed):
    batch = Batch(seed)
    assert intra_modal_loss(*batch.intra).item() == pytest.approx(naive_intra(batch), rel=1e-5)


def test_the_order_of_the_images_does_not_matter():
    batch = Batch(3)
    cross, intra = cross_modal_loss(*batch.cross), intra_modal_loss(*batch.intra)
    owner = batch.attributes.nonzero()[:, 0]
    order = torch.randperm(len(batch.image), generator=torch.Generator().manual_seed(0))
    batch.text = torch.cat([batch.text[owner == i] for i in order])
    batch.image, batch.fake, batch.attributes = batch.image[order], batch.fake[order], batch.attributes[order]
    assert cross_modal_loss(*batch.cross).item() == pytest.approx(cross.item(), rel=1e-6)
    assert intra_modal_loss(*batch.intra).item() == pytest.approx(intra.item(), rel=1e-6)


def two(attributes: list[list[bool]], fake: list[bool]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(attributes), torch.tensor(fake)


def test_a_fake_and_a_real_beside_their_own_sentences_cost_what_the_formula_says():
    attributes, fake = two([[True, False], [False, True]], [True, False])
    axes = torch.eye(2)
    # Own similarity 1, other 0, scale 1: log(1 + e^-1) in all four comparisons; with swapped sentences log(1 + e).
    own = cross_modal_loss(axes, axes, attributes, fake, torch.tensor(1.0))
    swapped = cross_modal_loss(axes, axes.flip(0), attributes, fake, torch.tensor(1.0))
    assert own.item() == pytest.approx(0.313262, abs=1e-5)
    assert swapped.item() == pytest.approx(1.313262, abs=1e-5)


def test_images_that_share_an_attribute_are_not_pushed_apart():
    # Of one class and with the first attribute in common: the second sentences are no negatives either.
    attributes, fake = two([[True, True, False], [True, False, True]], [True, True])
    image = normalize(torch.randn(2, 4, generator=torch.Generator().manual_seed(0)), dim=1).requires_grad_()
    text = normalize(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)), dim=1)
    loss = cross_modal_loss(image, text, attributes, fake, torch.tensor(5.0))
    loss.backward()
    assert loss.item() == 0
    assert not image.grad.any()


def test_images_of_one_class_without_a_common_attribute_stand_against_each_others_sentences_only():
    attributes, fake = two([[True, False], [False, True]], [True, True])
    axes = torch.eye(2)
    assert cross_modal_loss(axes, axes, attributes, fake, torch.tensor(1.0)).item() > 0
    assert intra_modal_loss(axes, attributes, fake, torch.tensor(1.0)).item() == 0


def test_one_name_of_an_attribute_in_both_classes_is_not_shared_across_them():
    attributes, fake = two([[True], [True]], [True, False])
    assert overlap(attributes, fake).tolist() == [[1, 0], [0, 1]]


def test_the_overlap_is_the_jaccard_index():
    attributes, fake = two([[True, True, False], [False, True, True], [False, False, False]], [True, True, True])
    # One of three in common; an image without attributes overlaps with none, itself included.
    assert overlap(attributes, fake).tolist() == [[1, pytest.approx(1 / 3), 0], [pytest.approx(1 / 3), 1, 0], [0, 0, 0]]


def test_two_fakes_alike_and_a_real_apart_cost_what_the_formula_says():
    attributes, fake = two([[True, False], [True, False], [False, True]], [True, True, False])
    image = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    # The real has nothing that belongs to it; each fake: similarity 1 against 0.
    assert intra_modal_loss(image, attributes, fake, torch.tensor(1.0)).item() == pytest.approx(0.313262, abs=1e-5)


@pytest.mark.parametrize(
    ("attributes", "fake"),
    [
        ([[True, False]], [True]),
        ([[True, False], [True, False]], [True, True]),
        ([[False, False], [False, False]], [True, False]),
    ],
    ids=["one image", "one class", "no attributes"],
)
def test_where_there_is_nothing_to_compare_losses_and_gradients_are_zero(attributes, fake):
    stated, classes = two(attributes, fake)
    image = normalize(torch.randn(len(fake), 4, generator=torch.Generator().manual_seed(0)), dim=1).requires_grad_()
    scale = torch.tensor(10.0, requires_grad=True)
    text = torch.eye(4)[: int(stated.sum())]
    loss = cross_modal_loss(image, text, stated, classes, scale) + intra_modal_loss(image, stated, classes, scale)
    loss.backward()
    assert loss.item() == 0
    assert not image.grad.any() and scale.grad.item() == 0


def test_gradients_stay_finite_at_the_largest_scale():
    batch = Batch(0)
    batch.image.requires_grad_()
    batch.scale = torch.tensor(100.0)
    (cross_modal_loss(*batch.cross) + intra_modal_loss(*batch.intra)).backward()
    assert batch.image.grad.isfinite().all() and batch.image.grad.any()


def test_sentences_that_are_not_as_many_as_the_attributes_are_an_error():
    batch = Batch(0)
    with pytest.raises(ValueError, match="each attribute needs its own"):
        cross_modal_loss(batch.image, batch.text[1:], batch.attributes, batch.fake, batch.scale)


def test_drift_is_of_directions_alone():
    tokens = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    assert drift(3 * tokens, tokens).item() == pytest.approx(0, abs=1e-6)
    assert drift(-tokens, tokens).item() == pytest.approx(2, abs=1e-6)
