"""Several records about one image in one row, none of which sees another: as if each stood alone, for less work.

The image and what stands before it are read once; behind it, each record's question and answer is a segment of its own.
A token sees the shared beginning and what came before it in its own segment, and counts positions accordingly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fakereasoning.prompts import IGNORE, IMAGE_TOKEN
from fakereasoning.records import Encoded

SHARED, PADDING = 0, -1


class Packed(NamedTuple):
    """A row of T tokens: ids, labels (not shifted), and the segment of each, `SHARED` up to the image, then from 1."""

    input_ids: list[int]
    labels: list[int]
    segments: list[int]


def pack(rows: Sequence[Encoded], longest: int) -> list[Packed]:
    """Put records about one image into as few rows of at most `longest` tokens as their order allows.

    A record whose beginning differs, or whose answer follows the image at once, begins a row of its own.
    """
    packed: list[Packed] = []
    for ids, labels in rows:
        start = ids.index(IMAGE_TOKEN) + 1 if IMAGE_TOKEN in ids else 0
        last = packed[-1] if packed else None
        shares = last is not None and start > 0 and last.input_ids[:start] == ids[:start] and labels[start] == IGNORE
        if last is not None and shares and len(last.input_ids) + len(ids) - start <= longest:
            last.input_ids.extend(ids[start:])
            last.labels.extend(labels[start:])
            last.segments.extend([last.segments[-1] + 1] * (len(ids) - start))
        else:
            packed.append(Packed(list(ids), list(labels), [SHARED] * start + [1] * (len(ids) - start)))
    return packed


def expanded_segments(rows: Sequence[Packed], image_tokens: int) -> Tensor:
    """Return the segments (B, L) after each row's image has become `image_tokens` tokens, `PADDING` at the right."""
    wide = []
    for row in rows:
        at = row.input_ids.index(IMAGE_TOKEN)
        wide.append([*row.segments[:at], *[SHARED] * image_tokens, *row.segments[at + 1 :]])
    length = max(map(len, wide))
    return torch.tensor([row + [PADDING] * (length - len(row)) for row in wide])


def visible(segments: Tensor) -> Tensor:
    """Return what each position may see, (B, 1, L, L) bool, from segments (B, L). Padding sees padding alone."""
    own = segments[:, :, None] == segments[:, None, :]
    shared = (segments == SHARED)[:, None, :] & (segments != PADDING)[:, :, None]
    return (own | shared).tril()[:, None]


def positions(segments: Tensor) -> Tensor:
    """Return the position (B, L) of each token in its record standing alone; segments (B, L) are in order."""
    index = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    start = torch.where(begins, index, 0).cummax(dim=1).values
    shared = (segments == SHARED).sum(dim=1, keepdim=True)
    return torch.where(segments > SHARED, index - start + shared, index - start)
