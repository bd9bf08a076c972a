"""Forgery-Aligned Contrastive Learning: the losses, as pure functions.

The first version of arXiv 2503.21210 (Gao et al., 2025) describes FACL: contrastive learning across modalities, images
against the reasoning about their forgery attributes, and within the images. No code or equation of it was released;
these are this project's, after InfoNCE (van den Oord et al., 2018) and supervised contrastive learning (Khosla et al.,
NeurIPS 2020). Image i has a class c_i and a set of attributes A_i, each with one sentence. Two images overlap by

    w_ij = |A_i ∩ A_j| / |A_i ∪ A_j|  where c_i = c_j, else 0.

Everything is in inner products of unit vectors times a learned scale (one over the temperature), x. A pair p that
belongs together is compared with the pairs that do not, N, and with nothing else:

    ℓ(p, N) = -log( exp x_p / (exp x_p + Σ_{n∈N} exp x_n) ) = softplus( logsumexp_{n∈N} x_n - x_p ).

Cross-modal, image i against sentence s of image o(s). Its own sentences belong to an image. Sentences of an image that
shares an attribute with it are left out: they may be true of both. So are images that state no attribute.

    L_cross = mean_i mean_{s∈S_i} ½ [ ℓ(is, {is' : w_{i,o(s')} = 0}) + ℓ(is, {js : w_{j,i} = 0}) ]

Intra-modal, image against image. Images of one class belong together as far as they overlap; those of one class that do
not overlap are left out; all of the other class stand against.

    L_intra = mean_i ( Σ_{j≠i} w_ij ℓ(ij, {in : c_n ≠ c_i}) ) / Σ_{j≠i} w_ij

The means are over images that have both something that belongs to them and something that does not; where there is none
(one image, one class), a loss is 0 and its gradient too.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, softplus

LOW = -1e9
"""Stands for a pair that is left out: its exponential is 0, and unlike -inf it gives no NaN in a gradient."""


def overlap(attributes: Tensor, fake: Tensor) -> Tensor:
    """Return how far images share their attributes, w (B, B) in [0, 1]; 0 across classes and without attributes.

    `attributes` (B, A) bool tells which each image states, `fake` (B,) bool its class.
    """
    stated = attributes.float()
    both = stated @ stated.T
    each = stated.sum(dim=1)
    either = each[:, None] + each[None, :] - both
    return both / either.clamp(min=1) * (fake[:, None] == fake[None, :])


def cross_modal_loss(image: Tensor, text: Tensor, attributes: Tensor, fake: Tensor, scale: Tensor) -> Tensor:
    """Return L_cross, a scalar, of images against the sentences about their attributes.

    `image` (B, e) and `text` (S, e) are unit vectors; `text` has a row for each true entry of `attributes` (B, A), row
    after row; `fake` (B,); `scale` a scalar. 0 where no two images stand against each other. Raises `ValueError` where
    the rows of `text` are not as many as the attributes.
    """
    owner = attributes.nonzero()[:, 0]  # (S,)
    if len(owner) != len(text):
        raise ValueError(f"{len(text)} sentences for {len(owner)} attributes: each attribute needs its own")
    if not len(text):
        return 0 * (image.sum() + scale)
    stated = attributes.any(dim=1)
    against = (overlap(attributes, fake) == 0) & stated[:, None] & stated[None, :]  # (B, B)
    apart = against[:, owner]  # (B, S)
    similarity = scale * (image.float() @ text.float().T)
    own = similarity[owner, torch.arange(len(owner), device=owner.device)]  # (S,)
    to_text = softplus(_against(similarity, apart, dim=1)[owner] - own)
    to_image = softplus(_against(similarity, apart, dim=0) - own)
    # Each image counts once, however many sentences it has.
    weight = apart.any(dim=0) / attributes.sum(dim=1)[owner]  # (S,)
    return (weight * (to_text + to_image) / 2).sum() / against.any(dim=1).sum().clamp(min=1)


def intra_modal_loss(image: Tensor, attributes: Tensor, fake: Tensor, scale: Tensor) -> Tensor:
    """Return L_intra, a scalar, of images (B, e) against each other; `attributes` (B, A), `fake` (B,), `scale` ().

    An image without attributes belongs with none, and still stands against the other class.
    """
    weight = overlap(attributes, fake).fill_diagonal_(0)  # (B, B)
    apart = fake[:, None] != fake[None, :]
    similarity = scale * (image.float() @ image.float().T)
    term = softplus(_against(similarity, apart, dim=1)[:, None] - similarity)  # (B, B)
    total = weight.sum(dim=1)
    counted = (total > 0) & apart.any(dim=1)
    # An overlap above 0 is at least 1 / A, so the clamp changes no image that counts.
    each = (weight * term).sum(dim=1) / total.clamp(min=1e-6)
    return (each * counted).sum() / counted.sum().clamp(min=1)


def drift(tokens: Tensor, before: Tensor) -> Tensor:
    """Return how far a tower's tokens (B, N, width) have turned from what they were: mean of 1 - cosine, in [0, 2]."""
    return 1 - cosine_similarity(tokens.float(), before.float(), dim=-1).mean()


def _against(similarity: Tensor, apart: Tensor, *, dim: int) -> Tensor:
    """Return the log of the summed exponentials over the pairs that stand against; about `LOW` where there is none."""
    return similarity.masked_fill(~apart, LOW).logsumexp(dim=dim)
