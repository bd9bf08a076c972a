"""The layout of rows: against a twin that goes token by token, and the official rules one by one."""

from __future__ import annotations

import random

import pytest
import torch

from fakereasoning.prompts import IGNORE, IMAGE_TOKEN
from fakereasoning.sequence import Side, lay_out
from fdr_bench.errors import UsageError

I = IMAGE_TOKEN  # noqa: E741  (stands out in the rows below)
Row = list[tuple[int, int | None, int]]
"""Each position: its token id, or which image token it is, and its label."""


def naive(ids: list[list[int]], mask: list[list[int]], labels: list[list[int]], tokens: int, longest: int) -> list[Row]:
    """Build the rows position by position, before padding."""
    rows, image = [], 0
    for row_ids, row_mask, row_labels in zip(ids, mask, labels, strict=True):
        row: Row = []
        found = False
        for token, kept, label in zip(row_ids, row_mask, row_labels, strict=True):
            if kept and token == I:
                row += [(0, image * tokens + number, IGNORE) for number in range(tokens)]
                image, found = image + 1, True
            elif kept:
                row.append((token, None, label))
        image += 0 if found else 1
        rows.append(row[:longest])
    return rows


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("seed", range(8))
def test_rows_equal_those_built_position_by_position(seed: int, side: Side) -> None:
    draw = random.Random(seed)
    rows, width, tokens, longest = 4, 9, draw.randint(1, 5), draw.choice([6, 12, 99])
    ids = [[draw.choice([I, *range(1, 20)]) if draw.random() < 0.3 else 3 for _ in range(width)] for _ in range(rows)]
    mask = [[int(draw.random() < 0.8) for _ in range(width)] for _ in range(rows)]
    labels = [[draw.choice([IGNORE, 5, 6]) for _ in range(width)] for _ in range(rows)]
    images = sum(
        max(1, sum(kept and token == I for token, kept in zip(*row, strict=True)))
        for row in zip(ids, mask, strict=True)
    )
    layout = lay_out(
        torch.tensor(ids),
        images=images,
        tokens=tokens,
        max_length=longest,
        attention_mask=torch.tensor(mask),
        labels=torch.tensor(labels),
        padding_side=side,
    )
    expected = naive(ids, mask, labels, tokens, longest)
    length = max(map(len, expected))
    assert layout.labels is not None and layout.text.shape == (rows, length)
    assert layout.image_index.tolist() == [place for row in expected for _, place, _ in row if place is not None]
    for number, row in enumerate(expected):
        inside = slice(0, len(row)) if side == "right" else slice(length - len(row), length)
        outside = [place for place in range(length) if place not in range(length)[inside]]
        assert layout.text[number, inside].tolist() == [token for token, _, _ in row]
        assert layout.is_image[number, inside].tolist() == [place is not None for _, place, _ in row]
        assert layout.labels[number, inside].tolist() == [label for _, _, label in row]
        assert layout.attention_mask[number, inside].all()
        assert not layout.attention_mask[number, outside].any() and not layout.is_image[number, outside].any()
        assert layout.labels[number, outside].eq(IGNORE).all()


def test_a_row_without_an_image_id_uses_up_one_image() -> None:
    layout = lay_out(torch.tensor([[I, 4], [5, 6], [7, I]]), images=3, tokens=2, max_length=9)
    # Of the image tokens 0, 1 | 2, 3 | 4, 5, those of the second image are nowhere.
    assert layout.image_index.tolist() == [0, 1, 4, 5]
    assert layout.text.tolist() == [[0, 0, 4], [5, 6, 0], [7, 0, 0]]


def test_a_row_is_cut_after_its_image_has_taken_its_place() -> None:
    layout = lay_out(torch.tensor([[4, I, 5, 6]]), images=1, tokens=3, max_length=5)
    assert layout.text.tolist() == [[4, 0, 0, 0, 5]]
    cut_inside = lay_out(torch.tensor([[4, I, 5], [I, 8, 9]]), images=2, tokens=3, max_length=3)
    assert cut_inside.image_index.tolist() == [0, 1, 3, 4, 5]


def test_an_image_id_under_the_mask_takes_no_image() -> None:
    layout = lay_out(
        torch.tensor([[4, I, I]]), images=1, tokens=2, max_length=9, attention_mask=torch.tensor([[1, 1, 0]])
    )
    assert layout.image_index.tolist() == [0, 1]


def test_without_labels_there_are_none() -> None:
    assert lay_out(torch.tensor([[4, I]]), images=1, tokens=2, max_length=9).labels is None


@pytest.mark.parametrize("images", [1, 3])
def test_a_wrong_number_of_images_is_refused(images: int) -> None:
    with pytest.raises(UsageError, match=rf"2 rows of input_ids use 2 images and {images} came"):
        lay_out(torch.tensor([[I, 4], [5, I]]), images=images, tokens=2, max_length=9)


def test_shapes_that_do_not_fit_are_refused() -> None:
    ids = torch.tensor([[I, 4, 5]])
    with pytest.raises(UsageError, match=r"attention_mask is \[1, 2\]; expected the shape of input_ids, \[1, 3\]"):
        lay_out(ids, images=1, tokens=2, max_length=9, attention_mask=torch.ones(1, 2))
    with pytest.raises(UsageError, match=r"labels is \[2, 3\]"):
        lay_out(ids, images=1, tokens=2, max_length=9, labels=torch.ones(2, 3))
    with pytest.raises(UsageError, match=r"input_ids are \[3\]; expected rows"):
        lay_out(ids[0], images=1, tokens=2, max_length=9)
