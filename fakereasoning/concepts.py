"""Concepts: what is read off an image's tokens, and told back to them, so that the language model need not find it.

The kinds of forgery and the words of what stands where are learnt place by place (`fakereasoning.evidence`,
`fakereasoning.places`), by heads that come to read more off the tokens than the text says: of its hundred words few
depend on the image. Here the heads stay, and their probabilities join the tokens. They are the concepts of Koh et al.,
"Concept Bottleneck Models", ICML 2020, though beside the tokens, and not in their place. The paper has none of this.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

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

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, n, width) with what is read off them."""
        with torch.no_grad():
            parts = []
            if self.kinds is not None:
                here, image = self.kinds(tokens)
                parts += [here, image[:, None].expand_as(here)]
            if self.words is not None:
                parts.append(self.words(tokens))
            read = torch.cat(parts, dim=2).sigmoid().to(tokens.dtype)
        told: Tensor = self.where + self.back(read)
        return tokens + GAIN * told.repeat_interleave(tokens.shape[1] // told.shape[1], dim=1)


def _by_patch(said: Tensor, patches: int) -> Tensor:
    return said.reshape(len(said), patches, -1, said.shape[2]).mean(dim=2)
