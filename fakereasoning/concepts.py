"""Concepts: what is read off an image's tokens, and told back to them, so that the language model need not find it.

The kinds of forgery and the words of what stands where are learnt place by place (`fakereasoning.evidence`,
`fakereasoning.places`), by heads that come to read more off the tokens than the text says: of its hundred words few
depend on the image. Here the heads stay, and their probabilities join the tokens. They are the concepts of Koh et al.,
"Concept Bottleneck Models", ICML 2020, though beside the tokens, and not in their place. The paper has none of this.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fdr_bench.errors import DataError

SIDES = re.compile(r"\b(left|right)\b")
"""Words that change places in a mirror image."""
GAIN = 8.0
"""What is told back is so much louder than its weights: these move slowly beside tokens that are large, and normalised
before they are read. Without it a tuning of 850 steps came to a twelfth of the tokens' size."""


class KindsReader(nn.Module):
    """From image tokens to a logit a term, place by place and for the image as a whole.

    here  = known + tokens · what                       (B, patches, V)
    image = seldom + log Σ_patches exp(tokens · any)    (B, V)
    """

    def __init__(self, width: int, terms: int, patches: int) -> None:
        """`width` of the tokens. It begins at even chances."""
        super().__init__()
        self.patches = patches
        self.what, self.any = (nn.Parameter(torch.zeros(terms, width)) for _ in range(2))
        self.known, self.seldom = (nn.Parameter(torch.zeros(terms)) for _ in range(2))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Map image tokens (B, n, width) to logits (B, patches, V) and (B, V); of several tokens a patch, the mean."""
        said = (tokens @ torch.cat((self.what, self.any)).T).float()
        here, anywhere = _by_patch(said, self.patches).chunk(2, dim=2)
        return self.known + here, self.seldom + anywhere.logsumexp(dim=1)


class WordsReader(nn.Module):
    """From image tokens to a logit a word, place by place: known + tokens · what."""

    def __init__(self, width: int, words: int, patches: int) -> None:
        """`width` of the tokens. It begins at even chances."""
        super().__init__()
        self.patches = patches
        self.what = nn.Parameter(torch.zeros(words, width))
        self.known = nn.Parameter(torch.zeros(words))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map image tokens (B, n, width) to logits (B, patches, V); of several tokens a patch, the mean."""
        return self.known + _by_patch((tokens @ self.what.T).float(), self.patches)


class Read(NamedTuple):
    """Probabilities that are read off image tokens; a part without a reader has none, V being 0."""

    here: Tensor
    """(B, patches, V), of each kind of forgery at each place."""
    image: Tensor
    """(B, 1, V), of each kind in the image."""
    words: Tensor
    """(B, patches, W), of each word at each place."""


class Concepts(nn.Module):
    """Readers of kinds and words, and what their probabilities add to the tokens.

        tokens + GAIN · (where + back · (σ(kinds here), σ(kinds of the image), σ(words here)))

    `where` is a patch's own, so that what is told of a place comes with the place. It and `back` begin at 0. What is
    read is told without a gradient: the language model's losses do not change what a reader means.
    """

    def __init__(self, width: int, kinds: KindsReader | None, words: WordsReader | None) -> None:
        """`width` of the tokens; the readers, of which one at least is needed, become this module's own."""
        super().__init__()
        self.kinds, self.words = kinds, words
        self.where = nn.Parameter(torch.zeros(next(one.patches for one in (kinds, words) if one is not None), width))
        told = (0 if kinds is None else 2 * len(kinds.known)) + (0 if words is None else len(words.known))
        self.back = nn.Linear(told, width, bias=False)
        nn.init.zeros_(self.back.weight)

    @torch.no_grad()
    def read(self, tokens: Tensor) -> Read:
        """Return what is read off tokens (B, n, width)."""
        none = self.where.new_zeros(len(tokens), len(self.where), 0)
        here, image = (none, none[:, 0]) if self.kinds is None else self.kinds(tokens)
        words = none if self.words is None else self.words(tokens)
        return Read(here.sigmoid(), image[:, None].sigmoid(), words.sigmoid())

    def tell(self, tokens: Tensor, read: Read) -> Tensor:
        """Return tokens (B, n, width) with what was read."""
        parts = (read.here, read.image.expand_as(read.here), read.words)
        told: Tensor = self.where + self.back(torch.cat(parts, dim=2).to(tokens.dtype))
        return tokens + GAIN * told.repeat_interleave(tokens.shape[1] // told.shape[1], dim=1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, n, width) with what is read off them."""
        return self.tell(tokens, self.read(tokens))


def _by_patch(said: Tensor, patches: int) -> Tensor:
    return said.reshape(len(said), patches, -1, said.shape[2]).mean(dim=2)


def other_sides(names: Sequence[str]) -> list[int] | None:
    """Return of each name which one has left in the place of right, and right of left: itself, where it has neither.

    None where a name has its other side not among them.
    """
    place = {name: number for number, name in enumerate(names)}
    others = [SIDES.sub(lambda side: "right" if side[0] == "left" else "left", name) for name in names]
    return [place[other] for other in others] if all(other in place for other in others) else None


def as_taken(read: Tensor, names: Sequence[str], mirrored: Tensor) -> Tensor:
    """Return what is read of square images, (B, N, V), as if those that are `mirrored` (B,) were not.

    Their places are turned from side to side, and what is said of the left and of the right change places; `names` are
    of the V words. Raises `DataError` where an image is mirrored and a word has no other for its other side.
    """
    if not mirrored.any():
        return read
    others = other_sides(names)
    if others is None:
        raise DataError(
            f"of 'left' and 'right' the data know but one in some of these words: {', '.join(names)}; so no image can "
            "be mirrored. Take more data, or set mirror to false"
        )
    grid = math.isqrt(read.shape[1])
    turned = read.unflatten(1, (grid, grid)).flip(2).flatten(1, 2)[..., others]
    return torch.where(mirrored.to(read.device)[:, None, None], turned, read)
