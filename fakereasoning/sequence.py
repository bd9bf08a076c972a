"""Where an image's tokens go in a row of text: whole-number work, done before anything is embedded.

As `prepare_inputs_labels_for_multimodal` of PRIS-CV/FakeReasoning at c1aec51 (after LLaVA) does it for one image a row.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from fakereasoning.prompts import IGNORE, IMAGE_TOKEN
from fdr_bench.errors import UsageError

Side = Literal["left", "right"]


class Layout(NamedTuple):
    """B rows of L positions on the CPU, each a token of text, a token of an image, or padding."""

    text: Tensor
    """(B, L) token ids; 0 where there is no text."""
    is_image: Tensor
    """(B, L) bool"""
    image_index: Tensor
    """Which image token stands at each place of `is_image`, in reading order: rows of all images' tokens, flattened."""
    attention_mask: Tensor
    """(B, L) bool; False in padding."""
    labels: Tensor | None
    """(B, L), `IGNORE` at images and padding."""


class _Row(NamedTuple):
    text: Tensor
    is_image: Tensor
    labels: Tensor
    images: int


def lay_out(
    input_ids: Tensor,
    *,
    images: int,
    tokens: int,
    max_length: int,
    attention_mask: Tensor | None = None,
    labels: Tensor | None = None,
    padding_side: Side = "right",
) -> Layout:
    """Give each position of each row its content, for `images` images of `tokens` tokens each.

    `input_ids` (B, T) holds `IMAGE_TOKEN` where an image goes; `attention_mask` (B, T), 0 where a row is padded;
    `labels` (B, T). Rows are first cut by the mask; images are used up in reading order, one also by a row that has no
    place for it; rows are cut to `max_length` after the images are in; the shorter ones are padded on one side.
    Raises `UsageError` where there are more or fewer images than rows use.
    """
    ids = input_ids.cpu()
    kept = torch.ones_like(ids, dtype=torch.bool) if attention_mask is None else attention_mask.cpu().bool()
    targets = torch.full_like(ids, IGNORE) if labels is None else labels.cpu()
    _check(ids, kept, targets, images)
    rows = [
        _expand(row[keep], target[keep], tokens, max_length)
        for row, keep, target in zip(ids, kept, targets, strict=True)
    ]
    index, first = [], 0
    for row in rows:
        index.append(first * tokens + torch.arange(int(row.is_image.sum())))
        first += max(1, row.images)
    length = max(len(row.text) for row in rows)
    return Layout(
        text=_pad([row.text for row in rows], length, 0, padding_side),
        is_image=_pad([row.is_image for row in rows], length, False, padding_side),
        image_index=torch.cat(index),
        attention_mask=_pad([torch.ones(len(row.text), dtype=torch.bool) for row in rows], length, False, padding_side),
        labels=None if labels is None else _pad([row.labels for row in rows], length, IGNORE, padding_side),
    )


def _expand(ids: Tensor, labels: Tensor, tokens: int, max_length: int) -> _Row:
    """Repeat a row's image ids as often as an image has tokens, and cut the row."""
    at_image = ids == IMAGE_TOKEN
    times = torch.where(at_image, tokens, 1)
    is_image, text, targets = (
        part.repeat_interleave(times)[:max_length]
        for part in (at_image, ids.masked_fill(at_image, 0), labels.masked_fill(at_image, IGNORE))
    )
    return _Row(text, is_image, targets, int(at_image.sum()))


def _pad(rows: list[Tensor], length: int, value: int | bool, side: Side) -> Tensor:
    padded = torch.full((len(rows), length), value, dtype=rows[0].dtype)
    for number, row in enumerate(rows):
        start = 0 if side == "right" else length - len(row)
        padded[number, start : start + len(row)] = row
    return padded


def _check(ids: Tensor, kept: Tensor, labels: Tensor, images: int) -> None:
    if ids.ndim != 2 or ids.shape[0] == 0:
        raise UsageError(f"input_ids are {list(ids.shape)}; expected rows of token ids, (B, T), and at least one")
    for name, given in (("attention_mask", kept), ("labels", labels)):
        if given.shape != ids.shape:
            raise UsageError(f"{name} is {list(given.shape)}; expected the shape of input_ids, {list(ids.shape)}")
    needed = int(((ids == IMAGE_TOKEN) & kept).sum(dim=1).clamp(min=1).sum())
    if needed != images:
        raise UsageError(
            f"{len(ids)} rows of input_ids use {needed} images and {images} came; every image id ({IMAGE_TOKEN}) takes "
            "one, and so does a row without any"
        )
